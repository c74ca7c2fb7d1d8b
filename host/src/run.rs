//! `mycelia run` and `mycelia check`: a host from one file.

use crate::{
    abi::report_crashes,
    cli::{Exit, Failure, report_mistakes, table},
    config::{Config, Mistakes},
    control::{self, Server, Token},
    operator::Operator,
    runtime::{OPEN_REQUESTS, Runtime, Slot, StartError},
    service::{Service, Teller},
};
use mycelia_kernel::table::{Reach, Table};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
};

/// Serves what the file says until it is told to stop.
pub fn run(file: &Path) -> ExitCode {
    match serve(file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// A config without mistakes.
pub struct Checked {
    /// As it was read.
    pub config: Config,
    /// Scopes that its plugins need and that it does not grant, each of which was logged.
    pub ungranted: usize,
}

/// Reads the file, and compares it with the plugins it names: they are loaded and created, but not started.
///
/// # Errors
/// Every mistake.
pub fn check(file: &Path) -> Result<Checked, Mistakes> {
    let config = Config::read(file)?;
    match Runtime::create(&config, file, 0) {
        Ok(runtime) => {
            let ungranted = runtime.ungranted();
            runtime.destroy_all();
            Ok(Checked { config, ungranted })
        }
        Err(StartError::Config(mistakes)) => Err(mistakes),
        Err(error) => {
            let mut mistakes = config.mistakes();
            mistakes.add(0..0, error.to_string(), "give the process what it asks for");
            Err(mistakes)
        }
    }
}

fn serve(file: &Path) -> Result<(), Failure> {
    let config = Config::read(file).map_err(|mistakes| bad_config(&mistakes))?;
    let host = Host::create(&config, file, OPEN_REQUESTS)?;
    let runtime = host.runtime;
    // Held until the host has ended, since it tells of that.
    let service = Service::of_environment(runtime);
    let teller = service.as_ref().map(Service::teller);
    take_signals(runtime, teller.clone()).map_err(no_signals)?;
    host.serve(|server| {
        let is_service = teller.inspect(Teller::started).is_some();
        greet(file, runtime, server, is_service);
    })?;
    say(&format!("\n{}", table(&runtime.status())));
    Ok(())
}

/// A host that can be reached for control, and does not serve yet.
pub(crate) struct Host {
    /// The host itself.
    pub runtime: &'static Runtime,
    server: Server,
}

impl Host {
    /// A host of this config, whose operator may have so many requests open.
    pub fn create(config: &Config, file: &Path, open_requests: usize) -> Result<Host, Failure> {
        report_crashes().map_err(no_signals)?;
        let listener = bind(config.control.listen)?;
        let seed = RandomState::new().build_hasher().finish();
        let runtime = Runtime::create_with(config, file, seed, open_requests).map_err(failed)?;
        Ok(Host { runtime, server: open_control(listener, runtime)? })
    }

    /// Serves until a stop is asked for; `ready` runs once everything serves.
    pub fn serve(self, ready: impl FnOnce(&Server)) -> Result<(), Failure> {
        let served = self.runtime.serve(|| ready(&self.server));
        self.server.stop();
        served.map_err(failed)
    }
}

pub(crate) fn no_signals(error: io::Error) -> Failure {
    Failure::failed(format!("cannot take signals: {error}"))
}

pub(crate) fn bad_config(mistakes: &Mistakes) -> Failure {
    report_mistakes(mistakes);
    Failure::silent(Exit::BadConfig)
}

fn failed(error: StartError) -> Failure {
    match error {
        StartError::Config(mistakes) => bad_config(&mistakes),
        other => Failure::failed(other.to_string()),
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another host may be running: stop it with `mycelia stop`, or choose another `control: (listen: …)`"
            }
            _ => "; choose another `control: (listen: …)`",
        };
        Failure::failed(format!("cannot listen on {address} for control: {error}{remedy}"))
    })
}

fn open_control(listener: TcpListener, runtime: &'static Runtime) -> Result<Server, Failure> {
    let opened = listener.local_addr().and_then(|address| {
        let token = Token::create(address.port())?;
        control::serve(listener, token, Arc::new(runtime))
    });
    opened.map_err(|error| Failure::failed(format!("cannot open the control server: {error}")))
}

/// The first SIGTERM or SIGINT stops in order, the second at once; SIGHUP reloads what has changed.
fn take_signals(runtime: &'static Runtime, teller: Option<Teller>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let watch = move || {
        let mut is_stopping = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => {
                    tracing::info!("SIGHUP: reloading every plugin whose file has changed");
                    teller.iter().for_each(Teller::reload_begins);
                    let teller = teller.clone();
                    runtime.reload_changed(move || teller.iter().for_each(Teller::reload_ends));
                }
                _ if is_stopping => std::process::exit(128 + signal),
                _ => {
                    is_stopping = true;
                    say("stopping; once more to stop at once");
                    teller.iter().for_each(Teller::stops);
                    runtime.stop();
                }
            }
        }
    };
    thread::Builder::new().name("mycelia-signals".into()).spawn(watch).map(drop)
}

/// Says what is served, and what to try.
fn greet(file: &Path, runtime: &Runtime, server: &Server, is_service: bool) {
    let mut text = format!("mycelia {} serves {}\n", env!("CARGO_PKG_VERSION"), file.display());
    let table = runtime.tables.load();
    for slot in runtime.subsystems() {
        let routes = routes(&table, slot);
        let phase = slot.info().phase.word();
        text += format!("  {:<12} {phase:<9} {routes}", slot.name).trim_end();
        text.push('\n');
    }
    // What a service says is kept in a journal, which others may read.
    let page = if is_service { server.address_of_page() } else { server.page() };
    text += &format!("  control      {page}\n\nTry, from a second terminal:\n");
    for command in commands(file) {
        text += &format!("  {command}\n");
    }
    say(&text);
}

/// Routes that a line of the greeting names; `mycelia inspect` has them all.
const ROUTES: usize = 4;

fn routes(table: &Table, slot: &Slot) -> String {
    let open = table.routes(slot.id).filter(|(_, route)| route.reach == Reach::Anyone);
    let mut paths: Vec<String> =
        open.map(|(_, route)| format!("{}://{}", slot.name, route.pattern.text())).collect();
    if paths.len() > ROUTES {
        let more = paths.split_off(ROUTES - 1).len();
        paths.push(format!("and {more} more"));
    }
    paths.join("  ")
}

/// The commands that the config's own comments propose, as lines that begin with `// $ `; else what always works.
fn commands(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let proposed: Vec<String> =
        text.lines().filter_map(|line| line.trim().strip_prefix("// $ ")).map(runnable).collect();
    if proposed.is_empty() {
        ["mycelia status", "mycelia stop"].map(runnable).to_vec()
    } else {
        proposed
    }
}

/// The command as this binary's caller can type it, which may not have it in the path.
pub(crate) fn runnable(command: &str) -> String {
    let own = std::env::args().next().unwrap_or_default();
    match command.strip_prefix("mycelia ") {
        Some(rest) if own.contains('/') => format!("{own} {rest}"),
        _ => command.to_owned(),
    }
}

/// Writes for people, to stderr; a closed one is nobody's loss.
pub(crate) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", text.trim_end());
}
