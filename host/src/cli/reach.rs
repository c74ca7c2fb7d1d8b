//! Which host a command talks to, and with what token.

use super::exit::Failure;
use crate::control::{Address, Client, Folders, token};
use clap::Args;
use std::env::{self, VarError};
use std::io;
use std::path::PathBuf;

const TOKEN: &str = "MYCELIA_TOKEN";

/// The options of every command that talks to a running host.
#[derive(Args, Clone, Debug)]
pub(super) struct Reach {
    /// Address of the host.
    #[arg(long, value_name = "ADDRESS", env = "MYCELIA_CONTROL", hide_env_values = true)]
    #[arg(default_value = "127.0.0.1:7070")]
    pub control: Address,

    /// File with its token [default: where this user's hosts put it].
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
}

impl Reach {
    /// A client of that host.
    pub fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.control.clone(), self.secret()?))
    }

    /// What a command that goes on says where the token is missing or wrong: where it was looked for, and what to give.
    #[cfg(feature = "top")]
    pub fn without_token(&self, text: &str) -> String {
        let files = Folders::of_user().files(self.control.port()).into_iter();
        let places: Vec<String> = match (&self.token, env::var_os(TOKEN)) {
            (Some(file), _) => vec![file.display().to_string()],
            (None, Some(_)) => vec![TOKEN.into()],
            (None, None) if self.control.is_loopback() => {
                files.map(|file| file.display().to_string()).collect()
            }
            (None, None) => Vec::new(),
        };
        let places = if places.is_empty() { "nowhere".into() } else { places.join(" and ") };
        format!("{text}; the token was looked for in {places}: give --token FILE, or {TOKEN}")
    }

    /// What was given, or else what lies in this user's folder for a host of this machine.
    fn secret(&self) -> Result<Option<String>, Failure> {
        if let Some(file) = &self.token {
            let name = file.display().to_string();
            return token::read_named(file).map(Some).map_err(|error| unusable(&name, &error));
        }
        match env::var(TOKEN) {
            Ok(text) => token::parse(&text).map(Some).map_err(|error| unusable(TOKEN, &error)),
            Err(VarError::NotUnicode(_)) => Err(Failure::usage(format!("{TOKEN} is not text"))),
            Err(VarError::NotPresent) => Ok(self.found()),
        }
    }

    /// Another machine must not be sent the token of this one's host at the same port.
    fn found(&self) -> Option<String> {
        let is_here = self.control.is_loopback();
        is_here.then(|| Folders::of_user().find(self.control.port())).flatten()
    }
}

fn unusable(place: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot take the token from {place}: {error}"))
}
