//! The database, and the one write transaction that a batch may have.
//!
//! After an I/O error redb refuses everything until it is opened again, so an error of the storage closes the database here,
//! fails the batch that it hit, and the next use opens it anew.

use mycelia_plugin::{Error, Result};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    WriteTransaction,
};
use std::{
    io,
    ops::Bound,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

/// The most bytes of a key, decoded.
pub const MAX_KEY: usize = 1024;
/// The most bytes of a value.
pub const MAX_VALUE: usize = 16 << 20;
/// The most keys that one reply lists.
pub const KEYS_PER_REPLY: usize = 1000;

/// What redb may keep of the file in memory; its own default is a gigabyte.
const CACHE: usize = 64 << 20;

const VALUES: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("values");

/// An open database. Holding one proves that the file was good when it was opened, and that nobody else has it.
pub struct Store {
    file: PathBuf,
    /// `None` after an error of the storage, until the next use.
    database: Option<Database>,
    batch: Batch,
}

/// What the running batch has written.
#[derive(Default)]
enum Batch {
    #[default]
    Nothing,
    Writes(Box<WriteTransaction>),
    /// Its writes are lost, for this reason.
    Lost(Error),
}

impl Store {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// `failed`, with what to do about it.
    pub fn open(file: PathBuf) -> Result<Self> {
        let database = open(&file)?;
        Ok(Store { file, database: Some(database), batch: Batch::Nothing })
    }

    /// Gives the file back.
    ///
    /// # Errors
    /// `failed` if it cannot be left in good order.
    pub fn close(mut self) -> Result<()> {
        self.batch = Batch::Nothing;
        match self.database.take() {
            Some(database) => database.close().map_err(|error| broken(&self.file, &error)),
            None => Ok(()),
        }
    }

    /// The value of a key, as the batch sees it so far.
    ///
    /// # Errors
    /// `invalid` for a bad key, `failed` for the storage.
    pub fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        self.attempt(|database, batch| match batch {
            Batch::Writes(transaction) => value(&transaction.open_table(VALUES)?, key),
            _ => value(&database.begin_read()?.open_table(VALUES)?, key),
        })
    }

    /// Stores a value.
    ///
    /// # Errors
    /// `invalid` for a bad key or value, `failed` for the storage.
    pub fn put(&mut self, key: &str, value: &[u8]) -> Result<()> {
        check_key(key)?;
        check_value(value)?;
        self.attempt(|database, batch| {
            writes(database, batch)?.open_table(VALUES)?.insert(key, value)?;
            Ok(())
        })
    }

    /// Removes a value; whether there was one.
    ///
    /// # Errors
    /// `invalid` for a bad key, `failed` for the storage.
    pub fn delete(&mut self, key: &str) -> Result<bool> {
        check_key(key)?;
        self.attempt(|database, batch| {
            Ok(writes(database, batch)?.open_table(VALUES)?.remove(key)?.is_some())
        })
    }

    /// The first keys in order, or the first after this one.
    ///
    /// # Errors
    /// `failed` for the storage.
    pub fn keys(&mut self, after: Option<&str>) -> Result<Vec<String>> {
        self.attempt(|database, batch| match batch {
            Batch::Writes(transaction) => keys(&transaction.open_table(VALUES)?, after),
            _ => keys(&database.begin_read()?.open_table(VALUES)?, after),
        })
    }

    /// Makes what the batch wrote durable.
    ///
    /// # Errors
    /// `failed`: nothing of the batch is stored.
    pub fn commit(&mut self) -> Result<()> {
        match std::mem::take(&mut self.batch) {
            Batch::Nothing => Ok(()),
            Batch::Writes(transaction) => {
                transaction.commit().map_err(|error| self.lost(&error.into()))
            }
            Batch::Lost(error) => Err(error),
        }
    }

    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&Database, &mut Batch) -> Result<T, redb::Error>,
    ) -> Result<T> {
        if let Batch::Lost(error) = &self.batch {
            return Err(error.clone());
        }
        let database = match &mut self.database {
            Some(database) => database,
            closed => closed.insert(open(&self.file)?),
        };
        work(database, &mut self.batch).map_err(|error| self.lost(&error))
    }

    /// Closes the database after an error of the storage, and with it whatever the batch wrote.
    fn lost(&mut self, error: &redb::Error) -> Error {
        let error = broken(&self.file, error);
        if let Batch::Writes(_) = &self.batch {
            self.batch = Batch::Lost(error.clone());
        }
        self.database = None;
        error
    }
}

