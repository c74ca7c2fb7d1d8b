//! Writing to the terminal, or to whatever stands in its place.

use super::exit::Failure;
use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::{AnsiColor, Style};
use std::io::{self, IsTerminal, Write};

/// Prints bytes as they are.
pub(super) fn data(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    finish(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// Prints bytes as they are; a terminal gets the line end that they may lack.
pub(super) fn data_line(bytes: &[u8]) -> Result<(), Failure> {
    data(bytes)?;
    let lacks_end = !bytes.is_empty() && !bytes.ends_with(b"\n");
    if lacks_end && io::stdout().is_terminal() { data(b"\n") } else { Ok(()) }
}

/// Prints a JSON text on a line of its own.
pub(super) fn json(bytes: &[u8]) -> Result<(), Failure> {
    data(&[bytes.trim_ascii_end(), b"\n"].concat())
}

/// Prints text, without its styles where they are not wanted.
pub(super) fn styled(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    finish(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Tells the user what went wrong.
pub(super) fn error(text: &str) {
    let red = Style::new().fg_color(Some(AnsiColor::Red.into())).bold();
    note(&format!("{red}error:{red:#} {}", visible(text)));
}

/// Tells the user something. Where stderr is closed, nobody wants to know.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Whether stderr takes colours.
pub(super) fn has_color() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// Text of others without what would steer the terminal.
pub(super) fn visible(text: &str) -> String {
    let steers = |character: char| character.is_control() && character != '\n';
    text.chars().map(|character| if steers(character) { '\u{fffd}' } else { character }).collect()
}

/// A reader that has seen enough, such as `head`, is no failure.
fn finish(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
