//! The lock of a pipeline's folder: one writer at a time.
//!
//! Owns `lock`: held by `flock`, so that it ends with its process. Its text says who holds it, its time when
//! flow last looked. Readers take no lock, not even a shared one, which would refuse a starting writer: they
//! read who is named. Must hold: a name left behind is never taken for a holder.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock, futimens};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::os::beneath::{Beneath, is_gone};
use crate::os::process;

/// The file's name.
const LOCK: &str = "lock";

/// Longest text that is read.
const LONGEST: u64 = 4096;

/// How often a lock that is waited for is asked for again.
const AGAIN: Duration = Duration::from_millis(100);

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
        let start = process::start_time(pid).unwrap_or_default();
        Holder { pid, start, boot: process::boot_id().unwrap_or_default(), host: host(), run, since }
    }

    /// Whether the process still lives; `None`: nobody here can say, as it is on another machine.
    pub fn lives(&self) -> Option<bool> {
        if self.host != host() {
            return None;
        }
        if self.boot != process::boot_id().unwrap_or_default() {
            return Some(false);
        }
        match cfg!(target_os = "linux") {
            true => Some(process::alive(self.pid, self.start)),
            false => Some(process::exists(self.pid)),
        }
    }
}

/// The machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockFault {
    /// Another holds it; it may not have said who it is.
    #[error("another run of this pipeline is going on{}", .0.as_ref().map(|holder| format!(" (process {} on {})", holder.pid, holder.host)).unwrap_or_default())]
    Held(Option<Holder>),
    /// There is no lock to be had here: the folder cannot be written and has none, or its file system
    /// knows no locks. Looking needs none; who only finds that there is nothing to do neither.
    #[error("no lock can be had here: {0}")]
    Impossible(io::Error),
    /// The system said no.
    #[error("cannot lock: {0}")]
    Io(#[from] io::Error),
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    writable: bool,
    named: bool,
}

