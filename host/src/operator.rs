//! What the command line and the control server may do with a running host.

use crate::{
    letters::{Filter, Letter, ReplayReport},
    readings::Readings,
    report::ReloadReport,
    status::{RouteCounts, Status},
    why::Why,
};
use mycelia_plugin::Error;
use std::{sync::Arc, time::Duration};

/// A reply to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorReply {
    /// The bytes as the handler gave them.
    pub body: Vec<u8>,
    /// Whether they are JSON.
    pub is_json: bool,
}

/// What happens with the outcome of a request.
pub type Done = Box<dyn FnOnce(Result<OperatorReply, Error>) + Send>;

/// What happens with the outcome of a reload: a report, or why the old build serves on.
pub type ReloadDone = Box<dyn FnOnce(Result<ReloadReport, Error>) + Send>;

/// A running host, as its operator sees it. Its sender is `operator`, its bodies come from the edge.
pub trait Operator: Send + Sync {
    /// The host at this moment.
    fn status(&self) -> Status;

    /// The same with all that is measured.
    fn readings(&self) -> Readings;

    /// Whether every thread that the others depend on goes on. May wait for a second.
    ///
    /// # Errors
    /// Which does not.
    fn live(&self) -> Result<(), String>;

    /// Whether every required subsystem runs and the host does not stop.
    ///
    /// # Errors
    /// What is in the way.
    fn ready(&self) -> Result<(), String>;

    /// Whether it is ready.
    fn is_ready(&self) -> bool {
        self.ready().is_ok()
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Those of any sender; the message was not accepted then.
    fn send(&self, path: &str, body: &[u8]) -> Result<(), Error>;

    /// Sends a request; `done` is called exactly once, by the deadline at the latest, perhaps before this returns.
    fn ask(&self, path: &str, body: &[u8], within: Option<Duration>, done: Done);

    /// Puts what is in a subsystem's file in place of what serves; `done` is called exactly once with what became of it.
    fn reload(&self, name: &str, done: ReloadDone);

    /// What a subsystem serves at this moment, and how the messages of each route ended.
    ///
    /// # Errors
    /// When there is no such subsystem.
    fn routes(&self, name: &str) -> Result<Vec<RouteCounts>, Error>;

    /// Explains where a path leads for a sender, a subsystem or `operator`, and what allows or denies it.
    ///
    /// # Errors
    /// When there is no such sender.
    fn why(&self, path: &str, sender: &str) -> Result<Why, Error>;

    /// What is logged, as directives.
    fn log(&self) -> String;

    /// Changes what is logged by these directives, and answers with all that hold from here on.
    ///
    /// # Errors
    /// What is wrong with them; nothing is changed then.
    fn set_log(&self, directives: &str) -> Result<String, Error>;

    /// The dead letters that are meant, the oldest first.
    fn dead_letters(&self, filter: &Filter) -> Vec<Arc<Letter>>;

    /// Sends dead letters again, the oldest first, each as a new message of its sender: as it may send today, and without
    /// an answer. One that is accepted is a letter no longer.
    fn replay(&self, filter: &Filter) -> ReplayReport;

    /// Throws dead letters away, and answers how many.
    fn purge(&self, filter: &Filter) -> u64;

    /// Begins an orderly stop.
    fn stop(&self);
}

/// A host that stays for the rest of the process is its own handle.
impl<O: Operator> Operator for &'static O {
    fn status(&self) -> Status {
        (**self).status()
    }

    fn readings(&self) -> Readings {
        (**self).readings()
    }

    fn live(&self) -> Result<(), String> {
        (**self).live()
    }

    fn ready(&self) -> Result<(), String> {
        (**self).ready()
    }

    fn send(&self, path: &str, body: &[u8]) -> Result<(), Error> {
        (**self).send(path, body)
    }

    fn ask(&self, path: &str, body: &[u8], within: Option<Duration>, done: Done) {
        (**self).ask(path, body, within, done);
    }

    fn reload(&self, name: &str, done: ReloadDone) {
        (**self).reload(name, done);
    }

    fn routes(&self, name: &str) -> Result<Vec<RouteCounts>, Error> {
        (**self).routes(name)
    }

    fn why(&self, path: &str, sender: &str) -> Result<Why, Error> {
        (**self).why(path, sender)
    }

    fn log(&self) -> String {
        (**self).log()
    }

    fn set_log(&self, directives: &str) -> Result<String, Error> {
        (**self).set_log(directives)
    }

    fn dead_letters(&self, filter: &Filter) -> Vec<Arc<Letter>> {
        (**self).dead_letters(filter)
    }

    fn replay(&self, filter: &Filter) -> ReplayReport {
        (**self).replay(filter)
    }

    fn purge(&self, filter: &Filter) -> u64 {
        (**self).purge(filter)
    }

    fn stop(&self) {
        (**self).stop();
    }
}
