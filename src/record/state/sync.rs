//! The thread that puts `state` on the disk while a run goes on.
//!
//! Owns when that happens and what is known to be there. Must hold: who appends never waits for a sync;
//! an offset is published only after a sync that began when all before it was written, and only of the
//! file that is the state now.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::os::beneath::Beneath;
use crate::record::state::block::Section;
use crate::record::state::frame::{Frame, Laid};
use crate::record::state::writer::Writer;

/// How often `state` is synced while frames are added.
const EVERY: Duration = Duration::from_secs(1);

/// How often everything on its file system is.
const ALL_EVERY: Duration = Duration::from_secs(30);

/// A writer that is synced by a thread of its own.
#[derive(Debug)]
pub struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    wake: Condvar,
    covered: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    writer: Writer,
    /// Counts files: an offset of an old one says nothing about a new one.
    file: u64,
    /// SYNCED frames of the thread that were not taken yet.
    own: Vec<(Frame, Laid)>,
    stop: bool,
    /// The thread waits until all data is on the disk, which may take long: nobody waits for it.
    busy: bool,
}

impl Syncer {
    /// Starts the thread. `boot` is this boot's id; `told` hears up to where frames are on the disk,
    /// whenever that moves.
    pub fn start(writer: Writer, boot: &str, told: impl Fn(u64) + Send + 'static) -> Syncer {
        Syncer::timed(writer, boot, EVERY, ALL_EVERY, told)
    }

    /// As [`Syncer::start`], with other times.
    ///
    /// The first sync of everything, which covers what came before this run, waits for the first tick: it
    /// may take most of a second, and a short run would end later by that.
    pub(super) fn timed(writer: Writer, boot: &str, every: Duration, all_every: Duration, told: impl Fn(u64) + Send + 'static) -> Syncer {
        let inner = Inner { writer, file: 0, own: Vec::new(), stop: false, busy: false };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), wake: Condvar::new(), covered: AtomicU64::new(0) });
        let (theirs, boot) = (Arc::clone(&shared), boot.to_string());
        // Without a thread the last sync is left, which `stop` makes.
        let thread = std::thread::Builder::new().name("sync".into()).spawn(move || work(&theirs, &boot, every, all_every, told)).ok();
        Syncer { shared, thread }
    }

    /// Appends a frame; where it ends and where its record is.
    pub fn add(&self, frame: &Frame) -> io::Result<(u64, Laid)> {
        self.shared.lock().writer.add(frame)
    }

    /// Syncs now; up to where frames are on the disk. Who appends meanwhile does not wait.
    pub fn sync(&self) -> io::Result<u64> {
        self.shared.sync()
    }

    /// Up to where frames are on the disk.
    pub fn covered(&self) -> u64 {
        self.shared.covered.load(Ordering::Acquire)
    }

    /// Where the last frame ends.
    pub fn end(&self) -> u64 {
        self.shared.lock().writer.end()
    }

    /// Bytes of the frames behind the block.
    pub fn frames_bytes(&self) -> u64 {
        self.shared.lock().writer.frames_bytes()
    }

    /// Bytes of the block.
    pub fn block_bytes(&self) -> u64 {
        self.shared.lock().writer.block_bytes()
    }

    /// The frames that the thread itself appended since this was last asked: they are to be applied like
    /// all others.
    pub fn take_own(&self) -> Vec<(Frame, Laid)> {
        std::mem::take(&mut self.shared.lock().own)
    }

    /// Goes on with a new file with these sections, all of it synced. Offsets of the old one end here:
    /// who waits for one may take it as covered.
    pub fn compact(&self, folder: &Beneath, sections: &[Section]) -> io::Result<()> {
        let mut inner = self.shared.lock();
        inner.writer.compact(folder, sections)?;
        inner.file += 1;
        inner.own.clear();
        let covered = if inner.writer.is_sure() { inner.writer.end() } else { 0 };
        self.shared.covered.store(covered, Ordering::Release);
        Ok(())
    }

    /// Syncs a last time and ends the thread, which adds no frame from here on. If it is just syncing all
    /// data it is left to end by itself.
    pub fn stop(&mut self) {
        let busy = {
            let mut inner = self.shared.lock();
            inner.stop = true;
            inner.busy
        };
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take().filter(|_| !busy) {
            let _ = thread.join();
        }
        if self.covered() < self.end() {
            // No thread, or it failed; whoever asks next hears of it.
            let _ = self.sync();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs outside the lock.
    fn sync(&self) -> io::Result<u64> {
        let (file, end, number) = {
            let inner = self.lock();
            (inner.writer.file(), inner.writer.end(), inner.file)
        };
        let done = file.sync_data();
        let mut inner = self.lock();
        if inner.file != number {
            // It was compacted meanwhile, which syncs.
            return Ok(self.covered.load(Ordering::Acquire));
        }
        let sure = inner.writer.synced(&done);
        done.and(sure)?;
        self.covered.fetch_max(end, Ordering::AcqRel);
        Ok(end)
    }

    /// Syncs everything on the file system and says so in a frame; where that ends. `None`: the thread was
    /// told to stop meanwhile.
    fn sync_all(&self, boot: &str) -> io::Result<Option<u64>> {
        let (file, up_to, number) = {
            let mut inner = self.lock();
            if inner.stop {
                return Ok(None);
            }
            inner.busy = true;
            (inner.writer.file(), inner.writer.end(), inner.file)
        };
        let synced = sync_file_system(&file);
        let mut inner = self.lock();
        inner.busy = false;
        if inner.stop {
            return Ok(None);
        }
        synced?;
        if inner.file != number {
            return Ok(Some(inner.writer.end()));
        }
        let frame = Frame::Synced { up_to, boot: boot.to_string() };
        let (end, laid) = inner.writer.add(&frame)?;
        inner.own.push((frame, laid));
        Ok(Some(end))
    }
}

fn work(shared: &Shared, boot: &str, every: Duration, all_every: Duration, told: impl Fn(u64)) {
    // Everything up to here is known to be on the disk, data and all.
    let mut all = 0;
    let mut told_of = 0;
    let mut due = Instant::now();
    loop {
        let (end, stop) = {
            let inner = shared.lock();
            let waited = shared.wake.wait_timeout_while(inner, every, |inner| !inner.stop);
            let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
            (inner.writer.end(), inner.stop)
        };
        if end > shared.covered.load(Ordering::Acquire) {
            // It is tried again, and whoever needs it done asks for it.
            let _ = shared.sync();
        }
        // Also of what somebody else has synced.
        let covered = shared.covered.load(Ordering::Acquire);
        if covered != told_of {
            told_of = covered;
            told(covered);
        }
        if stop {
            return;
        }
        if end > all && Instant::now() >= due {
            due = Instant::now() + all_every;
            // A failure only costs reading again after a power cut.
            match shared.sync_all(boot) {
                Ok(Some(end)) => all = end,
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }
}

/// Puts everything written to the file's file system so far on the disk.
#[cfg(target_os = "linux")]
fn sync_file_system(file: &std::fs::File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file.as_fd())?)
}

/// Puts everything written so far on the disk, as far as this system can be asked to.
#[cfg(not(target_os = "linux"))]
fn sync_file_system(file: &std::fs::File) -> io::Result<()> {
    rustix::fs::sync();
    let _ = file.as_fd();
    file.sync_all()
}
