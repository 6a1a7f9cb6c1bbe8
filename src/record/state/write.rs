//! The one writer of `state`, and the thread that syncs it.
//!
//! Owns appending, cutting a torn tail, compaction, and what is known to be on the disk. Must hold: a
//! frame is whole or not there; what is renamed over `state` was synced first.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::os::beneath::Beneath;
use crate::record::state::frame::{At, Frame, encode};
use crate::record::state::{STATE, block};

/// Name of the file that becomes `state`.
const NEXT: &str = "state.new";

/// Appends frames. Only the holder of the pipeline's lock may have one.
#[derive(Debug)]
pub struct Writer {
    file: File,
    end: u64,
    block_end: u64,
}

impl Writer {
    /// Opens `state` for appending behind its last whole frame (which ends at `end`); what is behind
    /// it is cut off. A state that is not there begins with an empty block.
    pub fn open(folder: &Beneath, end: Option<u64>, block_end: u64) -> io::Result<Writer> {
        let Some(end) = end else {
            return Writer::fresh(folder, &[]);
        };
        let mut file = folder.write(STATE)?;
        if file.metadata()?.len() > end {
            file.set_len(end)?;
        }
        file.seek(SeekFrom::Start(end))?;
        Ok(Writer { file, end, block_end })
    }

    /// Writes a new file with these sections and no frames in place of the old one.
    pub fn fresh(folder: &Beneath, sections: &[(u32, Vec<u8>)]) -> io::Result<Writer> {
        let bytes = block(sections);
        let mut file = folder.create_file(NEXT)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // A full disk: the old state stays the truth.
            let _ = folder.remove_file(NEXT);
            return Err(error);
        }
        folder.rename(NEXT, STATE)?;
        rustix::fs::fsync(folder.as_fd()).or_else(|error| if error == rustix::io::Errno::INVAL { Ok(()) } else { Err(error) })?;
        let end = bytes.len() as u64;
        Ok(Writer { file, end, block_end: end })
    }

    /// Appends a frame; where it ends, and where its record is.
    pub fn add(&mut self, frame: &Frame) -> io::Result<(u64, Option<At>)> {
        let (bytes, record) = encode(frame).map_err(io::Error::other)?;
        if let Err(error) = self.file.write_all(&bytes) {
            // A part of it may be there: cut it off, so that what follows is read.
            let _ = self.file.set_len(self.end);
            let _ = self.file.seek(SeekFrom::Start(self.end));
            return Err(error);
        }
        let record = record.map(|record| At { offset: self.end + record.offset, ..record });
        self.end += bytes.len() as u64;
        Ok((self.end, record))
    }

    /// Where the last frame ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of the frames behind the block.
    pub fn frames(&self) -> u64 {
        self.end - self.block_end
    }

    /// Another descriptor of the same file.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Puts all frames so far on the disk.
    pub fn sync(&self) -> io::Result<u64> {
        self.file.sync_data()?;
        Ok(self.end)
    }
}

/// How often `state` is synced while frames are added.
const EVERY: Duration = Duration::from_secs(1);

/// How often the data is synced too.
const DATA_EVERY: Duration = Duration::from_secs(30);

struct Shared {
    writer: Mutex<Writer>,
    covered: AtomicU64,
    stop: Mutex<bool>,
    wake: Condvar,
    /// The file system is being synced, which may take long: nobody waits for it.
    busy: AtomicBool,
}

/// A writer that is synced by a thread of its own.
pub struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread; `told` hears up to where frames are on the disk, whenever that moves.
    pub fn start(writer: Writer, told: impl Fn(u64) + Send + 'static) -> Syncer {
        let shared = Arc::new(Shared {
            writer: Mutex::new(writer),
            covered: AtomicU64::new(0),
            stop: Mutex::new(false),
            wake: Condvar::new(),
            busy: AtomicBool::new(false),
        });
        let inner = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sync".into()).spawn(move || work(&inner, told)).ok();
        Syncer { shared, thread }
    }

    /// Appends a frame; where it ends, and where its record is.
    pub fn add(&self, frame: &Frame) -> io::Result<(u64, Option<At>)> {
        self.writer().add(frame)
    }

    /// Syncs now; up to where frames are on the disk.
    pub fn sync(&self) -> io::Result<u64> {
        let (file, end) = {
            let writer = self.writer();
            (writer.file()?, writer.end())
        };
        file.sync_data()?;
        self.shared.covered.fetch_max(end, Ordering::AcqRel);
        Ok(end)
    }

    /// Up to where frames are on the disk.
    pub fn covered(&self) -> u64 {
        self.shared.covered.load(Ordering::Acquire)
    }

    /// Bytes of the frames behind the block.
    pub fn frames(&self) -> u64 {
        self.writer().frames()
    }

    /// Where the last frame ends.
    pub fn end(&self) -> u64 {
        self.writer().end()
    }

    /// Ends the thread.
    pub fn stop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && !self.shared.busy.load(Ordering::Acquire)
        {
            let _ = thread.join();
        }
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        self.shared.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Syncs on a timer. The first sync of the data covers what came before this run.
fn work(shared: &Shared, told: impl Fn(u64)) {
    let mut data_due = Duration::ZERO;
    loop {
        let (file, end) = {
            let writer = shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
            match writer.file() {
                Ok(file) => (file, writer.end()),
                Err(_) => return,
            }
        };
        if data_due.is_zero() {
            data_due = DATA_EVERY;
            shared.busy.store(true, Ordering::Release);
            let synced = sync_data(&file).is_ok();
            shared.busy.store(false, Ordering::Release);
            let stop = shared.stop.lock().unwrap_or_else(PoisonError::into_inner);
            if *stop {
                return;
            }
            if synced {
                // A failure here only costs a rehash after a power cut.
                let _ = shared.writer.lock().unwrap_or_else(PoisonError::into_inner).add(&Frame::Synced { up_to: end });
            }
        }
        if end > shared.covered.load(Ordering::Acquire) && file.sync_data().is_ok() {
            shared.covered.fetch_max(end, Ordering::AcqRel);
            told(end);
        }
        let stop = shared.stop.lock().unwrap_or_else(PoisonError::into_inner);
        if *stop {
            return;
        }
        let (stop, _) = shared.wake.wait_timeout(stop, EVERY).unwrap_or_else(PoisonError::into_inner);
        if *stop {
            return;
        }
        data_due = data_due.saturating_sub(EVERY);
    }
}

/// Everything written to the file system so far is on the disk.
#[cfg(target_os = "linux")]
fn sync_data(file: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file.as_fd())?)
}

/// Everything written to any file system so far is on its way to the disk.
#[cfg(not(target_os = "linux"))]
fn sync_data(file: &File) -> io::Result<()> {
    rustix::fs::sync();
    file.sync_all()
}
