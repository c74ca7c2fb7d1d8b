//! A plugin that a host has attached, in a program of its own: the panic hook is the process's.
#![allow(unsafe_code, reason = "attaching is what the host does")]

use mycelia_plugin::{abi::shim, prelude::*};
use mycelia_testkit::Kit;

struct Panics;

impl Subsystem for Panics {
    type Config = ();
    const ROUTES: &'static [Route<Self>] = &[on("", Self::panic)];
    fn create((): ()) -> Result<Self> {
        Ok(Panics)
    }
}

impl Panics {
    fn panic(&mut self) -> Result<()> {
        panic!("the first line\nthe second")
    }
}

mycelia_testkit::subsystem!(Panics);

#[test]
fn a_panic_is_one_line_in_the_log_of_the_host() {
    let kit = Kit::<Panics>::new("()").unwrap();
    // SAFETY: this program binds no hook, so that only the panic hook is set.
    unsafe { (shim::module::<Panics>().attach)() };
    kit.send("", &()).unwrap_err();
    let logs = kit.logs();
    let told: Vec<&str> = logs.iter().filter_map(|log| log.text.strip_prefix("panic: ")).collect();
    let [line] = told[..] else { panic!("one line: {logs:?}") };
    assert!(line.starts_with("thread `a_panic_is_one_` panicked at "), "{line}");
    assert!(line.ends_with("tests/attached.rs:19:9: the first line\\nthe second"), "{line}");
}
