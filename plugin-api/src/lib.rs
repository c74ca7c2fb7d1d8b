#![doc = include_str!("../README.md")]
#![allow(
    clippy::test_attr_in_doctest,
    reason = "the guide shows a plugin with its test, which is run as an example"
)]

pub mod abi;
mod body;
mod context;
mod error;
mod handler;
mod message;
mod recipient;
mod responder;
mod route;
mod sender;
mod subsystem;
mod thread;
mod time;

pub use body::{Body, Edge, Payload, Pod, Raw, Reply};
pub use context::{Ask, Context, Level};
pub use error::{Error, ErrorCode, ErrorParts, Handled, Result};
pub use handler::Handler;
pub use message::{Caller, FromMessage, Message, Outcome, Param, ParamText};
pub use recipient::{Address, Recipient};
pub use responder::Responder;
pub use route::{Kind, Need, Route, Schema, check_pattern, every, need, on, on_reply};
pub use sender::{Answer, OutsideAsk, Pending, Sender};
pub use subsystem::{Saved, State, Subsystem};
pub use thread::Stop;
pub use time::{IntoDuration, Time, parse_nanos};

#[doc(hidden)]
pub use subsystem::{Export, restore_state, save_state};
#[doc(hidden)]
pub use {abi_stable, postcard_schema, serde};

/// What a plugin's source begins with.
pub mod prelude {
    pub use crate::{
        Address, Body, Caller, Context, Edge, Error, ErrorCode, Handled, Level, Need, Outcome,
        Param, ParamText, Pod, Raw, Recipient, Responder, Result, Route, Saved, Sender, State,
        Stop, Subsystem, Time, every, export_subsystem, need, on, on_reply,
    };
    pub use postcard_schema::Schema;
    pub use serde::{Deserialize, Serialize};
}

/// Exports a subsystem from its library: `export_subsystem!(Counter)`.
///
/// With `state = T` its state outlives the instance: `T` implements [`State`], and `state = Self` makes the subsystem its own.
#[macro_export]
macro_rules! export_subsystem {
    ($subsystem:ty $(, state = $($state:tt)+)?) => {
        $crate::__subsystem!($subsystem $(, state = $($state)+)?);
        $crate::__export!($subsystem);
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
