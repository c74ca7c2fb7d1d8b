//! The child's side: a host with the plugin as its only subsystem, and the checks one after another.

use super::{
    Check, MARK, Told,
    bodies::{Random, bodies, fill},
};
use crate::{
    config::Config,
    loader::{Image, LoadError},
    operator::{Operator, OperatorReply},
    report::ReloadReport,
    runtime::{Runtime, Slot, rss},
    status::{Phase, RetainedGeneration},
};
use mycelia_plugin::{Error, ErrorCode, Kind, abi::manifest::Manifest};
use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::Path,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// How often the plugin is reloaded.
const RELOADS: usize = 100;
/// After so many the memory is looked at for the first time: until then pools and caches fill.
const WARM: usize = 20;
/// What the process may grow by for each reload after that.
const GROWTH: u64 = 64 * 1024;
/// The longest that a handler or a call of the plugin's life may take, and that a request waits for its answer.
const LIMIT: Duration = Duration::from_secs(2);
/// A `stop` that takes longer holds every reload up.
const SLOW: Duration = Duration::from_secs(1);
/// For what the host does by itself, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the parameters of each route are: a number, a word, and whatever comes.
const PARAMETERS: &[Option<&str>] = &[Some("7"), Some("x"), None];

/// Runs every check of this library, and tells of each on stdout.
pub fn in_child(library: &Path, config: &str) {
    let needs = run(library, config);
    tell(&Told::End { needs: needs.unwrap_or_default() });
}

fn tell(told: &Told) {
    let text = serde_json::to_string(told).expect("it is plain data");
    // Whoever started this has gone: there is nobody to tell.
    let _ = writeln!(io::stdout(), "{MARK}{text}");
}

/// Tells of one check, and answers whether it passed.
fn check(name: &str, work: impl FnOnce() -> Check) -> bool {
    tell(&Told::Begin(name.into()));
    let done = work();
    let passed = done.passed;
    tell(&Told::Done(done));
    passed
}

/// The subsystems of which the plugin declares needs; none if the later checks have nothing to go by.
fn run(library: &Path, config: &str) -> Option<BTreeSet<String>> {
    let mut manifest = None;
    check("manifest", || match read(library) {
        Ok(read) => {
            let (name, version, routes) = (&read.name, &read.version, read.routes.len());
            let found = format!("{name} {version}, {routes} routes");
            manifest = Some(read);
            Check::pass("manifest", found)
        }
        Err(error) => Check::fail("manifest", error.to_string(), "build it as a plugin, whole"),
    });
    let manifest = manifest?;
    let subsystem = |scope: &str| scope.rsplit_once(':').map(|(subsystem, _)| subsystem.to_owned());
    let needs = manifest.needs.iter().filter_map(|need| subsystem(&need.scope)).collect();

    let folder = tempfile::tempdir().ok()?;
    let name = name_of(&manifest);
    let mut created = None;
    check("create", || {
        match create(&name, library, config, &publishers(&manifest, &name), folder.path()) {
            Ok(runtime) => {
                created = Some(runtime);
                Check::pass("create", "it is loaded, tried in another process, and created")
            }
            Err(text) => {
                Check::fail("create", text, "give it a config that it takes, by `--config FILE`")
            }
        }
    });
    let runtime = created?;
    let (ready, is_ready) = channel();
    let serving = thread::spawn(move || runtime.serve(|| _ = ready.send(())));
    let started = check("start", || match is_ready.recv_timeout(PATIENCE) {
        Ok(()) => Check::pass("start", "it starts"),
        Err(_) => Check::fail("start", last_error(runtime, &name), "mend its `start`"),
    });
    if !started {
        return Some(needs);
    }
    let mut grown = 0;
    let reloads = check("reload", || reload_often(runtime, &name, &mut grown));
    // Builds that stay would be all that the process has grown by.
    if reloads && check("unload", || unloaded(runtime)) {
        check("memory", || memory(grown));
    }
    let routes = check("routes", || try_routes(runtime, &name, &manifest));
    check("ledger", || ledger(runtime, &name));
    if routes {
        check("stop", || stop(runtime, &name, serving));
    }
    Some(needs)
}

fn read(library: &Path) -> Result<Manifest, LoadError> {
    Ok(Image::read(library)?.preflight()?.manifest().clone())
}

/// What its config would call it: the package's name, without what all of this repository's begin with.
fn name_of(manifest: &Manifest) -> String {
    manifest.name.strip_prefix("mycelia-").unwrap_or(&manifest.name).to_owned()
}

