//! What one would use instead, in the process: a plugin in WebAssembly, behind the feature `wasmtime`.
//!
//! Its handler adds a word up; it has no queue, no route and no schedule.

use crate::harness::Run;

#[cfg(not(feature = "wasmtime"))]
pub fn call<const RUN: usize>() -> Result<Run, String> {
    Err("built without `--features wasmtime`".into())
}

/// A message copied in and a typed call, or so many at a time.
#[cfg(feature = "wasmtime")]
pub fn call<const RUN: usize>() -> Result<Run, String> {
    use crate::{BURST, MESSAGE, harness::timed};
    use wasmtime::{Engine, Instance, Module, Store};

    const TEXT: &str = r#"(module
        (memory (export "memory") 1)
        (global $sum (mut i64) (i64.const 0))
        (global $count (mut i64) (i64.const 0))
        (func (export "handle") (param $messages i32) (result i64)
            (local $at i32)
            (loop $next
                (global.set $sum (i64.add (global.get $sum) (i64.load (local.get $at))))
                (global.set $count (i64.add (global.get $count) (i64.const 1)))
                (local.set $at (i32.add (local.get $at) (i32.const 64)))
                (local.set $messages (i32.sub (local.get $messages) (i32.const 1)))
                (br_if $next (local.get $messages)))
            (global.get $count)))"#;
    let message: Vec<u8> = MESSAGE.iter().flat_map(|word| word.to_le_bytes()).collect();
    let batch = message.repeat(RUN);
    let set_up = || -> wasmtime::Result<_> {
        let engine = Engine::default();
        let module = Module::new(&engine, TEXT)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        let handle = instance.get_typed_func::<i32, i64>(&mut store, "handle")?;
        let memory = instance.get_memory(&mut store, "memory").expect("it is in the text");
        Ok((store, memory, handle))
    };
    let (mut store, memory, handle) = set_up().map_err(|error| error.to_string())?;
    let mut sent = 0;
    Ok(timed(move |bursts| {
        for _ in 0..bursts {
            let mut left = BURST as usize;
            while left > 0 {
                let run = RUN.min(left);
                memory.data_mut(&mut store)[..run * 64].copy_from_slice(&batch[..run * 64]);
                sent += run as i64;
                let count = handle.call(&mut store, run as i32).expect("it does not trap");
                assert_eq!(count, sent, "every message is handled");
                left -= run;
            }
        }
    }))
}
