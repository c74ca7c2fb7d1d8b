//! The kernel's own paths, by the operator and by plugins, and the events that it publishes.

use crate::support::{Host, eventually, host, host_with, refusal};
use mycelia::{
    operator::Operator,
    status::{
        Health, LedgerStatus, Ordered, Phase, RouteStatus, Statistics, Status, SubsystemStatus,
        SubsystemSummary,
    },
};
use mycelia_plugin::{ErrorCode, Handled};
use std::collections::BTreeMap;

/// `boss` may do everything, `reader` may look, and `stranger` nothing.
const SUBSYSTEMS: &str = r#"
    "teller": (plugin: "mycelia_faulty", restart: (max: 1, within: "1h")),
    "boss": (plugin: "mycelia_faulty_listener", handler_limit: "1s", grants: ["kernel:read", "kernel:control"]),
    "reader": (plugin: "mycelia_faulty_listener", grants: ["kernel:read"]),
    "stranger": (plugin: "mycelia_faulty_listener"),
"#;

fn heard(host: &Host, name: &str) -> Vec<String> {
    host.value(&format!("{name}://heard"), "")
}

fn kernel(host: &Host) -> LedgerStatus {
    host.runtime.kernel().ledger()
}

/// Waits until a listener has heard of something.
fn hears(host: &Host, name: &str, part: &str) {
    eventually(&format!("`{name}` hears `{part}` in {:?}", heard(host, name)), || {
        heard(host, name).iter().any(|one| one.contains(part))
    });
}

#[test]
fn every_query_is_answered() {
    let host = host(SUBSYSTEMS);
    host.sends("teller://fail/failed");
    host.rest("teller");
    let status: Status = host.value("kernel://query/status", "");
    assert_eq!(status.subsystems.len(), 4, "the kernel is none of the config's");
    let one: SubsystemStatus = host.value("kernel://query/subsystem/teller", "");
    assert_eq!((one.phase, one.ledger.failed), (Phase::Running, 1));
    let own: SubsystemStatus = host.value("kernel://query/subsystem/kernel", "");
    assert_eq!((&*own.plugin, own.ledger.accepted), ("mycelia", 3), "this one included");
    let all: Vec<SubsystemSummary> = host.value("kernel://query/subsystems", "");
    let names: Vec<&str> = all.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["teller", "boss", "reader", "stranger"]);
    let counted: BTreeMap<String, Statistics> = host.value("kernel://query/statistics", "");
    assert_eq!(counted["teller"].ledger.failed, 1);
    assert!(counted["kernel"].ledger.handled >= 4);
    let routes: BTreeMap<String, Vec<RouteStatus>> = host.value("kernel://query/routes", "");
    let find = |name: &str, pattern: &str| {
        let found = routes[name].iter().find(|route| route.pattern == pattern).unwrap();
        (found.reach.clone(), found.scope.clone().unwrap_or_default())
    };
    assert_eq!(find("teller", "told/{number}"), ("event".into(), "teller:hear".into()));
    assert_eq!(find("boss", "teller://told/{number}"), ("listener".into(), "".into()));
    let stop = find("kernel", "subsystem/{name}/stop");
    assert_eq!(stop, ("anyone".into(), "kernel:control".into()));
    let health: Health = host.value("kernel://query/health", "");
    assert_eq!(health, Health { ready: true, down: Vec::new() });
    let errors: BTreeMap<String, String> = host.value("kernel://query/errors", "");
    assert_eq!(errors.keys().collect::<Vec<_>>(), ["teller"]);

    let missing = host.ask("kernel://query/subsystem/nobody", "");
    assert_eq!(refusal(missing).0, ErrorCode::NotFound);
    assert_eq!(refusal(host.ask("kernel://query/nothing", "")).0, ErrorCode::NoRoute);
    let sent = kernel(&host);
    assert_eq!((sent.accepted, sent.handled, sent.failed), (9, 9, 0));
    host.stop();
}

#[test]
fn the_scopes_are_required() {
    let host = host_with("control: (grants: []),", SUBSYSTEMS);
    let pass_on = |name: &str, path: &str| {
        let told = host.ask(&format!("{name}://pass_on"), &format!("{path:?}"));
        told.map(|reply| reply.is_json).map_err(|error| (error.code, error.handled))
    };
    let denied = Err((ErrorCode::Denied, Handled::No));
    for (name, query, order) in
        [("boss", Ok(true), Ok(true)), ("reader", Ok(true), denied), ("stranger", denied, denied)]
    {
        assert_eq!(pass_on(name, "kernel://query/health"), query, "{name}");
        assert_eq!(pass_on(name, "kernel://subsystem/teller/restart"), order, "{name}");
    }
    assert_eq!(refusal(host.ask("kernel://query/health", "")), (ErrorCode::Denied, Handled::No));
    let why = |sender| host.runtime.why("kernel://subsystem/teller/stop", sender).unwrap();
    assert!(why("boss").is_allowed() && !why("reader").is_allowed());
    let told = why("reader");
    assert_eq!((told.subsystem.unwrap().name, &*told.verdict), ("kernel".into(), "denied"));
    assert_eq!(told.route.unwrap().scope.as_deref(), Some("kernel:control"));
    let ledger = kernel(&host);
    // Four were asked in vain, and `stranger` was not told of the restart.
    assert_eq!((ledger.accepted, ledger.handled, ledger.denied), (3, 3, 5));
    host.stop();
}

