//! Ways to end the process, and what of them a plugin does without knowing.

use mycelia_plugin::{Error, Result};

/// # Errors
/// There is no such way.
pub(crate) fn end(how: &str) -> Result<()> {
    match how {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "double_panic" => {
            let _bomb = Bomb;
            panic!("the first of two panics")
        }
        "foreign" => foreign(),
        "overflow" => Err(Error::failed(deeper(0).to_string())),
        _ => Err(Error::not_found("no such end")),
    }
}

/// Until the stack is exhausted, which is 2 to 8 MiB.
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1) + frame[1] }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the second of two panics");
    }
}

/// A panic cannot pass a function of another language.
extern "C" fn foreign() -> ! {
    panic!("where no panic may pass")
}
