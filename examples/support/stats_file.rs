//! A file of figures that readers never see half written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use netwheel::Stats;

/// A file of `key value` lines, replaced as a whole.
pub(crate) struct StatsFile {
    path: PathBuf,
    draft: PathBuf,
}

impl StatsFile {
    pub(crate) fn new(path: &Path) -> Self {
        let mut draft = path.as_os_str().to_owned();
        // In the same folder, because a rename within a file system is atomic; with the process's
        // number, because two programs may be given the same path.
        draft.push(format!(".{}", process::id()));
        Self {
            path: path.to_owned(),
            draft: draft.into(),
        }
    }

    /// Puts these figures in the place of the last ones.
    pub(crate) fn write(&self, stats: &Stats) -> Result<(), String> {
        self.replace(stats).map_err(|error| {
            let path = self.path.display();
            format!("cannot write {path}: {error}; give --stats-file a path that can be written")
        })
    }

    fn replace(&self, stats: &Stats) -> io::Result<()> {
        fs::write(&self.draft, stats.to_string())?;
        fs::rename(&self.draft, &self.path)
    }
}
