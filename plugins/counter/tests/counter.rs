//! The counter as its senders see it, without a host.

use mycelia_counter::Counter;

use mycelia_plugin::ErrorCode;
use mycelia_testkit::Kit;
use std::collections::BTreeMap;

#[test]
fn it_counts_by_name_across_a_reload() {
    let kit = Kit::<Counter>::new("()").unwrap();
    assert_eq!(kit.ask::<i64>("add/visits", &2).unwrap(), 2);
    kit.reload().unwrap();
    assert_eq!(kit.ask::<i64>("add/visits", &3).unwrap(), 5);
    assert_eq!(kit.ask::<i64>("value/nobody", &()).unwrap(), 0);
    let all = BTreeMap::from([("visits".to_owned(), 5)]);
    let found: BTreeMap<String, i64> = kit.ask("values", &()).unwrap();
    assert_eq!(found, all);
}

#[test]
fn a_count_does_not_overflow() {
    let kit = Kit::<Counter>::new("()").unwrap();
    kit.send("add/visits", &i64::MAX).unwrap();
    let error = kit.ask::<i64>("add/visits", &1).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert_eq!(kit.ask::<i64>("value/visits", &()).unwrap(), i64::MAX);
}
