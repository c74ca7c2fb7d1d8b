//! What `mycelia top` knows, and what becomes of it with each event.
//!
//! It neither draws nor waits nor asks: events come in as values, each with the time, and what is to be done goes out as one.

use super::{
    columns::{Column, Row},
    text,
};
use crate::{
    cli::status::show_seconds,
    figures::{Figures, Flow},
    letters::ToldLetter,
};
use ratatui::crossterm::event::KeyEvent;
use std::collections::VecDeque;

/// Silence after which a connection counts as lost, in milliseconds: a host looks once a second.
const SILENCE: u64 = 10_000;
/// Between two tries to reach a host that is gone, in milliseconds.
const AGAIN: u64 = 1000;
/// How long an outcome stays in the last lines, in milliseconds, unless a key is pressed.
const NOTED: u64 = 12_000;
/// Moments that are kept for the curves: ten minutes, as the host keeps.
const MOMENTS: usize = 600;
/// Happenings that are kept.
const HAPPENINGS: usize = 100;

/// What comes in.
pub(super) enum Event {
    /// How the host is.
    Look(Box<Figures>),
    /// How it was before anybody asked.
    Past(Box<Figures>),
    /// It cannot be reached, and why.
    Lost(String),
    /// What an action came to.
    Outcome(Outcome),
    Key(KeyEvent),
    /// The terminal has so many columns and rows.
    Resized(u16, u16),
    /// Time passes.
    Tick,
    Quit,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Reach the host again.
    Connect,
    Reload(String),
    Restart(String),
    /// List the newest dead letters of a subsystem.
    List(String),
    /// Get a dead letter with its body.
    Open(u64),
    /// Send a dead letter again.
    Replay(u64),
}

/// What an action came to; an error is a text for the user.
pub(super) enum Outcome {
    Reloaded(Result<String, String>),
    Restarted(Result<String, String>),
    Listed(String, Result<Vec<ToldLetter>, String>),
    Opened(Result<Box<ToldLetter>, String>),
    Replayed(u64, Result<(), String>),
}

pub(super) struct State {
    /// Of the host.
    pub address: String,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// What the host tells.
    pub live: Seen,
    /// What is shown instead, as of when it was paused.
    pub paused: Option<Box<Seen>>,
    pub link: Link,
    pub sorted_by: Column,
    pub is_reversed: bool,
    /// Part of the names that are shown.
    pub filter: String,
    /// The name of the subsystem that is selected.
    pub selected: Option<String>,
    pub prompt: Prompt,
    /// Over the table.
    pub letters: Option<LettersPage>,
    /// Over the letters.
    pub reading: Option<Reading>,
    /// The first line of it that is shown.
    pub read_from: usize,
    pub note: Option<Note>,
}

/// What a host has told so far.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub figures: Figures,
    pub moments: VecDeque<Moment>,
    /// The newest first.
    pub happenings: VecDeque<Happening>,
    /// When the newest look was.
    told_ms: u64,
}

/// A point of the curves.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub(super) struct Moment {
    pub time_ms: u64,
    pub handled: f64,
    /// p99, in nanoseconds.
    pub wait: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happening {
    pub time_ms: u64,
    /// None is the host.
    pub subsystem: Option<String>,
    pub what: String,
}

/// The connection to the host.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Since when there is none, and why.
    pub lost: Option<(u64, String)>,
    /// When something was heard, or tried.
    pub heard_ms: u64,
    /// Whether something may still be heard, rather than be tried again.
    pub is_open: bool,
}

/// What keys mean at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Prompt {
    #[default]
    None,
    /// The part of the names is typed.
    Filter,
    /// Whether to restart this subsystem.
    Restart(String),
}

/// The dead letters of a subsystem.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LettersPage {
    pub subsystem: String,
    /// The newest first; none while they are on their way.
    pub letters: Option<Result<Vec<ToldLetter>, String>>,
    pub selected: Option<u64>,
    /// What the host counted when they were asked for.
    counted: (u64, u64),
}

/// A text to be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    Help,
    Subsystem(String),
    Letter(Box<ToldLetter>),
}

/// An outcome, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub text: String,
    pub is_bad: bool,
    until_ms: u64,
}

