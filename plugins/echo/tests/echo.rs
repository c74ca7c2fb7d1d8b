//! The echo as its senders see it, without a host.

use mycelia_echo::Echo;
use mycelia_plugin::{
    Raw,
    abi::{Holds, hooks},
};
use mycelia_testkit::Kit;
use std::thread;

#[test]
fn every_path_answers_with_the_bytes_it_was_sent() {
    let kit = Kit::<Echo>::new("()").unwrap();
    let long = vec![7; 100_000];
    for (path, body) in [("", &b""[..]), ("a", b"hello"), ("a/b/c", b"\0\xff"), ("long", &long)] {
        let echoed = kit.request(path, Raw::from(body)).unwrap().bytes().unwrap();
        assert_eq!(echoed, body, "{path}");
    }
}

/// This program links the plugin, and with it the hooks. No host attaches it, so they note nothing.
#[test]
fn the_hooks_of_a_plugin_are_inert_in_its_tests() {
    struct Local(Vec<u8>);
    impl Drop for Local {
        fn drop(&mut self) {
            self.0.clear();
        }
    }
    thread_local! {
        static LOCAL: Local = Local(vec![1]);
    }
    assert!(hooks::are_bound());
    let held = thread::spawn(|| LOCAL.with(|local| (local.0.len(), hooks::held()))).join().unwrap();
    assert_eq!(held, (1, Holds::default()));
    assert_eq!(LOCAL.with(|local| (local.0.len(), hooks::held())), (1, Holds::default()));
}
