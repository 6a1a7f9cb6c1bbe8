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

use crate::os::beneath::{Beneath, is_gone};
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
    /// `None`: there is none and none can be made, so that nobody could write here.
    file: Option<File>,
    writable: bool,
    named: bool,
}

impl Lock {
    /// Takes the lock of a pipeline's folder. In a folder that cannot be written an existing lock file
    /// is locked all the same; without one there is nobody to be kept out.
    pub fn take(folder: &Beneath) -> Result<Lock, LockFault> {
        let (file, writable) = match folder.write(LOCK) {
            Ok(file) => (file, true),
            Err(error) if is_refused(&error) => match folder.read(LOCK) {
                Ok(file) => (file, false),
                Err(error) if is_gone(&error) => return Ok(Lock { file: None, writable: false, named: false }),
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { file: Some(file), writable, named: false }),
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
        let file = self.file.as_mut().ok_or(Errno::ROFS)?;
        file.seek(SeekFrom::Start(0))?;
        file.set_len(0)?;
        self.named = true;
        file.write_all(&line)
    }

    /// Sets the file's time: when flow last looked. Skipped where it cannot be.
    pub fn touch(&self) {
        let now = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        if let Some(file) = &self.file {
            let _ = futimens(file, &now);
        }
    }
}

impl Drop for Lock {
    /// The name goes before the lock does: on another machine nobody could tell that its process is gone.
    fn drop(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| self.named) {
            let _ = file.set_len(0);
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::ROFS | Errno::ACCESS | Errno::PERM))
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

    /// The other process of the test below; otherwise nothing.
    #[test]
    fn another_process() {
        let Ok(dir) = std::env::var("FLOW_TEST_LOCK") else { return };
        let folder = Beneath::open(dir.as_ref()).unwrap();
        let mut lock = Lock::take(&folder).unwrap();
        lock.name(&Holder::here(9, 0)).unwrap();
        std::fs::write(format!("{dir}/held"), "").unwrap();
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }

    #[test]
    fn two_processes_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        let begin = || {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "os::lock::tests::another_process", "--nocapture"])
                .env("FLOW_TEST_LOCK", dir.path())
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap();
            while !dir.path().join("held").exists() {
                assert_eq!(child.try_wait().unwrap(), None);
                std::thread::sleep(Duration::from_millis(2));
            }
            std::fs::remove_file(dir.path().join("held")).unwrap();
            child
        };
        // Killed, it leaves its name and no lock.
        let mut child = begin();
        let held = Lock::take(&folder);
        assert!(matches!(&held, Err(LockFault::Held(Some(holder))) if holder.pid == child.id() as i32), "{held:?}");
        assert_eq!(holder(&folder).map(|holder| (holder.pid, holder.run)), Some((child.id() as i32, 9)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(holder(&folder), None);
        assert!(read_holder(folder.read(LOCK).unwrap()).is_some());
        drop(Lock::take(&folder).unwrap());
        // At its end it takes its name along; who waits has its turn.
        let mut child = begin();
        let mut asked = 0;
        let mut stdin = child.stdin.take();
        let lock = Lock::wait(&folder, |held| {
            // Later it may be on its way out, its name already gone.
            assert!(asked > 0 || held.as_ref().is_some_and(|held| held.run == 9));
            asked += 1;
            stdin = None;
            true
        });
        assert!(lock.is_ok() && asked > 0);
        assert!(child.wait().unwrap().success());
        assert!(read_holder(folder.read(LOCK).unwrap()).is_none());
        drop(lock);
        // Who no longer wants to wait hears who holds it.
        let lock = Lock::take(&folder).unwrap();
        assert!(matches!(Lock::wait(&folder, |_| false), Err(LockFault::Held(None))));
        drop(lock);
    }

    #[test]
    fn only_a_regular_file_is_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join(LOCK)).unwrap();
        assert!(matches!(Lock::take(&folder), Err(LockFault::Io(_))));
        assert!(!dir.path().join("elsewhere").exists());
        assert_eq!((holder(&folder), looked(&folder).is_some()), (None, true));
    }

    /// A folder that cannot be written. Root may write anywhere, so it needs a mount of its own.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_read_only_folder() {
        struct Unmount<'a>(&'a std::path::Path);
        impl Drop for Unmount<'_> {
            fn drop(&mut self) {
                let _ = std::process::Command::new("umount").arg("-l").arg(self.0).output();
            }
        }
        let mount = |args: &[&str], at: &std::path::Path| {
            let mounted = std::process::Command::new("mount").args(args).arg(at).output();
            mounted.is_ok_and(|output| output.status.success())
        };
        let dir = tempfile::tempdir().unwrap();
        let mut _unmount = None;
        let read_only = |writable: bool| match rustix::process::geteuid().is_root() {
            true => mount(&["-o", if writable { "remount,rw" } else { "remount,ro" }], dir.path()),
            false => {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(if writable { 0o755 } else { 0o555 });
                std::fs::set_permissions(dir.path(), mode).is_ok()
            }
        };
        if rustix::process::geteuid().is_root() {
            if !mount(&["-t", "tmpfs", "tmpfs"], dir.path()) {
                return;
            }
            _unmount = Some(Unmount(dir.path()));
        }
        assert!(read_only(false));
        let folder = Beneath::open(dir.path()).unwrap();
        // Nobody to be kept out.
        let mut lock = Lock::take(&folder).unwrap();
        assert!(!lock.is_writable());
        lock.touch();
        assert!(lock.name(&Holder::here(1, 0)).is_err());
        drop(lock);
        assert_eq!((holder(&folder), looked(&folder)), (None, None));
        // A lock that is there is taken all the same.
        assert!(read_only(true));
        let mut held = Lock::take(&folder).unwrap();
        held.name(&Holder::here(3, 0)).unwrap();
        drop(held);
        if rustix::process::geteuid().is_root() {
            assert!(read_only(false));
            let lock = Lock::take(&folder).unwrap();
            assert!(!lock.is_writable());
            assert!(matches!(Lock::take(&folder), Err(LockFault::Held(None))));
            lock.touch();
        }
        assert!(read_only(true));
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
