//! `top`: a running host on a screen of its own, a look a second, with keys that act on it.
//!
//! One thread draws and decides; others read the stream, the keys and the signals, and do what takes time. They send events,
//! of which [`State`] makes actions.

mod columns;
mod keys;
mod pages;
mod screen;
mod state;
mod text;
mod view;
mod work;

#[cfg(test)]
mod tests;

use super::{exit::Failure, reach::Reach};
use crate::letters::now_ms;
use anstream::{AutoStream, ColorChoice};
use clap::Args;
use screen::Screen;
use state::{Action, Event, State};
use std::{
    io::{self, IsTerminal},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};
use view::Theme;
use work::Workers;

/// How long the screen may stand still: what it says of time goes on.
const PACE: Duration = Duration::from_millis(500);

const NO_TERMINAL: &str = "top draws on a terminal, and stdout is none; \
                           `mycelia status --json` tells programs how a host is";

/// `mycelia top`.
#[derive(Args, Debug)]
pub(super) struct Top {
    #[command(flatten)]
    reach: Reach,
}

impl Top {
    pub fn execute(&self) -> Result<(), Failure> {
        if !io::stdout().is_terminal() {
            return Err(Failure::usage(NO_TERMINAL));
        }
        // A host that is not there is told before there is a screen.
        let looks = self.reach.client()?.looks()?;
        let (events, inbox) = channel();
        let workers = Workers::new(self.reach.clone(), events);
        workers.watch_signals().map_err(|error| unusable(&error))?;
        let mut screen = Screen::open().map_err(|error| unusable(&error))?;
        workers.read_keys();
        workers.read_looks(looks);
        let state = State::new(self.reach.control.to_string(), screen.size(), now_ms());
        watch(&mut screen, &workers, &inbox, state).map_err(|error| unusable(&error))
    }
}

fn unusable(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot use this terminal: {error}"))
}

/// Draws, and does what events lead to, until the user leaves.
fn watch(
    screen: &mut Screen,
    workers: &Workers,
    inbox: &Receiver<(u64, Event)>,
    mut state: State,
) -> io::Result<()> {
    let is_colored = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    let theme = Theme { is_colored };
    loop {
        screen.draw(|frame| view::draw(frame, &state, theme, now_ms()))?;
        let first = inbox.recv_timeout(PACE).ok();
        // What came meanwhile is drawn at once, and time passes however much there is.
        let events = first.into_iter().chain(inbox.try_iter());
        let events = events.filter(|(connection, _)| workers.is_current(*connection));
        let events: Vec<Event> = events.map(|(_, event)| event).chain([Event::Tick]).collect();
        for event in events {
            match state.take(event, now_ms()) {
                Some(Action::Quit) => return Ok(()),
                Some(action) => workers.begin(action),
                None => {}
            }
        }
    }
}
