#![doc = include_str!("../README.md")]
#![allow(
    clippy::test_attr_in_doctest,
    reason = "the guide shows a plugin with its test, which is run as an example"
)]

pub mod abi;
mod body;
mod context;
mod counter;
mod error;
mod handler;
mod kernel;
mod message;
mod parts;
mod paths;
mod recipient;
mod responder;
mod route;
mod sender;
mod stream;
mod subsystem;
mod thread;
mod time;

pub use body::{Body, Edge, Payload, Pod, Raw, Reply};
pub use context::{Ask, Context, Level};
pub use counter::Counter;
pub use error::{Error, ErrorCode, ErrorParts, Handled, Result};
pub use handler::Handler;
pub use kernel::KernelEvent;
pub use message::{Caller, FromMessage, Message, Outcome, Param, ParamText};
pub use parts::Parts;
pub use recipient::{Address, Recipient, Site};
pub use responder::Responder;
pub use route::{
    Kind, Need, Route, Schema, check_pattern, event, every, need, on, on_event, on_reply,
};
pub use sender::{Answer, OutsideAsk, Pending, Sender};
pub use stream::{Part, StreamWriter};
pub use subsystem::{Saved, State, Subsystem};
pub use thread::Stop;
pub use time::{IntoDuration, Time, parse_nanos};

#[doc(hidden)]
pub use subsystem::{Export, restore_state, save_state};
#[doc(hidden)]
pub use {abi_stable, postcard_schema, recipient::check_path, serde};

/// What a plugin's source begins with.
pub mod prelude {
    pub use crate::{
        Address, Body, Caller, Context, Counter, Edge, Error, ErrorCode, Handled, Level, Need,
        Outcome, Param, ParamText, Part, Pod, Raw, Recipient, Responder, Result, Route, Saved,
        Sender, State, Stop, StreamWriter, Subsystem, Time, event, every, export_subsystem, need,
        on, on_event, on_reply, path,
    };
    pub use postcard_schema::Schema;
    pub use serde::{Deserialize, Serialize};
}

/// Exports a subsystem from its library: `export_subsystem!(Counter)`.
///
/// With `state = T` its state outlives the instance: `T` implements [`State`], and `state = Self` makes the subsystem its own.
///
/// The library gets a global allocator that counts and frees what it holds; `allocator = none`, last, leaves it without,
/// for one that has its own.
#[macro_export]
macro_rules! export_subsystem {
    ($subsystem:ty $(, allocator = $allocator:tt)?) => {
        $crate::__subsystem!($subsystem);
        $crate::__export!($subsystem);
        $crate::__hooks!($($allocator)?);
    };
    ($subsystem:ty, state = Self $(, allocator = $allocator:tt)?) => {
        $crate::__subsystem!($subsystem, state = Self);
        $crate::__export!($subsystem);
        $crate::__hooks!($($allocator)?);
    };
    ($subsystem:ty, state = $state:ty $(, allocator = $allocator:tt)?) => {
        $crate::__subsystem!($subsystem, state = $state);
        $crate::__export!($subsystem);
        $crate::__hooks!($($allocator)?);
    };
    ($subsystem:ty, $($other:tt)*) => {
        ::std::compile_error!(::std::concat!(
            "`", ::std::stringify!($($other)*), "` is none of `state = …` and `allocator = none`, in this order"
        ));
    };
}

