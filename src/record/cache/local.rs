//! A cache in a folder.
//!
//! Owns its layout:
//!
//! ```text
//! v1/blobs/ab/cdef…            the bytes of a file, read-only, named by their digest
//! v1/records/ab/cdef…/WHICH    a record of a key; its mtime says when it was last used
//! v1/tmp/                      what is being written
//! ```
//!
//! Never hard links: a link shares later edits, mode and ctime with every other path. Must hold: a
//! file under its name is whole, since it got there by a rename; another format is another folder.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::{Got, Name, Put, Store};
use crate::hash::{Digest, Stamp};
use crate::os::beneath::{Beneath, is_gone, leads_out};
use crate::os::copy;
use crate::record::manifest::Key;

/// A record longer than this is no record.
const LONGEST: u64 = 1 << 30;

/// A cache in a folder.
#[derive(Debug)]
pub struct Local {
    folder: Beneath,
    next: AtomicU64,
}

impl Local {
    /// Opens the cache in a folder (which may be a link); it is made if it is not there.
    pub fn open(folder: &Path) -> io::Result<Local> {
        let folder = Beneath::create(folder)?.make_folder("v1")?;
        folder.make_folder("tmp")?;
        Ok(Local { folder, next: AtomicU64::new(0) })
    }

    /// A new file that nobody else writes, and its name.
    fn new_file(&self, mode: u32) -> io::Result<(File, String)> {
        loop {
            let name = format!("tmp/{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed));
            match self.folder.new_file(&name, mode) {
                // Left by a process of this number that died.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.folder.make_folder("tmp")?;
                    return Ok((self.folder.new_file(&name, mode)?, name));
                }
                other => return Ok((other?, name)),
            }
        }
    }

    /// Writes a file under its name, by a rename.
    fn write(&self, to: &str, mode: u32, write: impl FnOnce(&File) -> io::Result<bool>) -> io::Result<Option<File>> {
        let (file, name) = self.new_file(mode)?;
        let written = write(&file).and_then(|whole| {
            if whole {
                self.folder.rename(&name, to)?;
            }
            Ok(whole)
        });
        match written {
            Ok(true) => Ok(Some(file)),
            Ok(false) => {
                self.folder.remove_file(&name)?;
                Ok(None)
            }
            Err(error) => {
                // The first error says more.
                let _ = self.folder.remove_file(&name);
                Err(error)
            }
        }
    }
}

fn split(digest: &Digest) -> (String, String) {
    let hex = digest.hex();
    let (shard, rest) = hex.split_at(2);
    (shard.to_string(), rest.to_string())
}

fn blob_path(digest: &Digest) -> String {
    let (shard, rest) = split(digest);
    format!("blobs/{shard}/{rest}")
}

fn key_path(key: &Key) -> String {
    let (shard, rest) = split(&key.0);
    format!("records/{shard}/{rest}")
}

fn path(name: &Name) -> String {
    match name {
        Name::Blob(digest) => blob_path(digest),
        Name::Record(key, which) => format!("{}/{}", key_path(key), which.hex()),
    }
}

impl Store for Local {
    fn has(&self, names: &[Name]) -> io::Result<Vec<bool>> {
        names.iter().map(|name| Ok(self.folder.stat(&path(name))?.is_some())).collect()
    }

    fn get(&self, blob: &Digest, to: &File, trust: Option<&Stamp>) -> io::Result<Got> {
        let at = blob_path(blob);
        let from = match self.folder.read(&at) {
            Err(error) if is_gone(&error) => return Ok(Got::Missing),
            other => other?,
        };
        let stamp = stamp_of(&rustix::fs::fstat(&from)?);
        if trust == Some(&stamp) {
            if stamp.size <= copy::SMALL || !copy::reflink(&from, to) {
                copy::copy(&from, to, stamp.size)?;
            }
            return Ok(Got::Copied);
        }
        let mut hasher = blake3::Hasher::new();
        copy::copy_seen(&from, to, stamp.size, |bytes| {
            hasher.update(bytes);
        })?;
        if Digest(*hasher.finalize().as_bytes()) == *blob {
            return Ok(Got::Copied);
        }
        self.folder.remove_file(&at)?;
        Ok(Got::Damaged)
    }

