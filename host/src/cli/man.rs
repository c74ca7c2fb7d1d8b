//! `mycelia man`: the manual pages, made from the same texts as `--help`.

use super::{Cli, exit::Failure, output};
use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;
use std::{fs, io, path::PathBuf};

/// Print the manual page, or write one for each command into a folder.
///
/// `mycelia man | man -l -` shows it; `mycelia man /usr/local/share/man/man1` installs them all.
#[derive(Debug, Args)]
pub struct Man {
    /// Where to write a page for each command; it is made if it is not there.
    folder: Option<PathBuf>,
}

impl Man {
    pub(super) fn execute(&self) -> Result<(), Failure> {
        match &self.folder {
            None => output::data(&page(&Cli::command())),
            Some(folder) => self.write(folder.clone()).map_err(|error| {
                let text = format!(
                    "cannot write the pages into {}: {error}; name a folder that you may write",
                    folder.display()
                );
                Failure::failed(text)
            }),
        }
    }

    fn write(&self, folder: PathBuf) -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        pages().into_iter().try_for_each(|(name, page)| fs::write(folder.join(name), page))
    }
}

/// The file of each command's page, and the page.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut root = Cli::command();
    // Each knows its whole name from here on.
    root.build();
    let mut pages = Vec::new();
    let mut rest = vec![root];
    while let Some(command) = rest.pop() {
        let shown = command.get_subcommands().filter(|one| one.get_name() != "help");
        rest.extend(shown.cloned());
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        pages.push((format!("{name}.1"), page(&command)));
    }
    pages
}

fn page(command: &clap::Command) -> Vec<u8> {
    let mut page = Vec::new();
    Page::new(command.clone()).render(&mut page).expect("a Vec takes everything");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let pages = pages();
        let named = |name: &str| {
            let found = pages.iter().find(|(file, _)| file == name);
            let (_, page) = found.unwrap_or_else(|| panic!("no {name}"));
            String::from_utf8(page.clone()).unwrap()
        };
        for command in Cli::command().get_subcommands() {
            let page = named(&format!("mycelia-{}.1", command.get_name()));
            assert!(page.contains(".SH SYNOPSIS"), "{page}");
        }
        assert!(named("mycelia-dead-letters-replay.1").contains("\\-\\-all"));
        assert!(named("mycelia.1").contains("mycelia\\-load\\-test"));
    }

    #[test]
    fn pages_are_written_into_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("share/man1");
        Man { folder: Some(new.clone()) }.execute().unwrap();
        assert_eq!(fs::read_dir(&new).unwrap().count(), pages().len());
        let file = Man { folder: Some(new.join("mycelia.1")) };
        assert!(file.execute().is_err());
    }
}
