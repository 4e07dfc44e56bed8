//! A part of a file on its way out, never in memory as a whole.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

type Progress = Box<dyn FnMut(u64, u64) + Send>;

/// A part of a file, to be sent behind a message; see [`Context::write_file`](crate::Context::write_file).
///
/// On Linux the kernel takes the bytes from the file itself (`sendfile`); elsewhere, under TLS and where SIGPIPE is at its default (a
/// `sendfile` would raise it), they are copied through memory 32 KiB at a time. Either way a peer that reads slowly costs no memory,
/// and what is written behind the file waits for it.
///
/// Threads: any; opened best on the pool, since opening may block. Cost: a descriptor until the last byte has left. Limit:
/// the region must be there: a file that has become shorter ends its connection, because the peer was promised more.
/// Reading is from the page cache or, where the file is cold, from the disk, for which the worker waits; the
/// system is told at the start to read ahead.
///
/// ```
/// use netwheel::{Executor, FileRegion, Pipeline, codec::Lines};
///
/// let pool = Executor::new(2);
/// let pipeline = Pipeline::new(Lines::new()).handle(move |cx, name| {
///     let path = String::from_utf8_lossy(&name).into_owned();
///     cx.offload(&pool, move || FileRegion::open(path), |cx, opened| match opened {
///         Ok(file) => cx.write_file(format!("ok {}", file.len()).into(), file),
///         Err(error) => cx.write(format!("no: {error}").into()),
///     })
/// });
/// # let _ = pipeline;
/// ```
pub struct FileRegion {
    file: File,
    /// Where in the file the next byte stands.
    offset: u64,
    left: u64,
    total: u64,
    progress: Option<Progress>,
}

impl FileRegion {
    /// The bytes of `file` in this range; the file's own position is neither used nor moved.
    ///
    /// # Panics
    ///
    /// When the range ends before it starts.
    #[must_use]
    pub fn new(file: File, range: Range<u64>) -> Self {
        assert!(range.start <= range.end, "a region ends behind its start");
        let total = range.end - range.start;
        Self {
            file,
            offset: range.start,
            left: total,
            total,
            progress: None,
        }
    }

    /// All that is in the file at this moment. May block.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or its length not be told.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self::new(file, 0..bytes))
    }

    /// Calls `told` with the bytes that have gone to the socket and the bytes in all, each time some have.
    ///
    /// It runs on the connection's worker and must not block; a panic closes the connection.
    #[must_use]
    pub fn on_progress(mut self, told: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.progress = Some(Box::new(told));
        self
    }

    /// Bytes in all.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty region is as good as any"
    )]
    pub fn len(&self) -> u64 {
        self.total
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that have not gone yet.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// So many bytes more have gone. Calls the program, which may panic.
    pub(crate) fn advance(&mut self, count: usize) {
        self.offset += count as u64;
        self.left -= count as u64;
        if let Some(told) = &mut self.progress {
            told(self.total - self.left, self.total);
        }
    }

    /// Appends at most `count` bytes to `buffer`.
    ///
    /// # Errors
    ///
    /// Also when the file ends before the region does.
    pub(crate) fn read(&self, count: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let count = usize::try_from(self.left).map_or(count, |left| left.min(count));
        let start = buffer.len();
        buffer.resize(start + count, 0);
        let outcome = read_at(&self.file, &mut buffer[start..], self.offset);
        buffer.truncate(start + outcome.as_ref().map_or(0, |read| *read));
        match outcome {
            Ok(0) if count > 0 => Err(too_short()),
            outcome => outcome,
        }
    }

    /// Tells the system that all of it will be read soon.
    pub(crate) fn announce(&self) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{Advice, fadvise};
            let len = std::num::NonZeroU64::new(self.left);
            // Advice is no promise: where it is not taken, reading is as it was.
            let _ = fadvise(&self.file, self.offset, len, Advice::WillNeed);
        }
    }
}

/// The file ends before the region does.
pub(crate) fn too_short() -> io::Error {
    let text = "the file has become shorter than the region that was to be sent of it";
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, offset)
}

/// Moves the file's own position, which nobody else uses.
#[cfg(windows)]
fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, offset)
}

impl fmt::Debug for FileRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRegion")
            .field("offset", &self.offset)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
