//! The terminal: raw and on its alternate screen while it is drawn on, and as it was whatever ends that.

use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use std::{
    io::{self, Stdout},
    panic, process,
};

/// What a process that panicked exits with.
const PANICKED: i32 = 101;

/// Dropping it gives the terminal back.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub fn open() -> io::Result<Screen> {
        restore_on_panic();
        enable_raw_mode()?;
        let opened = execute!(io::stdout(), EnterAlternateScreen, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        // A screen that is half open is closed, too.
        opened.map(|terminal| Screen { terminal }).inspect_err(|_| restore())
    }

    pub fn size(&self) -> (u16, u16) {
        self.terminal.size().map_or((80, 24), |size| (size.width, size.height))
    }

    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Whatever of it fails, the terminal is gone.
fn restore() {
    let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

/// A panic of any thread ends the process: a screen that nobody updates would be believed.
fn restore_on_panic() {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        restore();
        told(panic);
        process::exit(PANICKED);
    }));
}
