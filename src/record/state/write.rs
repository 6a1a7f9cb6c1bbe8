//! The one writer of `state`, and the thread that syncs it.
//!
//! Owns appending, cutting a torn tail, compaction, and what is known to be on the disk. Must hold: a
//! frame is whole or not there; what is renamed over `state` was synced first.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::os::beneath::{Beneath, is_gone};
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
    /// The boot of the run that was begun through this writer.
    boot: Option<String>,
}

impl Writer {
    /// Opens `state` for appending behind its last whole frame (which ends at `end`); what is behind
    /// it is cut off. A state that is not there begins with an empty block.
    pub fn open(folder: &Beneath, end: Option<u64>, block_end: u64) -> io::Result<Writer> {
        let Some(end) = end else {
            return Writer::fresh(folder, &[]);
        };
        let file = folder.write(STATE)?;
        let length = file.metadata()?.len();
        if length < end {
            return Err(io::Error::other("the state is shorter than it was: somebody else changes it"));
        }
        if length > end {
            file.set_len(end)?;
        }
        Ok(Writer { file, end, block_end, boot: None })
    }

    /// Writes a new file with these sections and no frames in place of the old one.
    pub fn fresh(folder: &Beneath, sections: &[(u32, Vec<u8>)]) -> io::Result<Writer> {
        let bytes = block(sections);
        // What a killed flow left, or anybody else: never written through.
        match folder.remove_file(NEXT) {
            Err(error) if !is_gone(&error) => return Err(error),
            _ => {}
        }
        let mut file = folder.create_file(NEXT)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_data()).and_then(|()| folder.rename(NEXT, STATE));
        if let Err(error) = written {
            // A full disk: the old state stays the truth.
            let _ = folder.remove_file(NEXT);
            return Err(error);
        }
        rustix::fs::fsync(folder.as_fd()).or_else(|error| if error == rustix::io::Errno::INVAL { Ok(()) } else { Err(error) })?;
        let end = bytes.len() as u64;
        Ok(Writer { file, end, block_end: end, boot: None })
    }

    /// Appends a frame; where it ends, and where its record is.
    pub fn add(&mut self, frame: &Frame) -> io::Result<(u64, Option<At>)> {
        let (bytes, record) = encode(frame)?;
        // At its place, not at the end: what a failed write left is written over by the next.
        if let Err(error) = self.file.write_all_at(&bytes, self.end) {
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        let record = record.map(|record| At { offset: self.end + record.offset, ..record });
        self.end += bytes.len() as u64;
        if let Frame::RunStarted { boot, .. } = frame {
            self.boot = Some(boot.clone());
        }
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
    phase: Mutex<Phase>,
    wake: Condvar,
}

/// Where the thread is. It adds a frame only while it holds this, and only if it is not to stop.
#[derive(Default)]
struct Phase {
    stop: bool,
    /// It waits for the disk, which may take long: nobody waits for it.
    busy: bool,
    /// The last SYNCED frame it added.
    synced: Option<Frame>,
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the disk. `None`: the thread is to stop.
    fn busy(&self, sync: impl FnOnce() -> io::Result<()>) -> Option<bool> {
        let mut phase = self.phase();
        if phase.stop {
            return None;
        }
        phase.busy = true;
        drop(phase);
        let synced = sync().is_ok();
        let mut phase = self.phase();
        phase.busy = false;
        (!phase.stop).then_some(synced)
    }
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
            phase: Mutex::new(Phase::default()),
            wake: Condvar::new(),
        });
        let inner = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sync".into()).spawn(move || work(&inner, told)).ok();
        Syncer { shared, thread }
    }

    /// Appends a frame; where it ends, and where its record is.
    pub fn add(&self, frame: &Frame) -> io::Result<(u64, Option<At>)> {
        let added = self.shared.writer().add(frame);
        if matches!(frame, Frame::RunStarted { .. }) {
            // Now it is known in which boot what came before is synced.
            self.shared.wake.notify_all();
        }
        added
    }

    /// Syncs now; up to where frames are on the disk.
    pub fn sync(&self) -> io::Result<u64> {
        let (file, end) = {
            let writer = self.shared.writer();
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

    /// The last SYNCED frame that the thread added: for [`Known`](crate::record::known::Known), which
    /// hears of no frame but those that its owner adds.
    pub fn synced(&self) -> Option<Frame> {
        self.shared.phase().synced.clone()
    }

    /// Bytes of the frames behind the block.
    pub fn frames(&self) -> u64 {
        self.shared.writer().frames()
    }

    /// Where the last frame ends.
    pub fn end(&self) -> u64 {
        self.shared.writer().end()
    }

    /// Ends the thread: no frame is added by it from here on. If it waits for the disk it is left
    /// to end by itself.
    pub fn stop(&mut self) {
        let busy = {
            let mut phase = self.shared.phase();
            phase.stop = true;
            phase.busy
        };
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && !busy
        {
            let _ = thread.join();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Syncs on a timer. The first sync of the data covers what came before this run.
fn work(shared: &Shared, told: impl Fn(u64)) {
    let Ok(file) = shared.writer().file() else { return };
    let mut told_of = 0;
    let mut data_due = Instant::now();
    loop {
        let end = shared.writer().end();
        if end > shared.covered.load(Ordering::Acquire) {
            match shared.busy(|| file.sync_data()) {
                Some(true) => {
                    shared.covered.fetch_max(end, Ordering::AcqRel);
                }
                Some(false) => {}
                None => return,
            }
        }
        // Also what somebody else has synced meanwhile.
        let covered = shared.covered.load(Ordering::Acquire);
        if covered > told_of {
            told_of = covered;
            told(covered);
        }
        if Instant::now() >= data_due {
            let (boot, up_to) = {
                let writer = shared.writer();
                (writer.boot.clone(), writer.end())
            };
            if let Some(boot) = boot {
                data_due = Instant::now() + DATA_EVERY;
                match shared.busy(|| sync_data(&file)) {
                    Some(true) => {
                        let mut phase = shared.phase();
                        if phase.stop {
                            return;
                        }
                        let frame = Frame::Synced { boot, up_to };
                        // A failure here only costs a rehash after a power cut.
                        if shared.writer().add(&frame).is_ok() {
                            phase.synced = Some(frame);
                        }
                    }
                    Some(false) => {}
                    None => return,
                }
            }
        }
        let phase = shared.phase();
        if phase.stop {
            return;
        }
        let (phase, _) = shared.wake.wait_timeout(phase, EVERY).unwrap_or_else(PoisonError::into_inner);
        if phase.stop {
            return;
        }
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
