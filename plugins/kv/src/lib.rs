//! Values by key, kept in a [redb](https://www.redb.org) file.
//!
//! The writes of a batch are one transaction, committed before any of their replies leaves: a write that was answered is on
//! disk, and the price of that is paid once a batch.
//!
//! | route | scope | answer |
//! |---|---|---|
//! | `get/{key}` | `read` | the value, byte for byte; `not_found` if there is none |
//! | `put/{key}` | `write` | nothing; the body is stored as it was sent |
//! | `delete/{key}` | `write` | whether there was a value |
//! | `keys`, `keys/{after}` | `read` | the first [`KEYS_PER_REPLY`] keys, or those after that one, in order |
#![forbid(unsafe_code)]

mod store;

use mycelia_plugin::prelude::*;
use std::path::PathBuf;
use store::Store;
pub use store::{KEYS_PER_REPLY, MAX_KEY, MAX_VALUE};

/// The `config` of the RON file: `(file: "kv.redb")`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The database, in the subsystem's data folder if the path is relative; `kv.redb` by default.
    #[serde(default = "default_file")]
    pub file: PathBuf,
}

fn default_file() -> PathBuf {
    "kv.redb".into()
}

/// The subsystem. Its file is open from `start` to `stop`.
pub struct Kv {
    file: PathBuf,
    store: Option<Store>,
}

impl Subsystem for Kv {
    type Config = Settings;

    const ROUTES: &'static [Route<Self>] = &[
        on("get/{key}", Self::get).scope("read", "to read a value"),
        on("put/{key}", Self::put).scope("write", "to store a value"),
        on("delete/{key}", Self::delete).scope("write", "to remove a value"),
        on("keys", Self::keys).scope("read", "to list the keys"),
        on("keys/{after}", Self::keys_after).scope("read", "to list the keys"),
    ];

    const COMMITS: bool = true;

    fn create(settings: Settings) -> Result<Self> {
        if settings.file.file_name().is_none() {
            return Err(Error::invalid("`file` names no file; write one such as \"kv.redb\""));
        }
        Ok(Kv { file: settings.file, store: None })
    }

    fn start(&mut self, ctx: &mut Context) -> Result<()> {
        self.store = Some(Store::open(ctx.data()?.join(&self.file))?);
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.store()?.commit()
    }

    fn stop(&mut self, _: &mut Context) -> Result<()> {
        self.store.take().map_or(Ok(()), Store::close)
    }
}

impl Kv {
    fn get(&mut self, key: ParamText) -> Result<Raw<'static>> {
        let value = self.store()?.get(&key)?;
        value
            .map(Raw::from)
            .ok_or_else(|| Error::not_found(format!("there is no value under `{}`", &*key)))
    }

    fn put(&mut self, key: ParamText, value: Raw) -> Result<()> {
        self.store()?.put(&key, &value)
    }

    fn delete(&mut self, key: ParamText) -> Result<bool> {
        self.store()?.delete(&key)
    }

    fn keys(&mut self) -> Result<Vec<String>> {
        self.store()?.keys(None)
    }

    fn keys_after(&mut self, after: ParamText) -> Result<Vec<String>> {
        self.store()?.keys(Some(&after))
    }

    fn store(&mut self) -> Result<&mut Store> {
        self.store.as_mut().ok_or_else(|| Error::failed("the database is not open"))
    }
}

export_subsystem!(Kv);

#[cfg(test)]
mod tests {
    use super::*;

    fn created(config: &str) -> Result<PathBuf> {
        Kv::create(ron::from_str(config)?).map(|kv| kv.file)
    }

    #[test]
    fn the_config_is_a_file() {
        assert_eq!(created("()").unwrap(), PathBuf::from("kv.redb"));
        assert_eq!(created("(file: \"other.redb\")").unwrap(), PathBuf::from("other.redb"));
        for bad in ["(file: \"\")", "(file: \"..\")", "(fille: \"kv.redb\")", "(file: 7)"] {
            assert!(created(bad).is_err(), "{bad}");
        }
    }
}
