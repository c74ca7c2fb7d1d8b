//! `mycelia dev`: a host whose plugins are built from their sources whenever those are saved.
//!
//! It only runs cargo: that the host takes up a new library is the host's own doing, with or without this.
//! `plan` says what is built, `sources` which files count, `cargo` runs it, and `session` ties them to the saves.

mod cargo;
mod packages;
mod plan;
mod session;
mod sources;
#[cfg(test)]
mod tests;

use crate::{
    config::Config,
    run::{self, say},
    runtime::search_path,
};
use plan::{Place, Plan};
use session::{Event, Session};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    env, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{self, Sender},
    thread,
};

/// Serves what the file says, and builds its plugins before that and at each save.
pub fn dev(file: &Path) -> ExitCode {
    // A config with mistakes is told of by `run`.
    let Ok(config) = Config::read(file) else { return run::run(file) };
    let plan = plan_of(&config, file);
    plan.remarks.iter().for_each(|remark| say(remark));
    if plan.builds.is_empty() {
        say("nothing is built, for the reasons above");
        return run::run(file);
    }
    match serve(file, plan) {
        Ok(code) => code,
        Err(error) => crate::cli::Failure::failed(error.to_string()).report(),
    }
}

fn plan_of(config: &Config, file: &Path) -> Plan {
    let base = file.parent().unwrap_or(Path::new("."));
    let binary = env::current_exe().unwrap_or_default();
    let folders = [base, Path::new("."), &binary].map(Path::to_owned);
    let place = Place { base, search: &search_path(), folders: &folders };
    plan::plan(config, &place, &cargo::metadata)
}

fn serve(file: &Path, plan: Plan) -> io::Result<ExitCode> {
    let (sender, events) = mpsc::channel();
    let watched: Vec<&sources::Sources> = plan.builds.iter().map(|build| &build.sources).collect();
    let _watcher = sources::watch(&watched, sender.clone())?;
    let signals = stop_on_signals(sender.clone())?;
    let mut session = Session::new(plan.builds, sender.clone(), events);
    if let Err(code) = session.build_first() {
        return Ok(code);
    }
    let building =
        thread::Builder::new().name("mycelia-dev".into()).spawn(move || session.serve())?;
    let code = run::run(file);
    // The session may have ended already, at a signal.
    let _ = sender.send(Event::Stop(SIGTERM));
    building.join().expect("the session does not panic");
    signals.close();
    Ok(code)
}

/// The first signal ends the building at once, while the host drains its queues; the second finds no cargo to leave behind.
fn stop_on_signals(sender: Sender<Event>) -> io::Result<signal_hook::iterator::Handle> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let watch = move || {
        if let Some(signal) = signals.forever().next() {
            // Nobody listens when the host has ended.
            let _ = sender.send(Event::Stop(signal));
        }
    };
    thread::Builder::new().name("mycelia-dev-stop".into()).spawn(watch)?;
    Ok(handle)
}

/// Without links, also where the end of the path does not exist yet.
fn real(path: &Path) -> PathBuf {
    // What is left of a relative path without its last name.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path.canonicalize().unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    })
}