impl Lock {
    /// Takes the lock of a pipeline's folder, at once or not at all. Where the folder cannot be written
    /// an existing lock file is locked all the same.
    pub fn take(folder: &Beneath) -> Result<Lock, LockFault> {
        let refused = |error: &io::Error| matches!(Errno::from_io_error(error), Some(Errno::ROFS | Errno::ACCESS | Errno::PERM));
        let (file, writable) = match folder.write(LOCK) {
            Ok(file) => (file, true),
            Err(error) if refused(&error) => match folder.read(LOCK) {
                Ok(file) => (file, false),
                Err(none) if is_gone(&none) || refused(&none) => return Err(LockFault::Impossible(error)),
                Err(other) => return Err(other.into()),
            },
            Err(error) => return Err(error.into()),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { file, writable, named: false }),
            // Who is named and does not live is not who holds it: that one has not said its name yet.
            Err(Errno::WOULDBLOCK) => Err(LockFault::Held(read_holder(&file).filter(|holder| holder.lives() != Some(false)))),
            Err(error @ (Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP)) => Err(LockFault::Impossible(error.into())),
            Err(error) => Err(LockFault::Io(error.into())),
        }
    }

    /// Waits for the lock, asking ten times a second; `go_on` hears who holds it each time and says
    /// whether to ask again. If not, that is [`LockFault::Held`].
    pub fn wait(folder: &Beneath, mut go_on: impl FnMut(&Option<Holder>) -> bool) -> Result<Lock, LockFault> {
        loop {
            match Lock::take(folder) {
                Err(LockFault::Held(holder)) if go_on(&holder) => std::thread::sleep(AGAIN),
                other => return other,
            }
        }
    }

    /// Whether the file can be written.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Writes who holds it: with the first change, since a run that changes nothing writes nothing.
    pub fn name(&mut self, holder: &Holder) -> io::Result<()> {
        let mut line = serde_json::to_vec(holder).map_err(io::Error::other)?;
        line.push(b'\n');
        // Over the old text by one write, so that a reader finds a whole line at any moment.
        self.file.write_all_at(&line, 0)?;
        self.named = true;
        self.file.set_len(line.len() as u64)
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

impl Drop for Lock {
    fn drop(&mut self) {
        if self.named {
            // The process may live on after its run.
            let _ = self.file.set_len(0);
        }
    }
}

fn read_holder(file: &File) -> Option<Holder> {
    let mut text = vec![0; LONGEST as usize];
    let length = file.read_at(&mut text, 0).ok()?;
    parse(text.get(..length)?)
}

fn parse(text: &[u8]) -> Option<Holder> {
    serde_json::from_slice(text.split(|&byte| byte == b'\n').next()?).ok()
}

/// Who holds the lock, for readers: the process that is named, unless it is known to be dead. Of one on
/// another machine nobody here can say ([`Holder::lives`]).
pub fn holder(folder: &Beneath) -> Option<Holder> {
    let mut text = Vec::new();
    folder.read(LOCK).ok()?.take(LONGEST).read_to_end(&mut text).ok()?;
    parse(&text).filter(|holder| holder.lives() != Some(false))
}

/// When flow last looked, in nanoseconds since 1970.
pub fn looked(folder: &Beneath) -> Option<i64> {
    let stat = folder.stat(LOCK).ok()??;
    stat.st_mtime.checked_mul(1_000_000_000)?.checked_add(stat.st_mtime_nsec as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn open(path: &Path) -> Beneath {
        Beneath::open(path).unwrap()
    }

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path());
        let mut lock = Lock::take(&folder).unwrap();
        assert!(matches!(Lock::take(&folder), Err(LockFault::Held(None))));
        assert_eq!(holder(&folder), None);
        lock.name(&Holder::here(7, 1)).unwrap();
        match Lock::take(&folder) {
            Err(LockFault::Held(Some(holder))) => assert_eq!(holder.run, 7),
            other => panic!("{other:?}"),
        }
        assert_eq!(holder(&folder), Some(Holder::here(7, 1)));
        let mut asked = 0;
        let waited = Lock::wait(&folder, |holder| {
            assert_eq!(holder.as_ref().unwrap().run, 7);
            asked += 1;
            asked < 2
        });
        assert!(matches!(waited, Err(LockFault::Held(Some(_)))) && asked == 2);
        drop(lock);
        assert_eq!(holder(&folder), None);
        assert!(Lock::take(&folder).unwrap().is_writable());
    }

    #[test]
    fn a_shorter_name_replaces_a_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path());
        let mut lock = Lock::take(&folder).unwrap();
        lock.name(&Holder::here(u64::MAX, i64::MAX)).unwrap();
        lock.name(&Holder::here(1, 1)).unwrap();
        assert_eq!(holder(&folder), Some(Holder::here(1, 1)));
    }

    #[test]
    fn a_name_left_behind_is_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path());
        let left = |holder: Holder| {
            std::fs::write(dir.path().join("lock"), serde_json::to_vec(&holder).unwrap()).unwrap();
        };
        let here = Holder::here(1, 0);
        left(here.clone());
        assert_eq!(holder(&folder), Some(here.clone()));
        left(Holder { boot: "another".into(), ..here.clone() });
        assert_eq!(holder(&folder), None);
        #[cfg(target_os = "linux")]
        {
            left(Holder { start: here.start + 1, ..here.clone() });
            assert_eq!(holder(&folder), None);
            let _lock = Lock::take(&folder).unwrap();
            assert!(matches!(Lock::take(&folder), Err(LockFault::Held(None))));
        }
        let elsewhere = Holder { host: "elsewhere.example".into(), ..here };
        left(elsewhere.clone());
        assert_eq!(holder(&folder).map(|holder| holder.lives()), Some(None));
        for text in [&b"garbage"[..], b"", b"{}", b"\0\xff\n", b"{\"pid\":1}"] {
            std::fs::write(dir.path().join("lock"), text).unwrap();
            assert_eq!(holder(&folder), None);
        }
    }

    #[test]
    fn its_time_says_when_flow_last_looked() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path());
        assert_eq!(looked(&folder), None);
        let lock = Lock::take(&folder).unwrap();
        let file = File::options().write(true).open(dir.path().join("lock")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(5)).unwrap();
        assert_eq!(looked(&folder), Some(5_000_000_000));
        lock.touch();
        assert!(looked(&folder) > Some(1_000_000_000_000_000_000));
        assert_eq!(std::fs::read(dir.path().join("lock")).unwrap(), b"");
    }

    #[test]
    fn nothing_but_a_file_is_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path());
        std::os::unix::fs::symlink("elsewhere", dir.path().join("lock")).unwrap();
        assert!(matches!(Lock::take(&folder), Err(LockFault::Io(_))));
        assert!(!dir.path().join("elsewhere").exists());
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("lock"), rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
        assert!(matches!(Lock::take(&folder), Err(LockFault::Io(_))));
        assert_eq!(holder(&folder), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let Some(mount) = crate::os::mounted::Mounted::tmpfs(dir.path(), "size=64k") else { return };
        std::fs::create_dir(dir.path().join("with")).unwrap();
        std::fs::write(dir.path().join("with/lock"), "").unwrap();
        std::fs::create_dir(dir.path().join("without")).unwrap();
        mount.read_only();
        let with = open(&dir.path().join("with"));
        let lock = Lock::take(&with).unwrap();
        assert!(!lock.is_writable());
        lock.touch();
        assert!(matches!(Lock::take(&with), Err(LockFault::Held(None))));
        assert!(matches!(Lock::take(&open(&dir.path().join("without"))), Err(LockFault::Impossible(_))));
    }
}