/// The other subsystems whose events it listens to.
fn publishers(manifest: &Manifest, name: &str) -> BTreeSet<String> {
    let listened = manifest.routes.iter().filter(|route| route.kind == Kind::OnEvent);
    let publishers = listened.filter_map(|route| route.pattern.split_once("://"));
    let publishers: BTreeSet<String> = publishers.map(|(publisher, _)| publisher.into()).collect();
    publishers.into_iter().filter(|one| one != name && one != "kernel").collect()
}

fn create(
    name: &str,
    library: &Path,
    config: &str,
    publishers: &BTreeSet<String>,
    folder: &Path,
) -> Result<&'static Runtime, String> {
    let file = folder.join("validate.ron");
    let plugin = library.display().to_string();
    let data = folder.join("data").display().to_string();
    let limit = LIMIT.as_millis();
    // A publisher that is optional may be missing: nothing is heard from it.
    let absent = folder.join("libabsent.so").display().to_string();
    let absent = |name: &String| format!("{name:?}: (plugin: {absent:?}, required: false), ");
    let publishers: String = publishers.iter().map(absent).collect();
    let text = format!(
        "(workers: 2, data: {data:?}, ask_deadline: \"{limit}ms\", drain_timeout: \"{limit}ms\", subsystems: {{\n\
         {name:?}: (plugin: {plugin:?}, handler_limit: \"{limit}ms\", \
         restart: (max: 1000000, within: \"1s\", backoff: \"1ms\"), \
         probation: (messages: 0, for: \"0s\", panics: 0), config:\n{config}\n), {publishers}}})"
    );
    let config = Config::parse("validate.ron", &text).map_err(|mistakes| mistakes.to_string())?;
    Runtime::create(&config, &file, 1).map_err(|error| error.to_string())
}

fn slot<'r>(runtime: &'r Runtime, name: &str) -> &'r Slot {
    runtime.named(name).expect("it is in the config")
}

fn last_error(runtime: &Runtime, name: &str) -> String {
    let error = slot(runtime, name).info().last_error.clone();
    error.unwrap_or_else(|| format!("nothing has happened within {PATIENCE:?}"))
}

