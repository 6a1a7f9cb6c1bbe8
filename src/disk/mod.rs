//! What is on disk, as values: stamps, digests, trees, listings, globs.
//!
//! Knows no task and writes nothing (but for the byte of a probe). Must hold:
//!
//! - a digest is given only with a stamp that was there before and after reading; as long as that
//!   stamp stands, nothing is read again;
//! - what was read too soon after its last change to be sure is listed by [`Memo::unsettled`] and
//!   read again by [`Disk::settle_all`];
//! - fifos, sockets and devices are never opened; deep folders and link loops end.
//!
//! Paths are as in [`RelPath`], seen from the workspace; those that lead outside work too.

mod fault;
mod glob;
mod grain;
mod list;
mod memo;
mod read;
mod settle;
mod table;
mod tree;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::hash::{Digest, Stamp};
use crate::name::RelPath;
use crate::os::stat;

pub use self::fault::DiskFault;
pub use self::glob::Globbed;
pub use self::list::{Entry, Listing};
pub use self::memo::{Known, Memo};
pub use self::read::read_small;
pub use self::table::{PathId, PathTable};
pub use self::tree::{Seen, View};

/// How often something that changes while it is looked at is looked at again.
const TRIES: usize = 4;

/// A workspace on disk, and what is known of its files. Shared by all threads.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    root: OwnedFd,
    trusting: bool,
    memo: Memo,
    grains: grain::Grains,
    listings: list::Listings,
}

impl Disk {
    /// The workspace in this folder.
    pub fn new(root: PathBuf) -> Result<Disk, DiskFault> {
        let open = stat::open_folder(rustix::fs::CWD, root.as_path());
        let open = open.map_err(|error| DiskFault::system(root.to_string_lossy(), error))?;
        Ok(Disk {
            path: root,
            root: open,
            trusting: true,
            memo: Memo::default(),
            grains: grain::Grains::default(),
            listings: list::Listings::default(),
        })
    }

    /// Trusts no stamp of an earlier run (`--rehash`): [`Disk::know`] does nothing.
    pub fn rehash(mut self) -> Disk {
        self.trusting = false;
        self
    }

    /// The workspace's folder, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The workspace's folder, open.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// What is known of files so far.
    pub fn memo(&self) -> &Memo {
        &self.memo
    }

    /// Hands in what an earlier run found out for good: the digest of a file's bytes.
    pub fn know(&self, path: RelPath, stamp: Stamp, digest: Digest) {
        if self.trusting {
            self.memo.know(path, stamp, digest);
        }
    }

    /// Finds out by writing in `folder` (flow's own) whether its file system gives every change
    /// after a look a new time; then nothing there has to be read twice. To be asked once a run, by
    /// a run that writes.
    pub fn probe(&self, folder: &Path) -> bool {
        self.grains.probe(folder)
    }

    /// The stamp of a path, of what a link there leads to if `follow`; `None` if nothing is there.
    pub fn stamp(&self, path: &RelPath, follow: bool) -> Result<Option<Stamp>, DiskFault> {
        match stat::at(self.root(), path.as_str(), follow) {
            Ok(stat) => Ok(stat.as_ref().map(stamp_of)),
            Err(error) => Err(DiskFault::system(path.as_str(), error)),
        }
    }

    /// The stamps of many paths, see [`PathTable::mixes`].
    pub fn mixes(&self, table: &PathTable, out: &mut Vec<u64>) {
        table.mixes(self.root(), out);
    }
}

/// A member of a folder, as a path.
fn child(folder: &RelPath, name: &str) -> RelPath {
    RelPath(match folder.as_str() {
        "." => name.into(),
        "/" => format!("/{name}").into(),
        folder => format!("{folder}/{name}").into(),
    })
}

/// What the system says as a stamp. Sizes of these fields differ between systems.
#[allow(clippy::unnecessary_cast)]
/// The stamp of a path anywhere, links followed; `None`: nothing is there, or it cannot be looked at.
pub fn stamp(path: &Path) -> Option<Stamp> {
    stat::at(rustix::fs::CWD, path, true).ok().flatten().as_ref().map(stamp_of)
}

/// The stamp of what `stat` says.
#[allow(clippy::unnecessary_cast)] // other widths on other systems
pub fn stamp_of(stat: &stat::Stat) -> Stamp {
    let nanoseconds = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    Stamp {
        size: stat.st_size as u64,
        mtime: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        ino: stat.st_ino as u64,
        dev: stat.st_dev as u64,
        mode: stat.st_mode as u32,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    pub(super) fn path(text: &str) -> RelPath {
        RelPath::normal(text).unwrap()
    }

    pub(super) fn disk() -> (tempfile::TempDir, Disk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path().into()).unwrap();
        (dir, disk)
    }

    pub(super) fn fifo(at: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(at).status().unwrap().success());
    }

    #[test]
    fn stamps_follow_links_or_not() {
        let (dir, disk) = disk();
        fs::write(dir.path().join("f"), "x").unwrap();
        for (to, name) in [("f", "l"), ("gone", "dangling"), ("loop", "loop")] {
            std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        }
        let stamp = |name: &str, follow| disk.stamp(&path(name), follow);
        assert_eq!(stamp("l", true), stamp("f", false));
        assert_ne!(stamp("l", false), stamp("l", true));
        assert_eq!(stamp("dangling", true), Ok(None));
        assert!(matches!(stamp("dangling", false), Ok(Some(_))));
        assert_eq!((stamp("gone", true), stamp("f/x", true)), (Ok(None), Ok(None)));
        assert!(matches!(stamp("loop", true), Err(DiskFault::System { .. })));
        assert!(matches!(stamp(&dir.path().join("f").display().to_string(), true), Ok(Some(_))));
    }

    #[test]
    fn many_stamps_are_the_single_ones() {
        let (dir, disk) = disk();
        let mut table = PathTable::new();
        let mut wanted = Vec::new();
        for at in 0..1500 {
            let name = path(&format!("f{at}"));
            if at % 3 != 0 {
                fs::write(dir.path().join(name.as_str()), "x").unwrap();
            }
            table.push(name.as_str(), at % 2 == 0);
            wanted.push(disk.stamp(&name, true).unwrap().map_or(0, |stamp| stamp.mix()));
        }
        let mut out = vec![7];
        disk.mixes(&table, &mut out);
        assert_eq!(out, wanted);
    }

    #[test]
    fn there_must_be_a_workspace() {
        let gone = Disk::new("/nowhere/x".into()).unwrap_err();
        assert_eq!(gone.to_string(), "`/nowhere/x` is not there");
    }
}
