//! What a client remembers when it is started again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a client's memory is kept. Threads: any, one at a time.
pub trait Notebook: Send + Sync + 'static {
    /// What was saved last.
    fn load(&self) -> Option<String>;

    /// Keeps a text in the place of the last one, whole or not at all.
    ///
    /// # Errors
    ///
    /// What the disk has failed with.
    fn save(&self, text: &str) -> io::Result<()>;
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoNotebook;

impl Notebook for NoNotebook {
    fn load(&self) -> Option<String> {
        None
    }

    fn save(&self, _text: &str) -> io::Result<()> {
        Ok(())
    }
}

/// A file, replaced as a whole. It outlives the process, killed or not; a power failure may take the last page.
#[derive(Clone, Debug)]
pub struct FileNotebook {
    path: PathBuf,
    draft: PathBuf,
}

impl FileNotebook {
    /// A notebook at that path.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        Self {
            path: path.to_owned(),
            draft: draft.into(),
        }
    }
}

impl Notebook for FileNotebook {
    fn load(&self) -> Option<String> {
        fs::read_to_string(&self.path).ok()
    }

    fn save(&self, text: &str) -> io::Result<()> {
        fs::write(&self.draft, text)?;
        fs::rename(&self.draft, &self.path)
    }
}