fn eventually(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + limit;
    while !is_so() {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

fn reload(runtime: &Runtime, name: &str) -> Result<ReloadReport, String> {
    let (done, reloaded) = channel();
    runtime.reload(name, Box::new(move |report| drop(done.send(report))));
    match reloaded.recv_timeout(PATIENCE) {
        Ok(report) => report.map_err(|error: Error| error.text.clone()),
        Err(_) => Err(format!("it has not ended within {PATIENCE:?}")),
    }
}

/// Reloads it often, and notes what the process has grown by with each.
fn reload_often(runtime: &Runtime, name: &str, grown: &mut u64) -> Check {
    let fail = |found: String, remedy: &str| Check::fail("reload", found, remedy);
    let (mut slowest, mut warm) = (Duration::ZERO, 0);
    for number in 1..=RELOADS {
        let report = match reload(runtime, name) {
            Ok(report) => report,
            Err(text) => {
                let found = format!("reload {number} is refused: {text}");
                return fail(found, "mend what it names; state that `save` gives must be restored");
            }
        };
        slowest = slowest.max(report.times.stop);
        if slowest > SLOW {
            let found = format!("its `stop` takes {slowest:.1?}, threads included");
            return fail(found, "end threads as soon as their stop token is raised");
        }
        if let Some(error) = slot(runtime, name).info().last_error.clone() {
            let found = format!("reload {number} went wrong: {error}");
            return fail(found, "mend its `stop` and its `drop`");
        }
        if number == WARM {
            warm = rss();
        }
    }
    *grown = rss().saturating_sub(warm) / (RELOADS - WARM) as u64;
    Check::pass("reload", format!("{RELOADS} reloads; the slowest `stop` took {slowest:.1?}"))
}

/// Builds that were replaced are gone, with their threads.
fn unloaded(runtime: &Runtime) -> Check {
    let left = || runtime.status().retained_generations;
    if eventually(LIMIT, || left().is_empty()) {
        return Check::pass("unload", "every build that was replaced is unloaded");
    }
    let left = left();
    let reasons = left.iter().map(|RetainedGeneration { reason, .. }| reason.as_str());
    let reason = reasons.max().unwrap_or("nobody knows why");
    Check::fail(
        "unload",
        format!("{} builds stay in the process: {reason}", left.len()),
        "begin threads by `ctx.spawn` and let them end at their stop token",
    )
}

fn memory(grown: u64) -> Check {
    let found = format!("the process grows by {grown} bytes with each reload");
    if grown <= GROWTH {
        return Check::pass("memory", found);
    }
    let remedy = "give back what is outside of its heap: maps, files, buffers of C libraries";
    Check::fail("memory", found, remedy)
}

type Outcome = Result<OperatorReply, Error>;

fn ask(runtime: &Runtime, path: &str, body: &[u8]) -> Receiver<Outcome> {
    let (done, outcome) = channel();
    runtime.ask(path, body, Some(LIMIT), Box::new(move |told| drop(done.send(told))));
    outcome
}

fn try_routes(runtime: &Runtime, name: &str, manifest: &Manifest) -> Check {
    let (mut random, mut asked) = (Random(0), 0);
    for route in manifest.routes.iter().filter(|route| route.kind == Kind::On) {
        let before = ends(runtime, name);
        let mut outcomes = Vec::new();
        for parameter in PARAMETERS {
            let path = format!("{name}://{}", fill(&route.pattern, *parameter, &mut random));
            let bodies = bodies(&mut random);
            outcomes.extend(bodies.iter().map(|body| ask(runtime, &path, body)));
        }
        asked += outcomes.len();
        for outcome in outcomes {
            let Ok(outcome) = outcome.recv_timeout(PATIENCE) else {
                let found = format!("a request to `{}` has no outcome", route.pattern);
                return Check::fail(
                    "routes",
                    found,
                    "this is a fault of the host: tell its authors",
                );
            };
            if let Err(error) = outcome
                && error.code == ErrorCode::Panicked
            {
                return panicked(&route.pattern, &error.text);
            }
        }
        // Whatever hangs has been taken away by then.
        let has_settled = || ends(runtime, name) != before || is_at_rest(runtime, name);
        if !eventually(2 * LIMIT, has_settled) {
            let found = format!("what a message to `{}` begins does not end", route.pattern);
            return Check::fail("routes", found, "send to itself by `ctx.after`, with a pause");
        }
        let (hung, restarts) = ends(runtime, name);
        if hung > before.0 {
            let found =
                format!("a handler of `{}` has not returned within {LIMIT:?}", route.pattern);
            let remedy =
                "let a thread of `ctx.spawn` do what takes long, and answer by a `Responder`";
            return Check::fail("routes", found, remedy);
        }
        if restarts > before.1 {
            return panicked(&route.pattern, &last_error(runtime, name));
        }
    }
    let others = manifest.routes.iter().filter(|route| is_of_host(route.kind)).count();
    let untried = match others {
        0 => String::new(),
        _ => {
            format!("; {others} routes are for the host alone, and are left to the plugin's tests")
        }
    };
    Check::pass(
        "routes",
        format!("{asked} requests of every shape; none panicked or hung{untried}"),
    )
}

/// Whether only the host sends to it: what it passes on was made for the subsystem.
fn is_of_host(kind: Kind) -> bool {
    matches!(kind, Kind::OnReply | Kind::OnEvent | Kind::Every(_))
}

fn panicked(pattern: &str, text: &str) -> Check {
    let found = format!("a message to `{pattern}` ends the instance: {text}");
    Check::fail("routes", found, "return an error for what it does not take")
}

/// How often its handlers hung, and how often it was restarted for that or for another reason.
fn ends(runtime: &Runtime, name: &str) -> (u64, u64) {
    let info = slot(runtime, name).info();
    (info.hung, info.restarts)
}

/// Nothing runs or waits, and no instance is being replaced. One that keeps itself busy gets its turns all the same.
fn is_at_rest(runtime: &Runtime, name: &str) -> bool {
    let slot = slot(runtime, name);
    let before = slot.ledger();
    if before.in_flight == 0 {
        return slot.info().phase == Phase::Running;
    }
    thread::sleep(Duration::from_millis(20));
    slot.ledger().handled > before.handled
}

fn ledger(runtime: &Runtime, name: &str) -> Check {
    let ledger = slot(runtime, name).ledger();
    match ledger.balances() {
        true => Check::pass("ledger", format!("{} messages are accounted for", ledger.accepted)),
        false => {
            let found = format!("it does not balance: {ledger:?}");
            Check::fail("ledger", found, "this is a fault of the host: tell its authors")
        }
    }
}

fn stop<T>(runtime: &'static Runtime, name: &str, serving: thread::JoinHandle<T>) -> Check {
    slot(runtime, name).info().last_error = None;
    let began = Instant::now();
    Operator::stop(runtime);
    let stopped = eventually(PATIENCE, || serving.is_finished());
    let took = began.elapsed();
    let error = slot(runtime, name).info().last_error.clone();
    let remedy = "mend its `stop`, and end its threads at their stop token";
    match error {
        _ if !stopped => Check::fail("stop", format!("not within {PATIENCE:?}"), remedy),
        Some(error) => Check::fail("stop", error, remedy),
        None => Check::pass("stop", format!("it stops within {took:.1?}, its queue drained")),
    }
}
