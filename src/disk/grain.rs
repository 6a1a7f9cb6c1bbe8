//! When a stamp is final: how fine the times of a file system are.
//!
//! A file that is changed twice within one step of its file system's clock, to the same size, has
//! one stamp for two contents. So a digest belongs to its stamp for good only if a later change
//! could not have the same times. Must hold: in doubt a stamp is not final; then the content is
//! hashed again when the step is over (see [`Disk::settle_all`](super::Disk::settle_all)).

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use crate::hash::Stamp;
use crate::os::stat;

use super::stamp_of;

/// Step of a local file system's clock: a kernel's tick is 10 ms at most, and a busy virtual machine
/// was seen to add 2.
const LOCAL: Duration = Duration::from_millis(20);
/// Step of FAT; network and unknown file systems are no worse.
const FAR: Duration = Duration::from_secs(2);
/// How often a probe must see what it hopes for.
const PROBES: usize = 3;

/// How fine the times of a file system are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grain {
    /// Every change after a `stat` gets a new time (multigrain, Linux 6.13).
    Every,
    /// Changes within this time may have the same times.
    Step(Duration),
}

/// What is known of each device, asked once.
#[derive(Default, Debug)]
pub(super) struct Grains(Mutex<HashMap<u64, Grain>>);

impl Grains {
    /// The grain of the file system that holds an open file with this stamp.
    pub(super) fn of(&self, stamp: &Stamp, file: BorrowedFd<'_>) -> Grain {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let grain = *known.entry(stamp.dev).or_insert_with(|| Grain::Step(if stat::has_local_clock(file) { LOCAL } else { FAR }));
        grain.seen_in(stamp)
    }

    /// The grain of a device that was asked before; the coarsest if it was not.
    pub(super) fn known(&self, stamp: &Stamp) -> Grain {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&stamp.dev).map_or(Grain::Step(FAR), |grain| grain.seen_in(stamp))
    }

    /// Finds out by writing whether the device of `folder` is multigrain, and keeps the answer. A
    /// folder that can't be written to is not asked.
    pub(super) fn probe(&self, folder: &Path) -> bool {
        match probe(folder) {
            Some((device, true)) => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(device, Grain::Every);
                true
            }
            _ => false,
        }
    }

    #[cfg(test)]
    pub(super) fn set(&self, device: u64, grain: Grain) {
        self.0.lock().unwrap().insert(device, grain);
    }
}

impl Grain {
    /// How long after a change the next one is sure to have another time.
    pub(super) fn step(self) -> Duration {
        match self {
            Grain::Every => Duration::ZERO,
            Grain::Step(step) => step,
        }
    }

    /// Times in whole seconds come from a coarse file system under a fine name (ext4 with small
    /// inodes), or were set by a program.
    fn seen_in(self, stamp: &Stamp) -> Grain {
        let whole = |time: i64| time % 1_000_000_000 == 0;
        match self {
            Grain::Step(_) if whole(stamp.mtime) && whole(stamp.ctime) => Grain::Step(FAR),
            grain => grain,
        }
    }

    /// Whether a stamp that was taken before and after reading can stand for what was read.
    /// `start`: wall time before the first `stat`. `seen`: for how long this very stamp had been
    /// known by then; this clock is ours, so it also settles files from a server whose clock is wrong.
    pub(super) fn is_final(self, stamp: &Stamp, start: SystemTime, seen: Duration) -> bool {
        match self {
            Grain::Every => true,
            Grain::Step(step) => {
                let start = start.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(step).as_nanos() as i64;
                seen > step || (stamp.mtime < start && stamp.ctime < start)
            }
        }
    }
}

/// Writes one byte again and again and looks after each: the device, and whether no two stamps agree.
fn probe(folder: &Path) -> Option<(u64, bool)> {
    let name = folder.join("grain");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(&name, flags, Mode::RUSR | Mode::WUSR).ok()?;
    let answer = (|| {
        let mut last = None;
        for _ in 0..2 * PROBES {
            rustix::io::pwrite(&file, b"x", 0).ok()?;
            let stamp = stamp_of(&stat::of(file.as_fd()).ok()?);
            if last == Some(stamp) {
                return Some((stamp.dev, false));
            }
            last = Some(stamp);
        }
        last.map(|stamp| (stamp.dev, true))
    })();
    let _ = rustix::fs::unlink(&name);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_times_are_final() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let at = |mtime: i64, ctime: i64| Stamp { mtime, ctime, ..Stamp::default() };
        let (old, new) = (99_000_000_001, 99_999_000_000);
        let grain = Grain::Step(LOCAL);
        assert!(grain.is_final(&at(old, old), start, Duration::ZERO));
        assert!(!grain.is_final(&at(new, old), start, Duration::ZERO));
        assert!(!grain.is_final(&at(old, new), start, Duration::ZERO));
        assert!(!grain.is_final(&at(200_000_000_001, old), start, Duration::ZERO), "a future time proves nothing");
        assert!(grain.is_final(&at(200_000_000_001, old), start, Duration::from_secs(1)), "but having stood does");
        assert!(Grain::Every.is_final(&at(new, new), start, Duration::ZERO));
        assert_eq!(grain.seen_in(&at(99_000_000_000, 98_000_000_000)), Grain::Step(FAR));
        assert_eq!(grain.seen_in(&at(99_000_000_000, 98_000_000_001)), grain);
    }

    #[test]
    fn a_probe_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let grains = Grains::default();
        let every = grains.probe(dir.path());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let file = std::fs::File::open(dir.path()).unwrap();
        let stamp = stamp_of(&stat::of(file.as_fd()).unwrap());
        assert_eq!(grains.of(&stamp, file.as_fd()) == Grain::Every, every);
        assert!(!grains.probe(Path::new("/nowhere")));
    }
}
