//! The cache: results by key, and the bytes of their files by digest.
//!
//! Owns what is stored, when a blob is believed, and how a result comes back. An accelerator beside
//! `state`: never needed to be right. Never decides that a task is up to date, never makes way for
//! what it brings back (the bracket does). Must hold: a blob is stored before the record that names
//! it; what comes back is what the record says, or the answer is that it does not; a full disk or a
//! folder that cannot be written makes the cache step aside with one warning.

mod local;
mod memory;
mod saver;

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::disk::stamp_of;
pub use local::{Local, hash_file};
pub use memory::Memory;
pub use saver::{OpenOutput, Saver};

use crate::hash::{Digest, Framed, Stamp};
use crate::os::beneath::Beneath;
use crate::record::manifest::{Content, Key};
use crate::record::record::{Made, Record, Tree};

/// Up to here a file is copied into the cache where its blocks cannot be shared.
const COPIED: u64 = 16 << 20;

/// Content up to this size, in bytes, is kept in the record itself: a file of its own costs more.
const SMALL: u64 = 1 << 10;

/// Version of a stored record; another is not read.
const VERSION: u16 = 1;

/// What a store knows by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Name {
    /// The bytes of a file.
    Blob(Digest),
    /// A record: its key, and which of the key's records (a digest of what its command found by itself).
    Record(Key, Digest),
}

/// What came of copying a blob out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Got {
    /// All bytes are there.
    Copied,
    /// The store has no such blob.
    Missing,
    /// What it had was something else, and is removed.
    Damaged,
}

/// A place where blobs and records are kept. Safe to use from several threads and processes.
pub trait Store: Send + Sync {
    /// Which of these are there.
    fn has(&self, names: &[Name]) -> io::Result<Vec<bool>>;

    /// Copies a blob into a new, empty file. It is believed if its stamp is `trust`, else hashed on
    /// the way.
    fn get(&self, blob: &Digest, to: &File, trust: Option<&Stamp>) -> io::Result<Got>;

    /// Stores a file's bytes as a blob, if its blocks can be shared or it has at most `copied` bytes.
    /// The caller answers for `from` being those bytes.
    fn put(&self, blob: &Digest, from: &File, size: u64, copied: u64) -> io::Result<Put>;

    /// Takes a file over as a blob, by a rename. False: it cannot.
    fn adopt(&self, blob: &Digest, from: &Beneath, path: &str) -> io::Result<bool>;

    /// All records of a key, as they were saved: which, and its bytes. The newest first, where the
    /// store knows.
    fn records(&self, key: &Key) -> io::Result<Vec<(Digest, Vec<u8>)>>;

    /// Saves a record; one of this name is replaced.
    fn save(&self, key: &Key, which: &Digest, bytes: &[u8]) -> io::Result<()>;

    /// Marks as used just now.
    fn touch(&self, name: &Name);

    /// Removes. Nothing there is no error.
    fn remove(&self, name: &Name) -> io::Result<()>;
}

/// What came of storing a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It is there; the stamp if it is known to be right.
    Stored(Option<Stamp>),
    /// Too big to copy.
    TooBig,
}

/// What is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// What costs little: shared blocks, else up to 16 MiB a file; bigger outputs when they are replaced.
    #[default]
    Auto,
    /// Everything.
    All,
    /// Nothing, and nothing is looked up.
    Off,
}

/// A record with what makes its blobs believable.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Stamps of blobs that hold their bytes for sure.
    blobs: Vec<(Digest, Stamp)>,
    /// Small contents, which need no blob of their own.
    small: Vec<(Digest, Vec<u8>)>,
    /// The boot in which these stamps were taken: in another they say nothing.
    boot: u64,
}

impl Stored {
    /// A record of which the cache itself says nothing: its blobs are hashed while they are copied.
    pub fn of(record: Record) -> Stored {
        Stored { record, blobs: Vec::new(), small: Vec::new(), boot: 0 }
    }
}

/// What the cache knows of a key.
#[derive(Debug)]
pub enum Lookup {
    /// These records; one fits if what its command found is still so. The permit saves another.
    Hit(Vec<Arc<Stored>>, Permit),
    /// Nothing.
    Miss(Permit),
}

