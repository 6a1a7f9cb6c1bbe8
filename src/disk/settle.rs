//! The end of a run: what was read too soon after its last change is read again.

use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::hash::{Digest, Kind, Stamp};
use crate::name::RelPath;

use super::memo::Open;
use super::{Disk, DiskFault, TRIES};

impl Disk {
    /// Waits until the step of the clock is over for all that is not settled, and reads it again: a
    /// second stamp would prove nothing. Gives what holds something else than was said of it (or is
    /// gone), sorted. Afterwards nothing is unsettled but what somebody writes all the time.
    pub fn settle_all(&self) -> Vec<RelPath> {
        let mut changed = Vec::new();
        for _ in 0..TRIES {
            let open = self.memo.waiting();
            let Some(until) = open.iter().map(|open| self.final_from(open)).max() else { break };
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            changed.par_extend(open.into_par_iter().filter_map(|open| match self.again(&open) {
                Ok(Some((_, digest))) => (digest != open.digest).then_some(open.path),
                // What can't be read any more is not what was read.
                Ok(None) | Err(_) => {
                    self.memo.forget(&open.path);
                    Some(open.path)
                }
            }));
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    fn final_from(&self, open: &Open) -> Instant {
        open.since + self.grains.known(&open.stamp).step() + Duration::from_millis(1)
    }

    /// What it holds now.
    fn again(&self, open: &Open) -> Result<Option<(Stamp, Digest)>, DiskFault> {
        Ok(match open.stamp.kind() {
            Kind::Folder => self.list_anew(&open.path)?.map(|listing| (listing.stamp, listing.digest())),
            Kind::Link => self.link(&open.path)?.map(|(stamp, text, _)| (stamp, Digest::of(text.as_bytes()))),
            Kind::File | Kind::Other => self.hash(&open.path, open.follow)?.map(|known| (known.stamp, known.digest)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use super::*;
    use crate::disk::View;
    use crate::disk::grain::Grain;
    use crate::disk::stamp_of;
    use crate::disk::tests::{disk, path};
    use crate::os::stat;
    use crate::record::record::Tree;

    /// A disk whose clock is said to be coarse.
    fn coarse() -> (tempfile::TempDir, Disk) {
        let (dir, disk) = disk();
        let device = stamp_of(&stat::of(disk.root().as_fd()).unwrap()).dev;
        disk.grains.set(device, Grain::Step(Duration::from_millis(30)));
        (dir, disk)
    }

    #[test]
    fn an_edit_in_the_same_tick_is_found() {
        let (dir, disk) = coarse();
        let (a, b) = (path("a"), path("b"));
        fs::write(dir.path().join("a"), "one").unwrap();
        fs::write(dir.path().join("b"), "one").unwrap();
        let before = disk.see(&a, View::Input).unwrap().unwrap();
        disk.see(&b, View::Input).unwrap();
        assert!(!before.settled);
        assert_eq!(disk.memo().unsettled(), [a.clone(), b.clone()]);
        // The same stamp for another content, as a coarse clock would leave it.
        fs::write(dir.path().join("a"), "two").unwrap();
        let now = disk.stamp(&a, true).unwrap().unwrap();
        let known = disk.memo().get(&a).unwrap();
        disk.memo().keep(&a, true, crate::disk::Known { stamp: now, ..known });
        assert_eq!(disk.see(&a, View::Input).unwrap().unwrap().tree, before.tree, "not seen by its stamp");

        assert_eq!(disk.settle_all(), std::slice::from_ref(&a));
        assert_eq!(disk.memo().unsettled(), []);
        let after = disk.see(&a, View::Input).unwrap().unwrap();
        assert!(after.settled);
        assert_eq!(after.tree, Tree::File { digest: Digest::of(b"two"), executable: false, bytes: 3 });
    }

    #[test]
    fn listings_links_and_what_is_gone() {
        let (dir, disk) = coarse();
        for name in ["d", "e"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("f"), "x").unwrap();
            std::os::unix::fs::symlink("nowhere", dir.path().join(name).join("l")).unwrap();
        }
        assert!(!disk.see(&path("d"), View::Output).unwrap().unwrap().settled);
        assert!(!disk.see(&path("e"), View::Output).unwrap().unwrap().settled);
        assert_eq!(disk.memo().unsettled().len(), 6);
        fs::write(dir.path().join("d/new"), "").unwrap();
        fs::remove_file(dir.path().join("d/f")).unwrap();
        fs::remove_file(dir.path().join("d/l")).unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("d/l")).unwrap();
        assert_eq!(disk.settle_all(), ["d", "d/f", "d/l"].map(path));
        assert_eq!(disk.memo().unsettled(), []);
        assert_eq!(disk.settle_all(), []);
        assert!(disk.see(&path("e"), View::Output).unwrap().unwrap().settled);
    }
}
