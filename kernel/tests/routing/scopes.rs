use mycelia_kernel::ids::SubsystemId;
use mycelia_kernel::scope::{Grants, Scope};
use mycelia_kernel::table::{Refusal, Table};

use crate::{resolve, route, scoped};

#[test]
fn scope_names() {
    for (text, expect) in [
        ("kv:read", true),
        ("a.b-c_9:x.y", true),
        ("kv", false),
        ("kv:", false),
        (":read", false),
        ("kv:read:all", false),
        ("kv:*", false),
        ("*:read", false),
        ("*", false),
        ("kv: read", false),
        ("", false),
    ] {
        assert_eq!(Scope::parse(text).is_ok(), expect, "{text:?}");
    }
    assert_eq!(
        Scope::parse("kv:*").unwrap_err().to_string(),
        "`kv:*` is not a scope; write `subsystem:scope`, such as `kv:read`, since only `*` alone grants more than one"
    );
}

#[test]
fn grants_match_exactly() {
    let check = |grants: &[&str], scope: &str, expect: bool| {
        let grants = Grants::parse(grants.iter().copied()).unwrap();
        assert_eq!(grants.allows(&Scope::parse(scope).unwrap()), expect, "{grants:?} {scope}");
    };
    check(&["kv:read"], "kv:read", true);
    check(&["kv:read"], "kv:write", false);
    check(&["kv:read"], "kv:Read", false);
    check(&["kv:read"], "kv2:read", false);
    check(&["kv:read"], "kv:reader", false);
    check(&[], "kv:read", false);
    check(&["*"], "kv:read", true);
    check(&["a:b", "*"], "kv:read", true);
    assert!(Grants::parse(["kv:*"]).is_err());
    assert_eq!(Grants::default(), Grants::none());
}

struct World {
    table: Table,
    kv: SubsystemId,
    echo: SubsystemId,
    writer: SubsystemId,
}

fn world() -> World {
    let mut edit = Table::empty().edit();
    let routes = vec![scoped("put/{key}", "write"), scoped("get/{key}", "read"), route("ping")];
    let kv = edit.subsystem("kv", Grants::none(), routes).unwrap();
    let echo = edit.subsystem("echo", Grants::parse(["kv:read"]).unwrap(), vec![]).unwrap();
    let writer = edit.subsystem("writer", Grants::parse(["kv:write"]).unwrap(), vec![]).unwrap();
    World { table: edit.finish(), kv, echo, writer }
}

#[test]
fn verdicts() {
    let World { table, kv, echo, writer } = world();
    let stranger = SubsystemId(999);
    for (sender, path, expect) in [
        (echo, "kv://get/x", true),
        (echo, "kv://put/x", false),
        (echo, "kv://ping", true),
        (writer, "kv://put/x", true),
        (writer, "kv://get/x", false),
        (kv, "kv://put/x", true),
        (kv, "kv://get/x", true),
        (SubsystemId::OPERATOR, "kv://put/x", true),
        (stranger, "kv://get/x", false),
        (stranger, "kv://ping", true),
    ] {
        assert_eq!(resolve(&table, sender, path).is_ok(), expect, "{sender:?} {path}");
    }
}

#[test]
fn a_denial_names_who_lacks_what() {
    let World { table, echo, .. } = world();
    let refusal = resolve(&table, echo, "kv://put/x").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "`echo` lacks the scope `kv:write`; grant it in the config: grants: [\"kv:write\"]"
    );
    assert!(matches!(refusal, Refusal::Denied { lacks, .. } if &*lacks == "echo"));
}

#[test]
fn a_revoked_grant_makes_recipients_stale() {
    let World { table, echo, .. } = world();
    let kept = resolve(&table, echo, "kv://get/x").unwrap().to_recipient();
    assert!(kept.is_current(table.version()));
    let mut edit = table.edit();
    edit.grants(echo, Grants::none());
    let next = edit.finish();
    assert!(!kept.is_current(next.version()));
    assert!(matches!(resolve(&next, echo, "kv://get/x"), Err(Refusal::Denied { .. })));
    assert!(resolve(&table, echo, "kv://get/x").is_ok(), "a snapshot does not change");
}

#[test]
fn the_operator_can_be_restricted() {
    let World { table, .. } = world();
    let mut edit = table.edit();
    edit.grants(SubsystemId::OPERATOR, Grants::parse(["kv:read"]).unwrap());
    let table = edit.finish();
    assert!(resolve(&table, SubsystemId::OPERATOR, "kv://get/x").is_ok());
    assert!(resolve(&table, SubsystemId::OPERATOR, "kv://put/x").is_err());
}

#[test]
fn a_removed_sender_has_no_grants() {
    let World { table, echo, .. } = world();
    let mut edit = table.edit();
    edit.remove(echo);
    edit.grants(echo, Grants::all());
    let table = edit.finish();
    assert!(matches!(resolve(&table, echo, "kv://get/x"), Err(Refusal::Denied { .. })));
}

#[test]
fn the_table_knows_its_scopes() {
    let World { table, kv, .. } = world();
    assert!(table.has_scope("kv:read"));
    assert!(!table.has_scope("kv:raed") && !table.has_scope("read"));
    let mut edit = table.edit();
    edit.subsystem("kv", Grants::none(), vec![route("ping")]).unwrap();
    assert!(!edit.table().has_scope("kv:read"), "a dropped route guards nothing");
    assert_eq!(edit.table().id("kv"), Some(kv));
}
