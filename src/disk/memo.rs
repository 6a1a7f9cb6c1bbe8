//! What is known of files: which content belonged to which stamp.
//!
//! Reads nothing. Must hold: an answer is given for the very stamp it was kept with, and for no
//! other. By path and not by inode, since some file systems give many files one inode and one time.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::hash::{Digest, Stamp};
use crate::name::RelPath;

/// Enough that the threads of a machine seldom wait for each other.
const SHARDS: usize = 16;

/// What is known of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its stamp.
    pub stamp: Stamp,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Whether the digest belongs to the stamp for good. If not, it may be believed in this run,
    /// and must not be by the next.
    pub settled: bool,
}

/// Something that was read too soon after its last change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Open {
    pub path: RelPath,
    /// Whether a link at its end was followed.
    pub follow: bool,
    pub stamp: Stamp,
    /// Of a file its bytes, of a folder its listing.
    pub digest: Digest,
    /// Since when this stamp is known.
    pub since: Instant,
}

/// The digests of files by path and stamp. Shared by all threads.
#[derive(Default, Debug)]
pub struct Memo {
    shards: [Mutex<HashMap<RelPath, Known>>; SHARDS],
    hasher: std::hash::RandomState,
    open: Mutex<HashMap<RelPath, Open>>,
    /// How many are open, so that nobody locks for nothing.
    waiting: AtomicUsize,
}

impl Memo {
    fn shard(&self, path: &RelPath) -> MutexGuard<'_, HashMap<RelPath, Known>> {
        let at = self.hasher.hash_one(path) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<RelPath, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a path.
    pub fn get(&self, path: &RelPath) -> Option<Known> {
        self.shard(path).get(path).copied()
    }

    /// The digest of a path's bytes, if it was read with this stamp.
    pub fn digest(&self, path: &RelPath, stamp: &Stamp) -> Option<(Digest, bool)> {
        self.get(path).filter(|known| known.stamp == *stamp).map(|known| (known.digest, known.settled))
    }

    /// Keeps what an earlier run found out for good.
    pub fn know(&self, path: RelPath, stamp: Stamp, digest: Digest) {
        self.shard(&path).insert(path, Known { stamp, digest, settled: true });
    }

    /// A task wrote this path in place: whatever was read there is not believed any more.
    pub fn forget(&self, path: &RelPath) {
        self.shard(path).remove(path);
        self.close(path);
    }

    /// Flow itself renamed a file, stamped just before and just after: its digest goes along if
    /// nothing but ctime moved.
    pub fn moved(&self, from: &RelPath, to: &RelPath, before: &Stamp, after: &Stamp) {
        let Some(known) = self.shard(from).remove(from) else { return };
        let open = self.close(from);
        if known.stamp != *before || !before.same_but_ctime(after) {
            return;
        }
        self.shard(to).insert(to.clone(), Known { stamp: *after, ..known });
        if let Some(open) = open {
            self.wait(Open { path: to.clone(), stamp: *after, since: Instant::now(), ..open });
        }
    }

    /// Every path with what is known of it, in no order.
    pub fn each(&self, mut with: impl FnMut(&RelPath, &Known)) {
        for shard in &self.shards {
            for (path, known) in shard.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                with(path, known);
            }
        }
    }

    /// What must be read again at the end of the run, sorted.
    pub fn unsettled(&self) -> Vec<RelPath> {
        let mut paths: Vec<RelPath> = self.open().keys().cloned().collect();
        paths.sort_unstable();
        paths
    }

    /// For how long a path has been known with this stamp without being settled.
    pub(super) fn seen(&self, path: &RelPath, stamp: &Stamp) -> Duration {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        self.open().get(path).filter(|open| open.stamp == *stamp).map(|open| open.since.elapsed()).unwrap_or_default()
    }

    /// Keeps the digest of a file's bytes.
    pub(super) fn keep(&self, path: &RelPath, follow: bool, known: Known) {
        self.shard(path).insert(path.clone(), known);
        self.mark(path, follow, known);
    }

    /// Keeps only whether something must be read again.
    pub(super) fn mark(&self, path: &RelPath, follow: bool, known: Known) {
        let Known { stamp, digest, settled } = known;
        if settled {
            self.close(path);
            return;
        }
        let mut since = Instant::now();
        if let Some(old) = self.open().get(path).filter(|old| old.stamp == stamp) {
            since = old.since;
        }
        self.wait(Open { path: path.clone(), follow, stamp, digest, since });
    }

    /// All that waits.
    pub(super) fn waiting(&self) -> Vec<Open> {
        self.open().values().cloned().collect()
    }

    fn wait(&self, new: Open) {
        let mut open = self.open();
        open.insert(new.path.clone(), new);
        self.waiting.store(open.len(), Ordering::Relaxed);
    }

    fn close(&self, path: &RelPath) -> Option<Open> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut open = self.open();
        let old = open.remove(path);
        self.waiting.store(open.len(), Ordering::Relaxed);
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::normal(text).unwrap()
    }

    #[test]
    fn only_the_very_stamp_counts() {
        let memo = Memo::default();
        let stamp = Stamp { size: 1, ctime: 5, ..Stamp::default() };
        memo.know(path("a"), stamp, Digest::of(b"a"));
        assert_eq!(memo.digest(&path("a"), &stamp), Some((Digest::of(b"a"), true)));
        assert_eq!(memo.digest(&path("a"), &Stamp { ctime: 6, ..stamp }), None);
        assert_eq!(memo.digest(&path("b"), &stamp), None);
    }

    #[test]
    fn a_rename_of_our_own_keeps_the_digest() {
        let (a, b) = (path("a"), path("b"));
        let before = Stamp { size: 1, ctime: 5, ..Stamp::default() };
        let after = Stamp { ctime: 6, ..before };
        let memo = Memo::default();
        memo.know(a.clone(), before, Digest::of(b"a"));
        memo.moved(&a, &b, &before, &after);
        assert_eq!(memo.digest(&b, &after), Some((Digest::of(b"a"), true)));
        assert_eq!(memo.get(&a), None);
        memo.moved(&b, &a, &after, &Stamp { mtime: 1, ..after });
        assert_eq!((memo.get(&a), memo.get(&b)), (None, None), "somebody wrote in between");
        memo.know(a.clone(), before, Digest::of(b"a"));
        memo.moved(&a, &b, &after, &after);
        assert_eq!(memo.get(&b), None, "not the file that was read");
    }

    #[test]
    fn what_is_open_is_listed_until_settled() {
        let (a, b) = (path("a"), path("b"));
        let memo = Memo::default();
        let known = Known { stamp: Stamp::default(), digest: Digest::of(b"a"), settled: false };
        memo.keep(&b, true, known);
        memo.keep(&a, true, known);
        assert_eq!(memo.unsettled(), [a.clone(), b.clone()]);
        memo.moved(&a, &path("c"), &known.stamp, &known.stamp);
        assert_eq!(memo.unsettled(), [b.clone(), path("c")]);
        memo.keep(&b, true, Known { settled: true, ..known });
        memo.forget(&path("c"));
        assert_eq!(memo.unsettled(), []);
    }
}
