//! What is where on the disk, and what its errors mean to whoever reads them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableTable, TableDefinition};

use super::queue::{Batch, Op};
use crate::error::{Error, ErrorKind};
use crate::link::Position;

/// By link: its epoch, and the number of its next message.
const LINKS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("links");
/// By link and number: a message, in the bytes in which it goes over the wire.
const MESSAGES: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("messages");
/// By scope and peer: epoch and number of what was handled last.
const CURSORS: TableDefinition<'_, (&str, &str), (u64, u64)> = TableDefinition::new("cursors");
/// The version of all this.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("netwheel");
const VERSION: u64 = 1;

/// Pages kept in memory: what is kept is read once, at the start.
const CACHE_BYTES: usize = 8 << 20;

/// What is kept of one link.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) epoch: u64,
    pub(super) next: u64,
    pub(super) messages: Vec<(u64, Vec<u8>)>,
}

/// Cursors, by scope and peer.
pub(super) type Cursors = HashMap<(String, String), Position>;

/// An open file.
#[derive(Debug)]
pub(super) struct Disk {
    database: Database,
    path: PathBuf,
}

impl Disk {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let new = !path.exists();
        let database = options()
            .create(path)
            .map_err(|error| explain(path, "open", error))?;
        let disk = Self::new(database, path)?;
        if new {
            keep_name(path)?;
        }
        Ok(disk)
    }

    /// On something else than a file, for tests.
    #[cfg(test)]
    pub(super) fn open_on(backend: impl redb::StorageBackend) -> Result<Self, Error> {
        let path = Path::new("memory");
        let database = options()
            .create_with_backend(backend)
            .map_err(|error| explain(path, "open", error))?;
        Self::new(database, path)
    }

    fn new(database: Database, path: &Path) -> Result<Self, Error> {
        let disk = Self {
            database,
            path: path.to_owned(),
        };
        disk.check_format()?;
        Ok(disk)
    }

    /// Makes the tables of a new file; refuses those of another version.
    fn check_format(&self) -> Result<(), Error> {
        let version = self
            .format()
            .map_err(|error| explain(&self.path, "prepare", error))?;
        if version == VERSION {
            return Ok(());
        }
        let text = format!(
            "spool {} is of version {version}, and this program reads version {VERSION}; let the program that wrote \
             it send what it keeps, or move it away",
            self.path.display()
        );
        Err(Error::new(ErrorKind::Config, text))
    }

    fn format(&self) -> Result<u64, Fault> {
        let transaction = self.database.begin_write()?;
        let version = {
            let mut format = transaction.open_table(FORMAT)?;
            let known = format.get("version")?.map(|version| version.value());
            if known.is_none() {
                format.insert("version", VERSION)?;
            }
            known.unwrap_or(VERSION)
        };
        if version == VERSION {
            transaction.open_table(LINKS)?;
            transaction.open_table(MESSAGES)?;
            transaction.open_table(CURSORS)?;
            transaction.commit()?;
        }
        Ok(version)
    }

    /// All that it keeps.
    pub(super) fn read(&self) -> Result<(BTreeMap<String, Stored>, Cursors), Error> {
        self.read_all()
            .map_err(|error| explain(&self.path, "read", error))
    }

    fn read_all(&self) -> Result<(BTreeMap<String, Stored>, Cursors), Fault> {
        let transaction = self.database.begin_read()?;
        let mut links = BTreeMap::new();
        for entry in transaction.open_table(LINKS)?.iter()? {
            let name = entry?.0.value().to_owned();
            let stored = self.read_link(&name)?;
            links.insert(name, stored);
        }
        let mut cursors = Cursors::new();
        for entry in transaction.open_table(CURSORS)?.iter()? {
            let (key, value) = entry?;
            let ((scope, peer), (epoch, seq)) = (key.value(), value.value());
            cursors.insert((scope.to_owned(), peer.to_owned()), Position { epoch, seq });
        }
        Ok((links, cursors))
    }

    fn read_link(&self, name: &str) -> Result<Stored, Fault> {
        let transaction = self.database.begin_read()?;
        let known = transaction.open_table(LINKS)?.get(name)?;
        let (epoch, next) = known.map_or((0, 1), |value| value.value());
        let mut messages = Vec::new();
        let table = transaction.open_table(MESSAGES)?;
        for entry in table.range((name, 0)..=(name, u64::MAX))? {
            let (key, value) = entry?;
            messages.push((key.value().1, value.value().to_owned()));
        }
        Ok(Stored {
            epoch,
            next,
            messages,
        })
    }

    /// What is kept of a link that was open before.
    pub(super) fn reload(&self, name: &str) -> Result<Stored, Error> {
        self.read_link(name)
            .map_err(|error| explain(&self.path, "read", error))
    }

    /// Writes all of a batch or nothing of it; it is safe when this returns.
    pub(super) fn commit(&self, batch: &Batch) -> Result<(), Error> {
        self.write(batch)
            .map_err(|error| explain(&self.path, "write", error))
    }

    fn write(&self, batch: &Batch) -> Result<(), Fault> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate);
        {
            let mut links = transaction.open_table(LINKS)?;
            let mut messages = transaction.open_table(MESSAGES)?;
            for op in &batch.ops {
                match op {
                    Op::Append { seat, seq, bytes } => {
                        messages.insert((seat.name.as_str(), *seq), bytes.as_slice())?;
                    }
                    Op::Forget { seat, seq } => {
                        messages.remove((seat.name.as_str(), *seq))?;
                    }
                }
            }
            // Once for each link: a number must not be given away twice, even when its message is gone.
            for (seat, last) in batch.reached() {
                links.insert(seat.name.as_str(), (seat.epoch, last + 1))?;
            }
            let mut cursors = transaction.open_table(CURSORS)?;
            for ((scope, peer), at) in &batch.cursors {
                cursors.insert((scope.as_str(), peer.as_str()), (at.epoch, at.seq))?;
            }
        }
        Ok(transaction.commit()?)
    }
}

fn options() -> redb::Builder {
    let mut options = Database::builder();
    options
        .set_cache_size(CACHE_BYTES)
        .create_with_file_format_v3(true);
    options
}

/// A new file is there after a power failure too.
fn keep_name(path: &Path) -> Result<(), Error> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    // Windows has no such thing, and keeps names by itself.
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        let doing = || format!("cannot make the name of spool {} last", path.display());
        synced.map_err(|error| Error::io(doing(), error))?;
    }
    Ok(())
}

/// Whatever redb may say; boxed, since it is large.
struct Fault(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// An error of the file in words that say what to do.
fn explain(path: &Path, doing: &str, fault: impl Into<Fault>) -> Error {
    let path = path.display();
    match *fault.into().0 {
        redb::Error::DatabaseAlreadyOpen => Error::new(
            ErrorKind::Misuse,
            format!(
                "spool {path} is open, in this process or another; end the other one, or name another file"
            ),
        ),
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => Error::io(
            format!("cannot {doing} spool {path}; make room on its disk, then open it again"),
            error,
        ),
        // So it says of what is no file of its own.
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            damaged(path, error)
        }
        redb::Error::Io(error) => Error::io(
            format!("cannot {doing} spool {path}; see to its disk and rights, then open it again"),
            error,
        ),
        error => damaged(path, error),
    }
}

pub(super) fn damaged(path: impl std::fmt::Display, error: impl std::fmt::Display) -> Error {
    let text = format!(
        "spool {path} is damaged, or no spool: {error}; move it away to begin anew, which loses what it keeps"
    );
    Error::new(ErrorKind::Io, text)
}
