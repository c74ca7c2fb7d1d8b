//! What keys do, page by page; the innermost page that is open has them.

use super::{
    columns::{self, Column},
    state::{Action, Prompt, Reading, State},
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where to go in a list.
#[derive(Copy, Clone)]
enum Move {
    By(isize),
    Pages(isize),
    First,
    Last,
}

impl State {
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c')).then_some(Action::Quit);
        }
        self.note = None;
        match (&self.prompt, &self.reading, &self.letters) {
            (Prompt::Restart(name), ..) => {
                let name = name.clone();
                self.prompt = Prompt::None;
                matches!(key.code, KeyCode::Char('y' | 'Y')).then(|| self.restart(name))
            }
            (Prompt::Filter, ..) => {
                self.filter_key(key.code);
                None
            }
            _ => self.page_key(key.code),
        }
    }

    fn filter_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(character) => self.filter.push(character),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Esc => {
                self.filter.clear();
                self.prompt = Prompt::None;
            }
            KeyCode::Enter => self.prompt = Prompt::None,
            _ => {}
        }
    }

    fn page_key(&mut self, key: KeyCode) -> Option<Action> {
        match key {
            KeyCode::Char(' ') => self.pause(),
            KeyCode::Char('?') if self.reading != Some(Reading::Help) => self.read(Reading::Help),
            key if self.reading.is_some() => return self.reading_key(key),
            key if self.letters.is_some() => return self.letters_key(key),
            key => return self.table_key(key),
        }
        None
    }

    fn pause(&mut self) {
        self.paused = match self.paused.take() {
            Some(_) => None,
            None => Some(Box::new(self.live.clone())),
        };
    }

    fn table_key(&mut self, key: KeyCode) -> Option<Action> {
        if let Some(to) = motion(key) {
            self.select(to);
            return None;
        }
        match key {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.prompt = Prompt::Filter,
            KeyCode::Char('s' | '>') => self.sort(1),
            KeyCode::Char('<') => self.sort(-1),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            _ => return self.act(key),
        }
        None
    }

    /// Keys that are about the selected subsystem.
    fn act(&mut self, key: KeyCode) -> Option<Action> {
        let name = self.current()?;
        match key {
            KeyCode::Char('R') => return Some(self.reload(name)),
            KeyCode::Char('d') => return Some(self.open_letters(name)),
            KeyCode::Char('X') => self.prompt = Prompt::Restart(name),
            KeyCode::Enter => self.read(Reading::Subsystem(name)),
            _ => {}
        }
        None
    }

    fn reload(&mut self, name: String) -> Action {
        self.begin(format!("{name} is being reloaded"));
        Action::Reload(name)
    }

    fn restart(&mut self, name: String) -> Action {
        self.begin(format!("{name} is being restarted"));
        Action::Restart(name)
    }

    /// Sorts by a column beside, of those that fit.
    fn sort(&mut self, by: isize) {
        let shown = columns::fitting(self.size.0.into(), 0);
        let shown: Vec<Column> = shown.into_iter().map(|(column, _)| column).collect();
        let at = shown.iter().position(|column| *column == self.sorted_by).unwrap_or(0);
        let next = at.wrapping_add_signed(by).wrapping_add(shown.len()) % shown.len();
        (self.sorted_by, self.is_reversed) = (shown[next], false);
    }

    fn select(&mut self, to: Move) {
        let rows = self.rows();
        let at = to.from(self.selected_in(&rows), rows.len(), self.page());
        self.selected = rows.get(at).map(|row| row.name.to_owned());
    }

    fn letters_key(&mut self, key: KeyCode) -> Option<Action> {
        let lines = self.page();
        let page = self.letters.as_mut()?;
        if let Some(to) = motion(key) {
            let at = to.from(page.place(), page.listed().len(), lines);
            page.selected = page.listed().get(at).map(|letter| letter.id);
            return None;
        }
        match key {
            KeyCode::Esc | KeyCode::Char('q' | 'd') => self.letters = None,
            KeyCode::Enter => return page.selected.map(Action::Open),
            KeyCode::Char('p') => return page.selected.map(Action::Replay),
            _ => {}
        }
        None
    }

    fn reading_key(&mut self, key: KeyCode) -> Option<Action> {
        if let Some(to) = motion(key) {
            let last = self.lines().len().saturating_sub(self.page());
            self.read_from = to.from(self.read_from, last + 1, self.page());
            return None;
        }
        match (key, &self.reading) {
            (KeyCode::Char('p'), Some(Reading::Letter(letter))) => {
                return Some(Action::Replay(letter.id));
            }
            (KeyCode::Char('d'), Some(Reading::Subsystem(name))) => {
                let name = name.clone();
                self.reading = None;
                return Some(self.open_letters(name));
            }
            (KeyCode::Char('R'), Some(Reading::Subsystem(name))) => {
                return Some(self.reload(name.clone()));
            }
            (KeyCode::Char('?' | 'q') | KeyCode::Esc | KeyCode::Enter, _) => self.reading = None,
            _ => {}
        }
        None
    }

    /// Lines of a page, but for the head, its title and the last line.
    pub(super) fn page(&self) -> usize {
        usize::from(self.size.1).saturating_sub(4).max(1)
    }
}

fn motion(key: KeyCode) -> Option<Move> {
    Some(match key {
        KeyCode::Up | KeyCode::Char('k') => Move::By(-1),
        KeyCode::Down | KeyCode::Char('j') => Move::By(1),
        KeyCode::PageUp => Move::Pages(-1),
        KeyCode::PageDown => Move::Pages(1),
        KeyCode::Home | KeyCode::Char('g') => Move::First,
        KeyCode::End | KeyCode::Char('G') => Move::Last,
        _ => return None,
    })
}

impl Move {
    /// The place to go to, of so many.
    fn from(self, at: usize, places: usize, page: usize) -> usize {
        let last = places.saturating_sub(1);
        let page = isize::try_from(page).unwrap_or(1);
        let to = match self {
            Move::By(places) => at.saturating_add_signed(places),
            Move::Pages(pages) => at.saturating_add_signed(pages * page),
            Move::First => 0,
            Move::Last => last,
        };
        to.min(last)
    }
}