impl Lookup {
    /// The records, and the permit to save one more.
    pub fn parts(self) -> (Vec<Arc<Stored>>, Permit) {
        match self {
            Lookup::Hit(records, permit) => (records, permit),
            Lookup::Miss(permit) => (Vec::new(), permit),
        }
    }
}

/// The right to save a record of a key: had by looking it up.
#[derive(PartialEq, Eq, Debug)]
pub struct Permit(Key);

/// A result that could not come back from the cache.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The blob is gone.
    #[error("the cache no longer has `{0}`")]
    Missing(String),
    /// The blob was something else.
    #[error("what the cache had of `{0}` was damaged and is removed")]
    Damaged(String),
    /// It could not be written.
    #[error("cannot restore `{0}`: {1}")]
    Io(String, io::Error),
}

/// The cache.
pub struct Cache {
    store: Option<Box<dyn Store>>,
    keep: Keep,
    boot: u64,
    /// Nothing more is written.
    aside: AtomicBool,
    warning: Mutex<Option<String>>,
}

impl Cache {
    /// A cache on a store. `boot`: a number of this boot of the machine.
    pub fn new(store: Box<dyn Store>, keep: Keep, boot: u64) -> Cache {
        let store = (keep != Keep::Off).then_some(store);
        Cache { store, keep, boot, aside: AtomicBool::new(false), warning: Mutex::new(None) }
    }

    /// A cache in a folder; if that cannot be opened, none and a warning.
    pub fn local(folder: &std::path::Path, keep: Keep, boot: u64) -> Cache {
        if keep == Keep::Off {
            return Cache::off();
        }
        match Local::open(folder) {
            Ok(store) => Cache::new(Box::new(store), keep, boot),
            Err(error) => {
                let cache = Cache::off();
                cache.step_aside(&format!("cannot use `{}`", folder.display()), &error);
                cache
            }
        }
    }

    /// No cache: nothing is found, nothing is saved.
    pub fn off() -> Cache {
        Cache { store: None, keep: Keep::Off, boot: 0, aside: AtomicBool::new(false), warning: Mutex::new(None) }
    }

    /// The warning, once, if the cache stepped aside.
    pub fn warning(&self) -> Option<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn step_aside(&self, what: &str, error: &io::Error) {
        if !self.aside.swap(true, Ordering::Relaxed) {
            let warning = format!("the cache steps aside for this run: {what}: {error}");
            *self.warning.lock().unwrap_or_else(PoisonError::into_inner) = Some(warning);
        }
    }

    /// The store to write to.
    fn writes(&self) -> Option<&dyn Store> {
        self.store.as_deref().filter(|_| !self.aside.load(Ordering::Relaxed))
    }

    /// What is known of a key. What cannot be read counts as not there.
    pub fn lookup(&self, key: &Key) -> Lookup {
        let mut found = Vec::new();
        if let Some(store) = &self.store {
            for (_, bytes) in store.records(key).unwrap_or_default() {
                if let Some(stored) = decode(&bytes).filter(|stored| stored.record.key == *key) {
                    found.push(Arc::new(stored));
                }
            }
        }
        if found.is_empty() { Lookup::Miss(Permit(*key)) } else { Lookup::Hit(found, Permit(*key)) }
    }

    /// Which of these trees cannot come back, by their place in the list: a blob is not there.
    pub fn lacks(&self, trees: &[&Tree]) -> Vec<usize> {
        let mut blobs = Vec::new();
        for (index, tree) in trees.iter().enumerate() {
            each_blob(tree, &mut |digest, _| blobs.push((index, Name::Blob(digest))));
        }
        let names: Vec<Name> = blobs.iter().map(|(_, name)| *name).collect();
        let there = match &self.store {
            Some(store) => store.has(&names).unwrap_or_else(|_| vec![false; names.len()]),
            None => vec![false; names.len()],
        };
        let mut lacks: Vec<usize> = blobs.iter().zip(there).filter(|(_, there)| !there).map(|((index, _), _)| *index).collect();
        lacks.dedup();
        lacks
    }