#[test]
fn the_kernel_answers_while_every_worker_is_busy() {
    let host = host(SUBSYSTEMS);
    host.block("boss", "gate");
    host.block("reader", "gate");
    let health: Health = host.value("kernel://query/health", "");
    assert!(health.ready);
    host.open("boss", "gate");
    host.open("reader", "gate");
    host.stop();
}

#[test]
fn what_is_stopped_starts_again() {
    let host = host(SUBSYSTEMS);
    assert_eq!(host.value::<u64>("teller://note/1", ""), 1);
    for again in ["restart", "reload"] {
        let stopped: Ordered = host.value("kernel://subsystem/teller/stop", "");
        assert_eq!((stopped.phase, &*stopped.subsystem), (Phase::Stopped, "teller"));
        let twice: Ordered = host.value("kernel://subsystem/teller/stop", "");
        assert_eq!(twice.phase, Phase::Stopped);
        assert_eq!(refusal(host.ask("teller://noted", "")).0, ErrorCode::Gone);
        let health: Health = host.value("kernel://query/health", "");
        assert_eq!((health.ready, health.down), (false, vec!["teller".to_owned()]));
        host.ask(&format!("kernel://subsystem/teller/{again}"), "").unwrap();
        assert_eq!(host.value::<Vec<u64>>("teller://noted", ""), [0; 0], "{again}");
    }
    let restarted: Ordered = host.value("kernel://subsystem/teller/restart", "");
    assert_eq!((restarted.phase, restarted.generation), (Phase::Running, 2));
    assert_eq!(host.status_of("teller").restarts, 0, "it counts those after faults");
    assert_eq!(refusal(host.ask("kernel://subsystem/nobody/stop", "")).0, ErrorCode::NotFound);
    host.stop();
}

#[test]
fn a_plugin_orders_for_another_one() {
    let host = host(SUBSYSTEMS);
    host.ask("boss://order", "\"kernel://subsystem/teller/stop\"").unwrap();
    hears(&host, "boss", "ordered: teller stopped");
    host.ask("reader://order", "\"kernel://subsystem/teller/restart\"").unwrap_err();
    host.stop();
}

#[test]
fn one_that_orders_for_itself_is_answered_first() {
    let host = host(SUBSYSTEMS);
    for (order, generation) in [("restart", 1), ("reload", 2)] {
        for route in ["order", "order_outside"] {
            let path = format!("boss://{route}");
            let begun = host.runtime.named("boss").unwrap().incarnation();
            host.ask(&path, &format!("\"kernel://subsystem/boss/{order}\"")).unwrap();
            eventually(&format!("{path} for its {order} is done"), || {
                let now = host.runtime.named("boss").unwrap().incarnation();
                now != 0 && now != begun && host.phase("boss") == Phase::Running
            });
            assert!(host.status_of("boss").generation >= generation);
            assert_eq!(host.status_of("boss").restarts, 0, "no thread of it failed");
            let last = host.status_of("boss").last_error;
            assert_eq!(last, None, "no thread of it waited for its own end");
        }
    }
    host.ask("boss://order", "\"kernel://subsystem/boss/stop\"").unwrap();
    eventually("it has stopped", || host.phase("boss") == Phase::Stopped);
    assert_eq!(host.requests("boss").pending, 0);
    host.stop();
}

#[test]
fn what_happens_is_published() {
    let host = host(SUBSYSTEMS);
    let _panicked = host.ask("teller://panic", "");
    hears(&host, "reader", "kernel told of teller: teller 1: a panic");
    hears(&host, "reader", "what the old instance held in memory is lost");
    host.ask("kernel://subsystem/teller/reload", "").unwrap();
    hears(&host, "reader", "kernel told of teller: teller 2: ");
    let _panicked = host.ask("boss://panic", "");
    hears(&host, "reader", "kernel told of boss: boss 1: ");
    hears(&host, "boss", "held in memory is lost");
    host.ask("kernel://subsystem/teller/stop", "").unwrap();
    hears(&host, "reader", "`operator` asked for a stop");
    assert_eq!(heard(&host, "stranger"), [""; 0]);
    let published = host.runtime.kernel().status();
    assert!(published.published >= 6 && published.ledger.denied >= 6, "{published:?}");
    host.stop();
}

/// Orders that nobody waits for are bounded as well.
#[test]
fn too_many_orders_are_refused() {
    let host = host(SUBSYSTEMS);
    host.block("teller", "gate");
    let orders: Vec<_> =
        (0..200).map(|_| host.ask_within("kernel://subsystem/teller/restart", "", None)).collect();
    eventually("the kernel has taken them", || kernel(&host).queued == 0);
    host.open("teller", "gate");
    let told = orders.iter().map(crate::support::told);
    let (done, refused): (Vec<_>, Vec<_>) = told.partition(Result::is_ok);
    assert!(done.len() >= 64 && !refused.is_empty(), "{} are done", done.len());
    assert!(refused.into_iter().all(|told| refusal(told) == (ErrorCode::Busy, Handled::No)));
    let ledger = kernel(&host);
    assert!(ledger.balances());
    assert_eq!((ledger.accepted, ledger.queued + ledger.in_flight), (200, 0));
    host.stop();
}
