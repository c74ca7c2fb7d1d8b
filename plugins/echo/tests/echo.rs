//! The echo as its senders see it, without a host.

use mycelia_echo::Echo;
use mycelia_plugin::Raw;
use mycelia_testkit::Kit;

#[test]
fn every_path_answers_with_the_bytes_it_was_sent() {
    let kit = Kit::<Echo>::new("()").unwrap();
    let long = vec![7; 100_000];
    for (path, body) in [("", &b""[..]), ("a", b"hello"), ("a/b/c", b"\0\xff"), ("long", &long)] {
        let echoed = kit.request(path, Raw::from(body)).unwrap().bytes().unwrap();
        assert_eq!(echoed, body, "{path}");
    }
}