/// The batch's transaction, begun by its first write.
fn writes<'b>(
    database: &Database,
    batch: &'b mut Batch,
) -> Result<&'b WriteTransaction, redb::Error> {
    if let Batch::Nothing = batch {
        *batch = Batch::Writes(Box::new(database.begin_write()?));
    }
    match batch {
        Batch::Writes(transaction) => Ok(transaction),
        _ => unreachable!("a lost batch is refused before it writes"),
    }
}

fn value(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<Vec<u8>>, redb::Error> {
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

fn keys(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    after: Option<&str>,
) -> Result<Vec<String>, redb::Error> {
    let first = after.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = table.range::<&str>((first, Bound::Unbounded))?.take(KEYS_PER_REPLY);
    rows.map(|row| Ok(row?.0.value().to_owned())).collect()
}

fn check_key(key: &str) -> Result<()> {
    match key.len() {
        0..=MAX_KEY => Ok(()),
        length => Err(Error::invalid(format!(
            "the key has {length} bytes, but at most {MAX_KEY} are stored"
        ))),
    }
}

fn check_value(value: &[u8]) -> Result<()> {
    match value.len() {
        0..=MAX_VALUE => Ok(()),
        length => Err(Error::invalid(format!(
            "the value has {length} bytes, but at most {MAX_VALUE} are stored"
        ))),
    }
}

fn open(file: &Path) -> Result<Database> {
    // On some damaged files redb panics instead of answering.
    match catch_unwind(|| try_open(file)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(cannot_open(file, &error)),
        Err(_) => Err(damaged(file, "redb cannot make sense of it")),
    }
}

fn try_open(file: &Path) -> Result<Database, DatabaseError> {
    let database = Database::builder().set_cache_size(CACHE).create(file)?;
    make_table(&database).map_err(|error| match error {
        redb::Error::Io(error) => StorageError::Io(error),
        error => StorageError::Corrupted(error.to_string()),
    })?;
    Ok(database)
}

/// Makes the table, so that reading it cannot fail for want of one; and fails early where nothing can be written.
fn make_table(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(VALUES)?;
    Ok(transaction.commit()?)
}

fn cannot_open(file: &Path, error: &DatabaseError) -> Error {
    let file_name = file.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::failed(format!(
                "{file_name} is in use by another process or subsystem; end that one, or give this subsystem a `file` of its own"
            ))
        }
        DatabaseError::UpgradeRequired(version) => Error::failed(format!(
            "{file_name} has the old redb format {version}; upgrade it with a tool of that version, or move it away"
        )),
        DatabaseError::Storage(StorageError::Corrupted(text)) => damaged(file, text),
        DatabaseError::Storage(StorageError::Io(error)) if is_about_content(error) => {
            damaged(file, &error.to_string())
        }
        error => Error::failed(format!(
            "cannot open {file_name}: {error}; the folder must exist and the host must be allowed to write there"
        )),
    }
}

fn is_about_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn damaged(file: &Path, text: &str) -> Error {
    let file = file.display();
    Error::failed(format!(
        "{file} is damaged or no redb file: {text}; put a good copy in its place, or move it away to begin with an empty one"
    ))
}

fn broken(file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("the database {} does not work: {error}", file.display()))
}

#[cfg(test)]
mod tests;
