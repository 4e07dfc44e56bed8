//! What a client remembers when it is started again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::memory::Memory;
use crate::lock;

/// Where a client's memory is kept, as lines. Threads: any, one at a time.
pub trait Notebook: Send + Sync + 'static {
    /// What was kept last; the last line may be torn.
    fn load(&self) -> Option<String>;

    /// Keeps lines behind those that are there. Cost: that of what is new.
    ///
    /// # Errors
    ///
    /// What the disk has failed with; a part of the lines may be there.
    fn append(&self, lines: &str) -> io::Result<()>;

    /// Keeps a text in the place of all lines, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the disk has failed with.
    fn replace(&self, text: &str) -> io::Result<()>;

    /// Keeps what is there for whoever may mend it, and says where; what is kept from now on does not touch it.
    ///
    /// # Errors
    ///
    /// What the disk has failed with.
    fn set_aside(&self) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoNotebook;

impl Notebook for NoNotebook {
    fn load(&self) -> Option<String> {
        None
    }

    fn append(&self, _lines: &str) -> io::Result<()> {
        Ok(())
    }

    fn replace(&self, _text: &str) -> io::Result<()> {
        Ok(())
    }
}

/// A file that one client has at a time. It outlives the process, killed or not; a power failure may take the last
/// lines, and no more.
#[derive(Debug)]
pub struct FileNotebook {
    path: PathBuf,
    /// Where lines are appended, once the file was replaced.
    file: Mutex<Option<File>>,
    /// Held for as long as this lives. A file of its own, since the other one is replaced.
    _lock: File,
}

impl FileNotebook {
    /// Opens the notebook at that path, which need not be there, for this process alone.
    ///
    /// # Errors
    ///
    /// When another one has it open, or the folder cannot be written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let lock = File::create(beside(path, ".lock"))?;
        lock.try_lock().map_err(|fault| match fault {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another client has it open")
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::default(),
            _lock: lock,
        })
    }
}

impl Notebook for FileNotebook {
    fn load(&self) -> Option<String> {
        let bytes = fs::read(&self.path).ok()?;
        // What is no text is no line of ours either, and found as such.
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn append(&self, lines: &str) -> io::Result<()> {
        let mut file = lock(&self.file);
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(OpenOptions::new().append(true).open(&self.path)?),
        };
        file.write_all(lines.as_bytes())
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let mut file = lock(&self.file);
        *file = None;
        let path = beside(&self.path, ".new");
        let mut draft = File::create(&path)?;
        draft.write_all(text.as_bytes())?;
        // Else a power failure may leave the new name with nothing behind it.
        draft.sync_all()?;
        fs::rename(path, &self.path)
    }

    fn set_aside(&self) -> io::Result<String> {
        let damaged = |nth: u32| beside(&self.path, &format!(".damaged{nth}"));
        let place = (1..).map(damaged).find(|place| !place.exists());
        let place = place.unwrap_or_else(|| damaged(0));
        fs::rename(&self.path, &place)?;
        Ok(place.display().to_string())
    }
}

/// The path of a file that belongs to another one.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

/// Writes a memory down: what has changed behind what is there, and all of it anew when there is as much again.
pub(super) struct Journal {
    notebook: Box<dyn Notebook>,
    /// Bytes of all of it, when it was written last, and of what was appended since.
    whole: usize,
    appended: usize,
    /// Whether the last line may be torn, so that none may follow.
    torn: bool,
}

impl Journal {
    /// Bytes that are appended before all is written anew, at the least: some hundred lines.
    const APPENDED_BYTES: usize = 64 << 10;

    /// Reads a notebook and writes it anew; answers with what was wrong with it, too.
    pub(super) fn open(
        notebook: Box<dyn Notebook>,
        clock: u64,
    ) -> io::Result<(Self, Memory, Option<String>)> {
        let (memory, fault) = Memory::read(&notebook.load().unwrap_or_default(), clock);
        let fault = fault
            .map(|fault| {
                notebook
                    .set_aside()
                    .map(|place| format!("{fault}; it is kept as {place}"))
            })
            .transpose()?;
        let mut journal = Self {
            notebook,
            whole: 0,
            appended: 0,
            torn: false,
        };
        journal.rewrite(&memory)?;
        Ok((journal, memory, fault))
    }

    /// Writes down what has changed.
    pub(super) fn write(&mut self, memory: &mut Memory) -> io::Result<()> {
        let lines = memory.take_notes();
        self.appended += lines.len();
        if self.torn || self.appended > self.whole.max(Self::APPENDED_BYTES) {
            return self.rewrite(memory);
        }
        if lines.is_empty() {
            return Ok(());
        }
        let done = self.notebook.append(&lines);
        self.torn = done.is_err();
        done
    }

