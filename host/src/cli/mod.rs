//! The command line: what each command takes, and what becomes of its outcome.
//!
//! Data goes to stdout, everything else to stderr, so that every command can stand in a pipe.

mod check;
mod exit;
mod inspect;
mod letters;
mod load_test;
mod log;
mod man;
mod message;
mod new;
mod output;
mod reach;
mod reload;
mod restart;
mod status;
mod stop;
#[cfg(feature = "top")]
mod top;
mod validate;
mod why;

pub use check::report_mistakes;
pub use exit::{Exit, Failure};
pub use status::table;

use crate::config::Mistakes;
use crate::load::{Outcome, Plan, Show};
use crate::run::Checked;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the commands need from the rest of the host.
#[derive(Clone, Copy)]
pub struct Seams {
    /// Runs a host from this file until it is stopped, and reports its own failures.
    pub run: fn(&Path) -> ExitCode,
    /// Like `run`, while it builds the plugins whose sources are saved.
    pub dev: fn(&Path) -> ExitCode,
    /// Reads a config, and compares it with the plugins that it names.
    pub check: fn(&Path) -> Result<Checked, Mistakes>,
    /// Reads a library's manifest, without executing it.
    pub inspect: fn(&Path) -> anyhow::Result<Inspected>,
    /// Loads a host, and makes out what that came to.
    pub load: fn(Plan, Show) -> Result<Outcome, Failure>,
}

/// A library's manifest, to be printed.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: serde_json::Value,
}

/// Does what the process's arguments say.
pub fn main(seams: &Seams) -> ExitCode {
    let Cli { command } = Cli::parse();
    let outcome = crate::log::start(command.log_filter()).map_err(Failure::usage);
    match outcome.and_then(|()| command.execute(seams)) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// Runs message-driven subsystems from plugin libraries, and talks to the host that runs them.
#[derive(Debug, Parser)]
#[command(name = "mycelia", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 69 host not reachable, 78 bad config.
Environment: MYCELIA_CONTROL, MYCELIA_TOKEN, MYCELIA_LOG (a level such as debug),
MYCELIA_LOG_FORMAT (text, json), MYCELIA_PLUGIN_PATH, CARGO, NO_COLOR.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a plugin that builds, passes its test and runs, for you to change.
    New(new::New),
    /// Run a host from a config file until it is told to stop.
    Run {
        /// The RON file that says which plugins to run, and how.
        file: PathBuf,
    },
    /// Run a host, and build its plugins whenever their sources are saved.
    Dev {
        /// The RON file that says which plugins to run, and how.
        file: PathBuf,
    },
    /// Load a host from a config file, and say how fast it was and whether that is enough.
    LoadTest(load_test::LoadTest),
    /// Check a config file, and the plugins that it names, without running anything.
    Check(check::Check),
    /// Show what a plugin library says of itself, without executing it.
    Inspect(inspect::Inspect),
    /// Check that a plugin library keeps to what every plugin promises.
    Validate(validate::Validate),
    /// Show what runs, how full its queues are, and where its messages went.
    Status(status::Show),
    /// Watch a running host on the terminal, and act on it.
    #[cfg(feature = "top")]
    Top(top::Top),
    /// Send a message to a subsystem.
    Send(message::Send),
    /// Send a request to a subsystem, and print the reply.
    Ask(message::Ask),
    /// Explain where a path leads for a sender, and what allows or denies it.
    Why(why::Explain),
    /// Show what a running host logs, or change it.
    Log(log::Log),
    /// Show, send again or throw away the messages that could not be handled.
    DeadLetters(letters::DeadLetters),
    /// Put the new build of a plugin in place of the one that serves.
    Reload(reload::Reload),
    /// Put a fresh instance of a subsystem in place of the one that serves, or of none.
    ///
    /// What the old one held in memory is lost; a reload keeps it.
    Restart(restart::Restart),
    /// Stop a running host, whose queues drain first, or one of its subsystems.
    Stop(stop::Stop),
    Man(man::Man),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell it is for.
        shell: Shell,
    },
}

