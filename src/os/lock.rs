//! The lock of a pipeline's folder: one writer at a time.
//!
//! Owns `lock`: held by `flock`, so that it ends with its process. Readers never touch the lock, they
//! read who holds it. Must hold: a stale name in the file is never taken for a holder.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock, futimens};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::os::beneath::Beneath;
use crate::os::process;

/// The file's name.
const LOCK: &str = "lock";

/// Who holds a lock.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: i32,
    /// When that started, in the kernel's ticks since boot.
    pub start: u64,
    /// The boot.
    pub boot: String,
    /// The machine.
    pub host: String,
    /// Its run.
    pub run: u64,
    /// When the run began, in nanoseconds since 1970.
    pub since: i64,
}

impl Holder {
    /// This process.
    pub fn here(run: u64, since: i64) -> Holder {
        let pid = std::process::id() as i32;
        Holder {
            pid,
            start: process::start_time(pid).unwrap_or_default(),
            boot: process::boot_id().unwrap_or_default(),
            host: host(),
            run,
            since,
        }
    }

    /// Whether the process still lives; `None`: it is on another machine.
    pub fn lives(&self) -> Option<bool> {
        if self.host != host() {
            return None;
        }
        Some(Some(&self.boot) == process::boot_id().as_ref() && process::alive(self.pid, self.start))
    }
}

/// The machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockFault {
    /// Another holds it.
    #[error("another run of this pipeline is going on{}", .0.as_ref().map(|holder| format!(" (process {} on {})", holder.pid, holder.host)).unwrap_or_default())]
    Held(Option<Holder>),
    /// The system said no.
    #[error("cannot lock: {0}")]
    Io(#[from] io::Error),
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    writable: bool,
}

impl Lock {
    /// Takes the lock of a pipeline's folder. In a folder that cannot be written an existing lock file
    /// is locked all the same; without one there is nobody to be kept out.
    pub fn take(folder: &Beneath) -> Result<Lock, LockFault> {
        let (file, writable) = match folder.write(LOCK) {
            Ok(file) => (file, true),
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::ROFS | Errno::ACCESS | Errno::PERM)) => {
                (folder.read(LOCK)?, false)
            }
            Err(error) => return Err(error.into()),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { file, writable }),
            Err(Errno::WOULDBLOCK) => Err(LockFault::Held(read_holder(file))),
            Err(error) => Err(LockFault::Io(error.into())),
        }
    }

    /// Waits for the lock, asking every 100 ms; `go_on` says whether to ask again.
    pub fn wait(folder: &Beneath, mut go_on: impl FnMut(&Option<Holder>) -> bool) -> Result<Lock, LockFault> {
        loop {
            match Lock::take(folder) {
                Err(LockFault::Held(holder)) if go_on(&holder) => std::thread::sleep(Duration::from_millis(100)),
                other => return other,
            }
        }
    }

    /// Whether the folder can be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Writes who holds it.
    pub fn name(&mut self, holder: &Holder) -> io::Result<()> {
        let mut line = serde_json::to_vec(holder).map_err(io::Error::other)?;
        line.push(b'\n');
        self.file.seek(SeekFrom::Start(0))?;
        self.file.set_len(0)?;
        self.file.write_all(&line)
    }

    /// Sets the file's time: when flow last looked. Skipped where it cannot be.
    pub fn touch(&self) {
        let now = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        let _ = futimens(&self.file, &now);
    }
}

fn read_holder(mut file: File) -> Option<Holder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    Read::by_ref(&mut file).take(4096).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}

/// Who holds the lock, for readers: the process that is named, if it lives.
pub fn holder(folder: &Beneath) -> Option<Holder> {
    let holder = read_holder(folder.read(LOCK).ok()?)?;
    holder.lives().unwrap_or(true).then_some(holder)
}

/// When flow last looked, in nanoseconds since 1970.
pub fn looked(folder: &Beneath) -> Option<i64> {
    let stat = folder.stat(LOCK).ok()??;
    Some(stat.st_mtime * 1_000_000_000 + stat.st_mtime_nsec as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        let mut lock = Lock::take(&folder).unwrap();
        lock.name(&Holder::here(7, 1)).unwrap();
        match Lock::take(&folder) {
            Err(LockFault::Held(Some(holder))) => assert_eq!(holder.run, 7),
            other => panic!("{other:?}"),
        }
        assert_eq!(holder(&folder).unwrap().pid, std::process::id() as i32);
        drop(lock);
        let lock = Lock::take(&folder).unwrap();
        lock.touch();
        assert!(looked(&folder).is_some());
    }

    #[test]
    fn a_name_left_behind_is_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        let mut lock = Lock::take(&folder).unwrap();
        lock.name(&Holder { start: 1, ..Holder::here(1, 0) }).unwrap();
        assert_eq!(holder(&folder), None);
        std::fs::write(dir.path().join("lock"), "garbage").unwrap();
        assert_eq!(holder(&folder), None);
    }
}