impl State {
    pub fn new(address: String, size: (u16, u16), now_ms: u64) -> Self {
        Self {
            address,
            size,
            live: Seen::default(),
            paused: None,
            link: Link { heard_ms: now_ms, is_open: true, lost: None },
            sorted_by: Column::Name,
            is_reversed: false,
            filter: String::new(),
            selected: None,
            prompt: Prompt::None,
            letters: None,
            reading: None,
            read_from: 0,
            note: None,
        }
    }

    /// What becomes of it; at most one thing is to be done.
    pub fn take(&mut self, event: Event, now_ms: u64) -> Option<Action> {
        match event {
            Event::Look(figures) => self.look(*figures, now_ms),
            Event::Past(figures) => {
                self.live.past(&figures);
                None
            }
            Event::Lost(why) => {
                self.link.lost.get_or_insert((now_ms, why));
                (self.link.is_open, self.link.heard_ms) = (false, now_ms);
                None
            }
            Event::Outcome(outcome) => self.outcome(outcome, now_ms),
            Event::Key(key) => self.key(key),
            Event::Resized(columns, rows) => {
                self.size = (columns, rows);
                None
            }
            Event::Tick => self.tick(now_ms),
            Event::Quit => Some(Action::Quit),
        }
    }

    /// What is shown.
    pub fn seen(&self) -> &Seen {
        self.paused.as_deref().unwrap_or(&self.live)
    }

    fn look(&mut self, figures: Figures, now_ms: u64) -> Option<Action> {
        self.link.heard_ms = now_ms;
        if let Some((since, _)) = self.link.lost.take() {
            let gone = show_seconds(now_ms.saturating_sub(since) as f64 / 1000.0);
            let what = format!("answers again after {gone}");
            self.live.happen(figures.time_ms, None, what);
        }
        self.live.look(figures);
        if self.selected.is_none() {
            self.selected = self.rows().first().map(|row| row.name.to_owned());
        }
        let counted = self.letters.as_ref().map(|page| self.counted(&page.subsystem));
        let page = self.letters.as_mut().filter(|page| Some(page.counted) != counted)?;
        page.counted = counted.unwrap_or_default();
        Some(Action::List(page.subsystem.clone()))
    }

    fn tick(&mut self, now_ms: u64) -> Option<Action> {
        if self.note.as_ref().is_some_and(|note| note.until_ms <= now_ms) {
            self.note = None;
        }
        let silent = now_ms.saturating_sub(self.link.heard_ms);
        if silent < if self.link.is_open { SILENCE } else { AGAIN } {
            return None;
        }
        let since = self.link.heard_ms;
        self.link.lost.get_or_insert_with(|| (since, "it says nothing".into()));
        (self.link.is_open, self.link.heard_ms) = (true, now_ms);
        Some(Action::Connect)
    }

    fn outcome(&mut self, outcome: Outcome, now_ms: u64) -> Option<Action> {
        match outcome {
            Outcome::Reloaded(told) | Outcome::Restarted(told) => self.note(told, now_ms),
            Outcome::Listed(subsystem, letters) => {
                if let Some(page) = self.letters.as_mut().filter(|page| page.subsystem == subsystem)
                {
                    page.list(letters);
                }
            }
            Outcome::Opened(Ok(letter)) => self.read(Reading::Letter(letter)),
            Outcome::Opened(Err(text)) => self.note(Err(text), now_ms),
            Outcome::Replayed(id, sent) => return self.replayed(id, sent, now_ms),
        }
        None
    }

    fn replayed(&mut self, id: u64, sent: Result<(), String>, now_ms: u64) -> Option<Action> {
        let text = match sent {
            Ok(()) => Ok(format!("dead letter {id} is sent again, and no longer kept")),
            Err(text) => Err(format!("dead letter {id} is kept: {text}")),
        };
        if text.is_ok() && matches!(&self.reading, Some(Reading::Letter(letter)) if letter.id == id)
        {
            self.reading = None;
        }
        self.note(text, now_ms);
        self.letters.as_ref().map(|page| Action::List(page.subsystem.clone()))
    }

    /// Tells the user.
    pub fn note(&mut self, told: Result<String, String>, now_ms: u64) {
        let is_bad = told.is_err();
        let (Ok(text) | Err(text)) = told;
        self.note = Some(Note { text, is_bad, until_ms: now_ms + NOTED });
    }

    /// Tells the user what goes on, until there is an outcome.
    pub fn begin(&mut self, text: String) {
        self.note = Some(Note { text, is_bad: false, until_ms: u64::MAX });
    }