    /// Whether the last try to write has failed.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    fn rewrite(&mut self, memory: &Memory) -> io::Result<()> {
        let notes = memory.to_notes();
        let done = self.notebook.replace(&notes);
        self.torn = done.is_err();
        (self.whole, self.appended) = (notes.len(), 0);
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limits::{MESSAGE_BYTES_MAX, UNSENT_MESSAGES_MAX};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("chat-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn open(path: &Path) -> (Journal, Memory, Option<String>) {
        let notebook = FileNotebook::open(path).expect("nobody else has it");
        Journal::open(Box::new(notebook), 0).expect("a disk")
    }

    #[test]
    fn a_file_is_one_clients_at_a_time() {
        let folder = Folder::new("notebook-lock");
        let path = folder.0.join("ann");
        let first = open(&path);
        let fault = FileNotebook::open(&path).expect_err("it is open");
        assert_eq!(fault.to_string(), "another client has it open");
        drop(first);
        assert!(FileNotebook::open(&path).is_ok());
    }

    #[test]
    fn what_was_said_is_there_again_though_the_last_line_is_torn() {
        let folder = Folder::new("notebook-torn");
        let path = folder.0.join("ann");
        let (mut journal, mut memory, _) = open(&path);
        for words in ["one", "two", "three"] {
            memory.add("bob", words);
            journal.write(&mut memory).expect("a disk");
        }
        drop(journal);
        let text = fs::read_to_string(&path).expect("kept");
        fs::write(&path, &text[..text.len() - 9]).expect("a disk");
        for _ in 0..2 {
            let (_, memory, fault) = open(&path);
            assert_eq!((memory.unsent.len(), fault), (2, None));
        }
    }

    #[test]
    fn a_damaged_file_is_kept_and_what_stands_before_the_damage_is_read() {
        let folder = Folder::new("notebook-damaged");
        let path = folder.0.join("ann");
        let text = "{\"shown\":7}\n{]\n{\"shown\":8}\n";
        for nth in 1..=2 {
            fs::write(&path, text).expect("a disk");
            let (_, memory, fault) = open(&path);
            assert!(!memory.is_new(None, 7) && memory.is_new(None, 8));
            let kept = format!("{}.damaged{nth}", path.display());
            let fault = fault.expect("the second line is none");
            assert!(
                fault.starts_with("line 2: ") && fault.ends_with(&kept),
                "{fault}"
            );
            assert_eq!(fs::read_to_string(&kept).expect("kept"), text);
        }
        assert_eq!(open(&path).2, None, "it is sound again");
    }

    /// Counts bytes, and fails if told to.
    #[derive(Clone, Default)]
    struct Scales(Arc<Mutex<(usize, bool)>>);

    impl Notebook for Scales {
        fn load(&self) -> Option<String> {
            None
        }

        fn append(&self, lines: &str) -> io::Result<()> {
            self.replace(lines)
        }

        fn replace(&self, text: &str) -> io::Result<()> {
            let mut scales = lock(&self.0);
            if scales.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            scales.0 += text.len();
            Ok(())
        }
    }

    #[test]
    fn what_is_shown_costs_a_line_however_much_is_unsent() {
        let scales = Scales::default();
        let written = || std::mem::take(&mut lock(&scales.0).0);
        let (mut journal, mut memory, _) =
            Journal::open(Box::new(scales.clone()), 0).expect("no disk");
        let words = "x".repeat(MESSAGE_BYTES_MAX);
        for _ in 0..UNSENT_MESSAGES_MAX {
            memory.add("bob", &words);
            journal.write(&mut memory).expect("room");
        }
        let all = UNSENT_MESSAGES_MAX * MESSAGE_BYTES_MAX;
        assert!(
            written() < 4 * all,
            "all is written anew each time it has doubled"
        );
        for id in 1..=1000 {
            memory.has_shown(None, id);
            journal.write(&mut memory).expect("room");
        }
        assert!(written() < 1000 * 30);
    }

    #[test]
    fn behind_what_may_be_torn_nothing_is_appended() {
        let scales = Scales::default();
        let (mut journal, mut memory, _) =
            Journal::open(Box::new(scales.clone()), 0).expect("no disk");
        memory.add("bob", "one");
        lock(&scales.0).1 = true;
        assert!(journal.write(&mut memory).is_err() && journal.is_torn());
        *lock(&scales.0) = (0, false);
        journal.write(&mut memory).expect("room again");
        assert_eq!(lock(&scales.0).0, memory.to_notes().len());
    }
}
