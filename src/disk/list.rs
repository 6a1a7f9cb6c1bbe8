//! Listings of folders.
//!
//! Must hold: a listing was taken between two equal stamps of its folder.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::hash::{Digest, Framed, Kind, Stamp};
use crate::name::RelPath;
use crate::os::stat;

use super::fault::DiskFault;
use super::memo::Known;
use super::{Disk, TRIES, stamp_of};

/// Names that are kept in memory for the next glob in the same folder.
const KEPT_NAMES: usize = 200_000;

/// What a folder holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// The folder's stamp, before and after listing it.
    pub stamp: Stamp,
    /// Its members, sorted bytewise by name.
    pub entries: Vec<Entry>,
    /// Names that are not UTF-8, as they are.
    pub odd: Vec<Vec<u8>>,
    /// Whether the listing belongs to the stamp for good; if not, it is listed again at the end of
    /// the run.
    pub settled: bool,
}

/// A member of a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name.
    pub name: Box<str>,
    /// What it is; links are not followed.
    pub kind: Kind,
}

/// Listings by folder, up to [`KEPT_NAMES`].
#[derive(Default, Debug)]
pub(super) struct Listings(Mutex<(HashMap<RelPath, Arc<Listing>>, usize)>);

impl Listing {
    /// The digest of names and kinds.
    pub(super) fn digest(&self) -> Digest {
        let mut hash = Framed::new(b'L');
        for entry in &self.entries {
            hash.add(entry.name.as_bytes());
            hash.add(&[entry.kind as u8]);
        }
        hash.add(b"");
        for name in &self.odd {
            hash.add(name);
        }
        hash.digest()
    }

    /// The members whose name begins like this.
    pub(super) fn beginning(&self, with: &str) -> &[Entry] {
        let start = self.entries.partition_point(|entry| &*entry.name < with);
        let rest = self.entries.get(start..).unwrap_or_default();
        let count = rest.partition_point(|entry| entry.name.starts_with(with));
        rest.get(..count).unwrap_or_default()
    }
}

impl Listings {
    fn get(&self, folder: &RelPath, stamp: &Stamp) -> Option<Arc<Listing>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0.get(folder).filter(|listing| listing.stamp == *stamp).cloned()
    }

    fn keep(&self, folder: &RelPath, listing: &Arc<Listing>) {
        if !listing.settled || listing.entries.len() > KEPT_NAMES {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (map, names) = &mut *kept;
        if *names + listing.entries.len() > KEPT_NAMES {
            map.clear();
            *names = 0;
        }
        *names += listing.entries.len() + 1;
        if let Some(old) = map.insert(folder.clone(), listing.clone()) {
            *names = names.saturating_sub(old.entries.len() + 1);
        }
    }
}

impl Disk {
    /// What a folder holds; `None` if it is not there. A listing whose stamp still stands is not
    /// taken twice.
    pub fn list(&self, folder: &RelPath) -> Result<Option<Arc<Listing>>, DiskFault> {
        let Some(stamp) = self.stamp(folder, true)? else { return Ok(None) };
        if let Some(listing) = self.listings.get(folder, &stamp) {
            return Ok(Some(listing));
        }
        let listing = self.list_anew(folder)?.map(Arc::new);
        if let Some(listing) = &listing {
            self.listings.keep(folder, listing);
        }
        Ok(listing)
    }

    /// Lists a folder.
    pub(super) fn list_anew(&self, folder: &RelPath) -> Result<Option<Listing>, DiskFault> {
        let fault = |error| DiskFault::system(folder.as_str(), error);
        for _ in 0..TRIES {
            let start = SystemTime::now();
            let open = match stat::open_folder(self.root(), folder.as_str()) {
                Ok(open) => open,
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(fault(error)),
            };
            let stamp = stamp_of(&stat::of(open.as_fd()).map_err(fault)?);
            let seen = self.memo.seen(folder, &stamp);
            let Some((entries, odd)) = names(&open).map_err(fault)? else { continue };
            if self.stamp(folder, true)? != Some(stamp) {
                continue;
            }
            let settled = self.grains.of(&stamp, open.as_fd()).is_final(&stamp, start, seen);
            let listing = Listing { stamp, entries, odd, settled };
            let digest = if settled { Digest([0; 32]) } else { listing.digest() };
            self.memo.mark(folder, true, Known { stamp, digest, settled });
            return Ok(Some(listing));
        }
        Err(DiskFault::Changing { path: folder.as_str().into() })
    }
}

type Names = (Vec<Entry>, Vec<Vec<u8>>);

/// The members of an open folder; `None` if one went away meanwhile.
fn names(open: &std::os::fd::OwnedFd) -> Result<Option<Names>, Errno> {
    let mut entries = Vec::new();
    let mut odd = Vec::new();
    for entry in rustix::fs::Dir::read_from(open)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            // Some file systems don't say.
            FileType::Unknown => match stat::at(open.as_fd(), name, false)? {
                Some(stat) => stamp_of(&stat).kind(),
                None => return Ok(None),
            },
            _ => Kind::Other,
        };
        match name.to_str() {
            Ok(name) => entries.push(Entry { name: name.into(), kind }),
            Err(_) => odd.push(name.to_bytes().to_vec()),
        }
    }
    entries.sort_unstable_by(by_name);
    odd.sort_unstable();
    Ok(Some((entries, odd)))
}

fn by_name(a: &Entry, b: &Entry) -> Ordering {
    a.name.cmp(&b.name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::tests::{disk, path};

    #[test]
    fn names_and_kinds() {
        let (dir, disk) = disk();
        for name in ["b", "a", "B"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("d")).unwrap();
        std::os::unix::fs::symlink("d", dir.path().join("l")).unwrap();
        let listing = disk.list(&path(".")).unwrap().unwrap();
        let names: Vec<(&str, Kind)> = listing.entries.iter().map(|entry| (&*entry.name, entry.kind)).collect();
        assert_eq!(names, [("B", Kind::File), ("a", Kind::File), ("b", Kind::File), ("d", Kind::Folder), ("l", Kind::Link)]);
        assert_eq!(disk.list(&path("gone")), Ok(None));
        assert_eq!(disk.list(&path("a/x")), Ok(None));
        assert_eq!(disk.list(&path("a")), Err(DiskFault::NotAFolder { path: "a".into() }));
    }

    #[test]
    fn a_moved_stamp_lists_again() {
        let (dir, disk) = disk();
        disk.probe(dir.path());
        let first = disk.list(&path(".")).unwrap().unwrap();
        fs::write(dir.path().join("new"), "").unwrap();
        let second = disk.list(&path(".")).unwrap().unwrap();
        assert_eq!((first.entries.len(), second.entries.len()), (0, 1));
    }

    #[test]
    fn names_that_begin_alike() {
        let entries = ["a", "ab", "abc", "ac", "b"].map(|name| Entry { name: name.into(), kind: Kind::File }).to_vec();
        let listing = Listing { stamp: Stamp::default(), entries, odd: Vec::new(), settled: true };
        let count = |with: &str| listing.beginning(with).len();
        assert_eq!((count(""), count("ab"), count("b"), count("c"), count("abcd")), (5, 2, 1, 0, 0));
    }
}