    pub fn read(&mut self, reading: Reading) {
        (self.reading, self.read_from) = (Some(reading), 0);
    }

    /// Opens the dead letters of a subsystem.
    pub fn open_letters(&mut self, subsystem: String) -> Action {
        let counted = self.counted(&subsystem);
        let action = Action::List(subsystem.clone());
        self.letters = Some(LettersPage { subsystem, counted, ..LettersPage::default() });
        action
    }

    /// The letters of a subsystem, and all that were let go: as long as they stay, so does the list.
    fn counted(&self, subsystem: &str) -> (u64, u64) {
        let letters = &self.live.figures.status.dead_letters;
        (self.live.letters_of(subsystem), letters.let_go)
    }

    /// The subsystems that are shown, in their order.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> =
            self.seen().rows().filter(|row| row.name.contains(&self.filter)).collect();
        rows.sort_by(|one, other| {
            let order = self.sorted_by.order(one, other);
            let order = if self.is_reversed { order.reverse() } else { order };
            order.then_with(|| one.name.cmp(other.name))
        });
        rows
    }

    /// Which of these rows is selected: the first where the one that was is gone.
    pub fn selected_in(&self, rows: &[Row<'_>]) -> usize {
        let place = rows.iter().position(|row| Some(row.name) == self.selected.as_deref());
        place.unwrap_or(0)
    }

    /// The name of the subsystem that keys are about.
    pub fn current(&self) -> Option<String> {
        let rows = self.rows();
        rows.get(self.selected_in(&rows)).map(|row| row.name.to_owned())
    }

    /// What is read, in lines of the terminal's width.
    pub fn lines(&self) -> Vec<String> {
        let columns = usize::from(self.size.0).saturating_sub(2);
        let text = self.reading.as_ref().map(|reading| self.text(reading)).unwrap_or_default();
        text::wrapped(&text, columns)
    }
}

impl Seen {
    fn past(&mut self, figures: &Figures) {
        // After a break the host tells what is known already.
        if self.told_ms < figures.time_ms {
            self.record(figures);
        }
    }

    fn look(&mut self, figures: Figures) {
        self.record(&figures);
        self.figures = figures;
    }

    fn record(&mut self, figures: &Figures) {
        let Figures { time_ms, total, events, .. } = figures;
        self.told_ms = *time_ms;
        for event in events {
            self.happen(*time_ms, Some(event.subsystem.clone()), event.what.clone());
        }
        // A first look has no rates.
        if figures.interval_s == 0.0 {
            return;
        }
        let wait = total.wait.map_or(0, |wait| wait.p99);
        self.moments.push_back(Moment { time_ms: *time_ms, handled: total.handled, wait });
        if self.moments.len() > MOMENTS {
            self.moments.pop_front();
        }
    }

    fn happen(&mut self, time_ms: u64, subsystem: Option<String>, what: String) {
        self.happenings.push_front(Happening { time_ms, subsystem, what });
        self.happenings.truncate(HAPPENINGS);
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let flows = &self.figures.subsystems;
        self.figures.status.subsystems.iter().map(move |(name, one)| {
            let flow: Flow = flows.get(name).copied().unwrap_or_default();
            Row { name, one, flow, letters: self.letters_of(name) }
        })
    }

    pub fn letters_of(&self, subsystem: &str) -> u64 {
        let letters = &self.figures.status.dead_letters.subsystems;
        letters.get(subsystem).map_or(0, |reasons| reasons.values().sum())
    }
}

impl LettersPage {
    fn list(&mut self, letters: Result<Vec<ToldLetter>, String>) {
        let letters = letters.map(|mut letters| {
            letters.sort_by_key(|letter| std::cmp::Reverse(letter.id));
            letters
        });
        // Where the one that is selected goes, the one in its place is next.
        let place = self.place();
        self.letters = Some(letters);
        let listed = self.listed();
        if !listed.iter().any(|letter| Some(letter.id) == self.selected) {
            let next = listed.get(place).or(listed.last());
            self.selected = next.map(|letter| letter.id);
        }
    }

    pub fn listed(&self) -> &[ToldLetter] {
        match &self.letters {
            Some(Ok(letters)) => letters,
            _ => &[],
        }
    }

    /// Which of them is selected.
    pub fn place(&self) -> usize {
        let listed = self.listed().iter();
        listed.clone().position(|letter| Some(letter.id) == self.selected).unwrap_or(0)
    }
}