    /// Whether these trees of a record can come back.
    pub fn can_restore(&self, record: &Record, trees: &[&Tree]) -> bool {
        let stored = self.lookup(&record.key).parts().0;
        let small = |digest: &Digest| stored.iter().any(|stored| stored.small.iter().any(|(small, _)| small == digest));
        let large: Vec<&Tree> = trees.iter().copied().filter(|tree| !matches!(tree, Tree::File { digest, .. } if small(digest))).collect();
        self.lacks(&large).is_empty()
    }

    /// Marks a record as used: what is used is collected last.
    pub fn used(&self, stored: &Stored) {
        if let Some(store) = self.writes() {
            store.touch(&Name::Record(stored.record.key, which(&stored.record)));
        }
    }

    /// Brings one file, link or folder (without members) of a record back, straight to its place,
    /// where nothing must stand (a folder may). Its parent must be there. Returns its stamp.
    pub fn restore(&self, stored: &Stored, what: &Tree, to: &Beneath, path: &str) -> Result<Stamp, Lost> {
        let io = |error| Lost::Io(path.to_string(), error);
        match what {
            Tree::Absent => Ok(Stamp::default()),
            Tree::File { digest, executable, bytes } => {
                let Some(store) = &self.store else { return Err(Lost::Missing(path.to_string())) };
                let mut file = to.new_file(path, if *executable { 0o777 } else { 0o666 }).map_err(io)?;
                if let Some((_, content)) = stored.small.iter().find(|(small, _)| small == digest) {
                    if Digest::of(content) != *digest {
                        return Err(Lost::Damaged(path.to_string()));
                    }
                    file.write_all(content).map_err(io)?;
                    return Ok(stamp_of(&rustix::fs::fstat(&file).map_err(|error| io(error.into()))?));
                }
                let trust = (stored.boot == self.boot).then(|| stored.blobs.iter().find(|(blob, _)| blob == digest)).flatten();
                match store.get(digest, &file, trust.map(|(_, stamp)| stamp)).map_err(io)? {
                    Got::Copied => {}
                    Got::Missing => return Err(Lost::Missing(path.to_string())),
                    Got::Damaged => return Err(Lost::Damaged(path.to_string())),
                }
                let stamp = stamp_of(&rustix::fs::fstat(&file).map_err(|error| io(error.into()))?);
                // A stranger's record may say anything.
                if stamp.size != *bytes { Err(Lost::Damaged(path.to_string())) } else { Ok(stamp) }
            }
            Tree::Link(text) => {
                to.make_link(text, path).map_err(io)?;
                stat(to, path).map_err(io)
            }
            Tree::Folder(_) => {
                match to.make_one(path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
                    _ => {}
                }
                stat(to, path).map_err(io)
            }
        }
    }

    /// Offers a file that is dropped, whose content is `what`: a big one, which was not copied,
    /// becomes its blob. Says whether it was taken. See [`crate::os::beneath`].
    pub fn adopt(&self, from: &Beneath, path: &str, what: &Tree) -> bool {
        let Tree::File { digest, bytes, .. } = what else { return false };
        // What is small was copied when it was made.
        let Some(store) = self.writes().filter(|_| self.keep != Keep::Auto || *bytes > crate::os::copy::SMALL) else { return false };
        match store.has(&[Name::Blob(*digest)]) {
            Ok(there) if there.first() == Some(&true) => false,
            // To another file system nothing can be lent; that is no trouble.
            _ => store.adopt(digest, from, path).unwrap_or(false),
        }
    }

    /// Saves a record after its blobs. `open` opens an output (or a file in one) for reading. A file
    /// whose stamp is no longer the record's, before or after, is not stored.
    pub fn save(&self, permit: Permit, record: &Record, open: &dyn Fn(&str) -> io::Result<File>) {
        if permit.0 != record.key {
            return;
        }
        let Some(store) = self.writes() else { return };
        let mut stored = Stored { boot: self.boot, ..Stored::of(record.clone()) };
        for made in &record.outputs {
            let put = match &made.what {
                Tree::Folder(members) => members.iter().try_for_each(|member| {
                    let path = || format!("{}/{}", made.path, member.name);
                    self.put(store, &member.what, &member.stamp, path, open, &mut stored)
                }),
                what => self.put(store, what, &made.stamp, || made.path.to_string(), open, &mut stored),
            };
            if let Err(error) = put {
                return self.step_aside(&format!("cannot store `{}`", made.path), &error);
            }
        }
        let saved = encode(&stored).and_then(|bytes| store.save(&record.key, &which(record), &bytes));
        if let Err(error) = saved {
            self.step_aside("cannot save a record", &error);
        }
    }