/// Makes a type the subsystem of a plugin or of a test, without the exports of a library.
#[doc(hidden)]
#[macro_export]
macro_rules! __subsystem {
    ($subsystem:ty) => {
        const _: () = {
            impl $crate::Export for $subsystem {
                const SCHEMA: u32 = 0;
                fn save(&self) -> $crate::Result<::std::vec::Vec<u8>> {
                    ::std::result::Result::Ok(::std::vec::Vec::new())
                }
                fn restore(&mut self, _: u32, _: &[u8]) -> $crate::Result<()> {
                    ::std::result::Result::Err($crate::Error::invalid("this build keeps no state"))
                }
            }
        };
    };
    ($subsystem:ty, state = Self) => {
        impl $crate::State<$subsystem> for $subsystem {
            fn save(subsystem: &$subsystem) -> impl $crate::serde::Serialize {
                subsystem
            }
            fn restore(self, subsystem: &mut $subsystem) -> $crate::Result<()> {
                *subsystem = self;
                ::std::result::Result::Ok(())
            }
        }
        $crate::__subsystem!($subsystem, state = $subsystem);
    };
    ($subsystem:ty, state = $state:ty) => {
        const _: () = {
            impl $crate::Export for $subsystem {
                const SCHEMA: u32 = <$state as $crate::State<$subsystem>>::SCHEMA;
                fn save(&self) -> $crate::Result<::std::vec::Vec<u8>> {
                    $crate::save_state::<$subsystem, $state>(self)
                }
                fn restore(&mut self, schema: u32, state: &[u8]) -> $crate::Result<()> {
                    $crate::restore_state::<$subsystem, $state>(self, schema, state)
                }
            }
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($subsystem:ty) => {
        const _: () = {
            use $crate::abi::{Module, Module_Ref, manifest, shim};
            use $crate::abi_stable::{library, prefix_type::WithMetadata};

            const ABOUT: manifest::About = manifest::About {
                name: ::std::env!("CARGO_PKG_NAME"),
                version: ::std::env!("CARGO_PKG_VERSION"),
                state: <$subsystem as $crate::Export>::SCHEMA,
                unwinds: ::std::cfg!(panic = "unwind"),
                unloads: ::std::cfg!(not(test)),
            };

            #[used]
            #[unsafe(link_section = ".mycelia")]
            static MANIFEST: [u8; manifest::length::<$subsystem>(ABOUT)] =
                manifest::bytes::<$subsystem, _>(ABOUT);

            static MODULE: WithMetadata<Module> = WithMetadata::new(shim::module::<$subsystem>());

            extern "C" fn root_module() -> library::RootModuleResult {
                shim::root_module(&MODULE)
            }

            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: library::LibHeader = unsafe {
                library::LibHeader::from_constructor::<Module_Ref>(
                    root_module,
                    library::CheckTypeLayout::Yes,
                )
            };
        };
    };
}

/// Makes the library unloadable. The unit tests of a plugin are a program of their own, without the hooks.
#[doc(hidden)]
#[macro_export]
macro_rules! __hooks {
    () => {
        $crate::__hooks!(none);
        #[cfg(not(test))]
        const _: () = {
            use $crate::abi::hooks::heap::Allocator;

            #[global_allocator]
            static ALLOCATOR: Allocator = Allocator;
        };
    };
    (none) => {
        #[cfg(not(test))]
        const _: () = {
            // A module, since `global_asm!` is no statement, and documentation tests are compiled within a function.
            mod hooks {
                use $crate::abi::hooks;

                ::core::arch::global_asm!(
                    $crate::__hook!("pthread_create"),
                    $crate::__hook!("pthread_key_create"),
                    $crate::__hook!("pthread_key_delete"),
                    $crate::__hook!("__cxa_thread_atexit_impl"),
                    $crate::__hook!("abort"),
                    $crate::__hook!("exit"),
                    $crate::__hook!("_exit"),
                    pthread_create = sym hooks::pthread_create,
                    pthread_key_create = sym hooks::pthread_key_create,
                    pthread_key_delete = sym hooks::pthread_key_delete,
                    __cxa_thread_atexit_impl = sym hooks::__cxa_thread_atexit_impl,
                    abort = sym hooks::abort,
                    exit = sym hooks::exit,
                    _exit = sym hooks::_exit,
                );
            }
        };
    };
    ($other:tt) => {
        ::std::compile_error!(::std::concat!(
            "`allocator = ",
            ::std::stringify!($other),
            "`: write `allocator = none` and declare your own, or leave it out"
        ));
    };
}

/// A hidden symbol, so that only this library binds to it, that jumps to the function of the same name.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook {
    ($name:literal) => {
        ::std::concat!(
            ".globl ",
            $name,
            "\n.hidden ",
            $name,
            "\n.type ",
            $name,
            ",%function\n",
            $name,
            ": ",
            $crate::__jump!(),
            " {",
            $name,
            "}\n",
        )
    };
}

#[doc(hidden)]
#[cfg(target_arch = "x86_64")]
#[macro_export]
macro_rules! __jump {
    () => {
        "jmp"
    };
}

#[doc(hidden)]
#[cfg(target_arch = "aarch64")]
#[macro_export]
macro_rules! __jump {
    () => {
        "b"
    };
}
