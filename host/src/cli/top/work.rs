//! The threads beside the screen: one each for the stream, the keys and the signals, and one for every action that waits for
//! the host.
//!
//! Each event carries the number of the connection that it came from, so that a stream that was given up is not heard again
//! and ends with its next look; 0 is of none.

use super::{
    state::{Action, Event, Outcome},
    view::LISTED,
};
use crate::{
    cli::{exit::Failure, reach::Reach, restart},
    control::{Client, ClientError},
    figures::Figures,
    letters::{Filter, ReplayReport, ToldLetter},
    report::ReloadReport,
    status::Ordered,
};
use ratatui::crossterm::event::{self, KeyEventKind};
use serde::{Deserialize, de::DeserializeOwned};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::Sender,
    },
    thread,
};

pub(super) struct Workers {
    reach: Reach,
    events: Sender<(u64, Event)>,
    newest: Arc<AtomicU64>,
}

impl Workers {
    pub fn new(reach: Reach, events: Sender<(u64, Event)>) -> Workers {
        Workers { reach, events, newest: Arc::default() }
    }

    /// Whether an event is of the newest connection, or of none.
    pub fn is_current(&self, connection: u64) -> bool {
        connection == 0 || connection == self.newest.load(Relaxed)
    }

    pub fn watch_signals(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let events = self.events.clone();
        thread::spawn(move || signals.forever().try_for_each(|_| events.send((0, Event::Quit))));
        Ok(())
    }

    pub fn read_keys(&self) {
        let events = self.events.clone();
        thread::spawn(move || {
            loop {
                let event = match event::read() {
                    Ok(event::Event::Key(key)) if key.kind == KeyEventKind::Release => continue,
                    Ok(event::Event::Key(key)) => Event::Key(key),
                    Ok(event::Event::Resize(columns, rows)) => Event::Resized(columns, rows),
                    Ok(_) => continue,
                    // The terminal is gone.
                    Err(_) => Event::Quit,
                };
                let is_last = matches!(event, Event::Quit);
                if events.send((0, event)).is_err() || is_last {
                    return;
                }
            }
        });
    }

    /// Reads the stream of a new connection.
    pub fn read_looks(
        &self,
        looks: impl Iterator<Item = Result<(bool, Figures), ClientError>> + Send + 'static,
    ) {
        let (tell, reach) = (self.new_connection(), self.reach.clone());
        thread::spawn(move || read(looks, &reach, tell));
    }

    /// By which a new connection tells of itself, as long as none newer does and somebody listens; whether so.
    fn new_connection(&self) -> impl Fn(Event) -> bool + Send + use<> {
        let connection = self.newest.fetch_add(1, Relaxed) + 1;
        let (events, newest) = (self.events.clone(), Arc::clone(&self.newest));
        move |event| newest.load(Relaxed) == connection && events.send((connection, event)).is_ok()
    }

    fn connect(&self) {
        let (tell, reach) = (self.new_connection(), self.reach.clone());
        thread::spawn(move || {
            // A host that was restarted has another token.
            let looks = reach.client().and_then(|client| Ok(client.looks()?));
            match looks {
                Ok(looks) => read(looks, &reach, tell),
                Err(failure) => drop(tell(Event::Lost(failure.text))),
            }
        });
    }

    /// Does it on another thread.
    pub fn begin(&self, action: Action) {
        if action == Action::Connect {
            return self.connect();
        }
        let (events, reach) = (self.events.clone(), self.reach.clone());
        thread::spawn(move || {
            if let Some(outcome) = outcome(&reach, action) {
                // Whoever has left wants no outcome.
                let _ = events.send((0, Event::Outcome(outcome)));
            }
        });
    }
}

/// Tells of each look until the stream ends, and of that.
fn read(
    looks: impl Iterator<Item = Result<(bool, Figures), ClientError>>,
    reach: &Reach,
    tell: impl Fn(Event) -> bool,
) {
    for look in looks {
        let event = match look {
            Ok((true, figures)) => Event::Past(figures.into()),
            Ok((false, figures)) => Event::Look(figures.into()),
            Err(error) => {
                tell(Event::Lost(text(error, reach)));
                return;
            }
        };
        if !tell(event) {
            return;
        }
    }
    tell(Event::Lost(format!("the host at {} stopped", reach.control)));
}

/// None where nothing can be told.
fn outcome(reach: &Reach, action: Action) -> Option<Outcome> {
    Some(match action {
        Action::Quit | Action::Connect => return None,
        Action::Reload(name) => Outcome::Reloaded(reload(reach, &name)),
        Action::Restart(name) => Outcome::Restarted(restart(reach, &name)),
        Action::List(name) => {
            let letters = list(reach, &name);
            Outcome::Listed(name, letters)
        }
        Action::Open(id) => {
            let letter = asked(reach, |client| client.dead_letter(id));
            Outcome::Opened(letter.map(Box::<ToldLetter>::new))
        }
        Action::Replay(id) => Outcome::Replayed(id, replay(reach, id)),
    })
}

fn reload(reach: &Reach, name: &str) -> Result<String, String> {
    let report: ReloadReport = asked(reach, |client| client.reload(name))?;
    Ok(format!("{}: {report}", report.subsystem))
}

fn restart(reach: &Reach, name: &str) -> Result<String, String> {
    let ordered: Ordered =
        asked(reach, |client| restart::ask(client, name, "restart").map(|reply| reply.body))?;
    let Ordered { subsystem, phase, generation } = ordered;
    Ok(format!("{subsystem}: restarted: {}, generation {generation}", phase.word()))
}

fn list(reach: &Reach, name: &str) -> Result<Vec<ToldLetter>, String> {
    #[derive(Deserialize)]
    struct Listed {
        letters: Vec<ToldLetter>,
    }
    let filter = Filter { subsystem: Some(name.to_owned()), ..Filter::default() };
    let listed: Listed = asked(reach, |client| client.newest_dead_letters(&filter, LISTED))?;
    Ok(listed.letters)
}

fn replay(reach: &Reach, id: u64) -> Result<(), String> {
    let filter = Filter { ids: vec![id], ..Filter::default() };
    let report: ReplayReport = asked(reach, |client| client.replay(&filter))?;
    match report.refused.first() {
        None => Ok(()),
        Some(refused) => Err(format!("{}: {}", refused.error, refused.text)),
    }
}

/// Asks the host with the token that it has now.
fn asked<T: DeserializeOwned>(
    reach: &Reach,
    ask: impl FnOnce(&Client) -> Result<Vec<u8>, ClientError>,
) -> Result<T, String> {
    let client = reach.client().map_err(|failure| failure.text)?;
    let json = ask(&client).map_err(|error| text(error, reach))?;
    serde_json::from_slice(&json)
        .map_err(|error| format!("{} answers something else: {error}", reach.control))
}

/// What the user reads of an error.
fn text(error: ClientError, reach: &Reach) -> String {
    match error {
        // What it says tells what serves on, which is more than whether it was handled.
        ClientError::Refused(error) => error.text,
        ClientError::Unauthorized(error) => reach.without_token(&error.text),
        error => Failure::from(error).text,
    }
}