    fn put(
        &self,
        store: &dyn Store,
        what: &Tree,
        stamp: &Stamp,
        path: impl FnOnce() -> String,
        open: &dyn Fn(&str) -> io::Result<File>,
        stored: &mut Stored,
    ) -> io::Result<()> {
        let Tree::File { digest, bytes, .. } = what else { return Ok(()) };
        // Gone or replaced meanwhile: not ours to store.
        let Ok(file) = open(&path()) else { return Ok(()) };
        let same = || rustix::fs::fstat(&file).is_ok_and(|stat| stamp_of(&stat) == *stamp);
        if !same() {
            return Ok(());
        }
        if *bytes <= SMALL {
            let mut content = Vec::with_capacity(*bytes as usize + 1);
            (&file).take(SMALL + 1).read_to_end(&mut content)?;
            if Digest::of(&content) == *digest {
                stored.small.push((*digest, content));
            }
            return Ok(());
        }
        let copied = if self.keep == Keep::All { u64::MAX } else { COPIED };
        match store.put(digest, &file, *bytes, copied)? {
            Put::TooBig => {}
            Put::Stored(Some(stamp)) if same() => stored.blobs.push((*digest, stamp)),
            Put::Stored(Some(_)) => store.remove(&Name::Blob(*digest))?,
            Put::Stored(None) => {}
        }
        Ok(())
    }
}

fn stat(folder: &Beneath, path: &str) -> io::Result<Stamp> {
    folder.stat(path)?.as_ref().map(stamp_of).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Which of its key's records: one for each set of inputs that commands found by themselves.
fn which(record: &Record) -> Digest {
    let mut hash = Framed::new(b'f');
    for (path, content) in &record.found {
        hash.add(path.as_str().as_bytes());
        match content {
            Content::Is(digest) => hash.add(&digest.0),
            Content::Absent | Content::Pending(_) | Content::Unknown => hash.add(b""),
        }
    }
    hash.digest()
}

/// Every file in a tree: its digest and size.
pub fn each_blob(tree: &Tree, each: &mut dyn FnMut(Digest, u64)) {
    match tree {
        Tree::File { digest, bytes, .. } => each(*digest, *bytes),
        Tree::Folder(members) => {
            for member in members {
                if let Tree::File { digest, bytes, .. } = &member.what {
                    each(*digest, *bytes);
                }
            }
        }
        Tree::Link(_) | Tree::Absent => {}
    }
}

fn encode(stored: &Stored) -> io::Result<Vec<u8>> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    bytes = postcard::to_extend(stored, bytes).map_err(io::Error::other)?;
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    Ok(bytes)
}

/// Reads a stored record; `None` if it is damaged, of another version, or names what no record of
/// ours can: it may come from a stranger.
fn decode(bytes: &[u8]) -> Option<Stored> {
    let (framed, check) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(framed) != u32::from_le_bytes(*check) {
        return None;
    }
    let body = framed.strip_prefix(&VERSION.to_le_bytes())?;
    let stored: Stored = postcard::from_bytes(body).ok()?;
    stored.record.outputs.iter().all(is_plain).then_some(stored)
}

/// Whether all names in a folder output are plain, sorted, and below a folder that is listed.
fn is_plain(made: &Made) -> bool {
    let Tree::Folder(members) = &made.what else { return true };
    let sorted = members.iter().zip(members.iter().skip(1)).all(|(one, next)| one.name.as_bytes() < next.name.as_bytes());
    sorted
        && members.iter().all(|member| {
            let plain = member.name.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
            let bare = !matches!(&member.what, Tree::Folder(inside) if !inside.is_empty());
            let above = member.name.rsplit_once('/').is_none_or(|(above, _)| {
                let at = members.binary_search_by(|other| other.name.as_bytes().cmp(above.as_bytes()));
                at.ok().and_then(|at| members.get(at)).is_some_and(|above| matches!(above.what, Tree::Folder(_)))
            });
            plain && bare && above
        })
}

#[cfg(test)]
mod tests;
