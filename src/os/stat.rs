//! `stat` and `open` for files that strangers may have put there.
//!
//! Knows no stamp and no rule. Must hold: nothing here blocks (a fifo, a lock) or keeps a descriptor
//! across `exec`; "not there" is an answer and no error.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;

pub use rustix::fs::Stat;

/// What stands at a path, seen from a folder; `None` if nothing does. Allocates nothing for a path
/// that is a `CStr` or short.
pub fn at(folder: BorrowedFd<'_>, path: impl Arg, follow: bool) -> Result<Option<Stat>, Errno> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    match rustix::fs::statat(folder, path, flags) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an open descriptor stands for.
pub fn of(file: BorrowedFd<'_>) -> Result<Stat, Errno> {
    rustix::fs::fstat(file)
}

/// Opens a file for reading. Whoever calls has looked before that it is regular, and looks again at
/// the descriptor: opening a device may already do something.
pub fn open_file(folder: BorrowedFd<'_>, path: impl Arg, follow: bool) -> Result<OwnedFd, Errno> {
    open(folder, path, if follow { OFlags::empty() } else { OFlags::NOFOLLOW })
}

/// Opens a folder for listing.
pub fn open_folder(folder: BorrowedFd<'_>, path: impl Arg) -> Result<OwnedFd, Errno> {
    open(folder, path, OFlags::DIRECTORY)
}

fn open(folder: BorrowedFd<'_>, path: impl Arg, more: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | more;
    path.into_with_c_str(|path| retry_on_intr(|| rustix::fs::openat(folder, path, flags, Mode::empty())))
}

/// Whether the file system is one whose times come from this machine's clock, in steps of a tick.
/// False for network file systems, FAT, and all that are not known.
#[cfg(target_os = "linux")]
pub fn has_local_clock(file: BorrowedFd<'_>) -> bool {
    const LOCAL: [u64; 9] = [
        0xEF53,      // ext4 and older
        0x5846_5342, // xfs
        0x9123_683E, // btrfs
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0x794C_7630, // overlayfs
        0xF2F5_2010, // f2fs
        0x2FC1_2FC1, // zfs
        0xCA45_1A4E, // bcachefs
    ];
    rustix::fs::fstatfs(file).is_ok_and(|about| LOCAL.contains(&(about.f_type as u64 & 0xFFFF_FFFF)))
}

/// Elsewhere no file system is known: a probe may still find that its times are fine.
#[cfg(not(target_os = "linux"))]
pub fn has_local_clock(_file: BorrowedFd<'_>) -> bool {
    false
}