    fn put(&self, blob: &Digest, from: &File, size: u64, copied: u64) -> io::Result<Put> {
        let at = blob_path(blob);
        if self.folder.stat(&at)?.is_some() {
            // Perhaps damaged: only who wrote it knows its stamp to be good.
            return Ok(Put::Stored(None));
        }
        let file = self.write(&at, 0o444, |to| {
            if size > copy::SMALL && copy::reflink(from, to) {
                return Ok(true);
            }
            Ok(size <= copied && copy::copy(from, to, size)? == size)
        })?;
        Ok(match file {
            // The rename moved ctime, so the stamp is taken after it.
            Some(file) => Put::Stored(Some(stamp_of(&rustix::fs::fstat(&file)?))),
            None => Put::TooBig,
        })
    }

    fn adopt(&self, blob: &Digest, from: &Beneath, path: &str) -> io::Result<bool> {
        let at = blob_path(blob);
        let file = from.read(path)?;
        if rustix::fs::fstat(&file)?.st_nlink != 1 {
            // Some other path shares its bytes and its mode.
            return Ok(false);
        }
        match from.rename_to(path, &self.folder, &at, false) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists || leads_out(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        // Believed or not, nobody is to write it, and no blob can be executed.
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o444))?;
        Ok(true)
    }

    fn records(&self, key: &Key) -> io::Result<Vec<(Digest, Vec<u8>)>> {
        let folder = key_path(key);
        let names = match self.folder.list(&folder) {
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            other => other?,
        };
        let mut records = Vec::new();
        for name in names {
            let Some(which) = name.to_str().and_then(Digest::from_hex) else { continue };
            let file = match self.folder.read(&format!("{folder}/{}", which.hex())) {
                Err(error) if is_gone(&error) => continue,
                other => other?,
            };
            let stat = stamp_of(&rustix::fs::fstat(&file)?);
            if stat.size > LONGEST {
                continue;
            }
            let mut bytes = Vec::with_capacity(usize::try_from(stat.size).unwrap_or_default() + 1);
            file.take(stat.size).read_to_end(&mut bytes)?;
            records.push((stat.mtime, which, bytes));
        }
        records.sort_by_key(|(mtime, ..)| std::cmp::Reverse(*mtime));
        Ok(records.into_iter().map(|(_, which, bytes)| (which, bytes)).collect())
    }

    fn save(&self, key: &Key, which: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.write(&path(&Name::Record(*key, *which)), 0o644, |mut file| {
            file.write_all(bytes)?;
            Ok(true)
        })?;
        Ok(())
    }

    fn touch(&self, name: &Name) {
        // Only the order of collection hangs on it.
        if let Ok(file) = self.folder.read(&path(name)) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    fn remove(&self, name: &Name) -> io::Result<()> {
        match self.folder.remove_file(&path(name)) {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// The stamp of what `stat` says.
#[allow(clippy::unnecessary_cast)] // other widths on other systems
pub fn stamp_of(stat: &rustix::fs::Stat) -> Stamp {
    let nanoseconds = |seconds: i64, part: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(part);
    Stamp {
        size: stat.st_size as u64,
        mtime: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        ino: stat.st_ino as u64,
        dev: stat.st_dev as u64,
        mode: stat.st_mode as u32,
    }
}

/// The digest of a file's bytes; `size` is what it is expected to hold.
pub fn hash_file(mut file: File, size: u64) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; usize::try_from(size.saturating_add(1)).unwrap_or(usize::MAX).clamp(4 << 10, 256 << 10)];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest(*hasher.finalize().as_bytes())),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