impl Command {
    /// Commands for people at a terminal keep quiet about what went well.
    fn log_filter(&self) -> &'static str {
        match self {
            Command::Run { .. } | Command::Dev { .. } => "info",
            _ => "warn",
        }
    }

    fn execute(&self, seams: &Seams) -> Result<ExitCode, Failure> {
        match self {
            Command::Run { file } => return Ok((seams.run)(file)),
            Command::Dev { file } => return Ok((seams.dev)(file)),
            Command::New(new) => new.execute(),
            Command::LoadTest(test) => test.execute(seams.load),
            Command::Check(check) => check.execute(seams.check),
            Command::Inspect(inspect) => inspect.execute(seams.inspect),
            Command::Validate(validate) => validate.execute(),
            Command::Status(show) => show.execute(),
            #[cfg(feature = "top")]
            Command::Top(top) => top.execute(),
            Command::Send(send) => send.execute(),
            Command::Ask(ask) => ask.execute(),
            Command::Why(explain) => explain.execute(),
            Command::Log(log) => log.execute(),
            Command::DeadLetters(letters) => letters.execute(),
            Command::Reload(reload) => reload.execute(),
            Command::Restart(restart) => restart.execute(),
            Command::Stop(stop) => stop.execute(),
            Command::Man(man) => man.execute(),
            Command::Completions { shell } => output::data(&completions(*shell)),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mycelia", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    fn parse(arguments: &str) -> Result<Command, clap::Error> {
        let arguments = std::iter::once("mycelia").chain(arguments.split_whitespace());
        Cli::try_parse_from(arguments).map(|cli| cli.command)
    }

    #[test]
    fn what_is_taken() {
        for arguments in [
            "new rate-limiter",
            "new tally --plugin-api ../mycelia/plugin-api",
            "run a.ron",
            "dev a.ron",
            "load-test a.ron",
            "load-test a.ron --scenario own.ron --json --report out.html",
            "load-test a.ron --target kv://keys --body b.json --duration 10s --rate 500",
            "load-test a.ron --rate max --p99 5ms --size large",
            "check a.ron --effective --json",
            "inspect libkv.so --json",
            "validate libkv.so --config kv.ron --json",
            "status --control localhost:7070 --token file",
            #[cfg(feature = "top")]
            "top --control localhost:7070 --token file",
            "send kv://put/x -1",
            "send kv://put/x -",
            "send kv://put/x @file --json",
            "ask kv://get/x --within 2s",
            "why kv://put/x",
            "why kv://put/x --as http --json --control localhost:7070",
            "dead-letters list --subsystem kv --route put/{key} --reason failed --age 5m --json",
            "dead-letters list --limit 10",
            "dead-letters show 5 --json",
            "dead-letters replay 5 6",
            "dead-letters replay --all --reason expired --json",
            "dead-letters purge --token file --control localhost:7070",
            "log",
            "log kv=debug,mycelia::loader=trace --control localhost:7070",
            "reload kv",
            "reload kv --json --control localhost:7070 --token file",
            "restart kv",
            "restart kv --json --control localhost:7070 --token file",
            "stop",
            "stop --subsystem kv --json",
            "completions bash",
            "man",
            "man pages",
        ] {
            assert!(parse(arguments).is_ok(), "{arguments}");
        }
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(*shell)).unwrap();
            for command in Cli::command().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell} does not complete {name}");
            }
        }
    }

    #[test]
    fn what_is_refused() {
        for (arguments, part) in [
            ("ask kv://x --within soon", "--within"),
            ("ask kv://x --witin 2s", "--within"),
            ("status --control 7070", "HOST:PORT"),
            ("send", "PATH"),
            ("reload", "NAME"),
            ("why", "PATH"),
            ("dead-letters show", "ID"),
            ("dead-letters replay", "--all"),
            ("dead-letters replay --all 5", "--all"),
            ("dead-letters list --reason dead", "panicked"),
            ("dead-letters list --age old", "--age"),
            ("reload a b", "'b'"),
            ("load-test", "FILE"),
            ("load-test a.ron --rate fast", "such as 5000, or max"),
            ("load-test a.ron --size huge", "small, medium or large"),
            ("load-test a.ron --body b.json", "--target"),
            ("load-test a.ron --duration long", "--duration"),
            ("restart", "NAME"),
            ("stop kv", "'kv'"),
            ("fly", "fly"),
            ("new", "NAME"),
            ("new Tally", "a-z"),
            ("new 2tally", "beginning with a letter"),
            ("new ../tally", "a-z"),
            ("new fn", "choose another"),
            ("new serde", "choose another"),
            ("new mycelia-kv", "choose another"),
            ("new operator", "reserved"),
        ] {
            let error = parse(arguments).expect_err(arguments).to_string();
            assert!(error.contains(part), "{arguments}: {error}");
        }
    }
}
