//! A cache in a folder.
//!
//! Owns its layout:
//!
//! ```text
//! v1/blobs/a/bcdef…            the bytes of a file, read-only, named by their digest
//! v1/records/a/bcdef…          the first record of a key; its mtime says when it was last used
//! v1/records/a/bcdef….d/WHICH  its other records
//! ```
//!
//! Sixteen folders of each kind, so that all can be kept open. Files are written straight under their
//! names: a blob is believed by its stamp or hashed while it is copied, a record has a checksum, so
//! what a process that died left half is noticed and replaced.
//!
//! Never hard links: a link shares later edits, mode and ctime with every other path. Must hold: no
//! reader takes half a file for a whole one; another format is another folder.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::{Got, Name, Put, Store};
use crate::disk::stamp_of;
use crate::hash::{Digest, Stamp};
use crate::os::beneath::{Beneath, is_gone, leads_out};
use crate::os::copy;
use crate::record::manifest::Key;

/// A record longer than this is no record.
const LONGEST: u64 = 1 << 30;

/// Bytes before a record: its checksum, and which of its key's it is.
const HEAD: usize = 4 + 32;

/// A cache in a folder.
#[derive(Debug)]
pub struct Local {
    folder: Beneath,
    /// The folders that are open: of blobs, then of records.
    shards: [OnceLock<Beneath>; 32],
}

/// What kind of thing a folder holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Blobs,
    Records,
}

impl Local {
    /// Opens the cache in a folder (which may be a link); it is made if it is not there.
    pub fn open(folder: &Path) -> io::Result<Local> {
        let folder = Beneath::create(folder)?.make_folder("v1")?;
        Ok(Local { folder, shards: [const { OnceLock::new() }; 32] })
    }

    /// The folder of a digest, and the digest's name in it. With `make` it is made if it is not there.
    fn shard(&self, of: Of, digest: &Digest, make: bool) -> io::Result<Option<(&Beneath, String)>> {
        let mut hex = digest.hex();
        let rest = hex.split_off(1);
        let nibble = usize::from(digest.0[0] >> 4);
        let slot = &self.shards[nibble + if of == Of::Blobs { 0 } else { 16 }];
        if let Some(open) = slot.get() {
            return Ok(Some((open, rest)));
        }
        let path = format!("{}/{hex}", if of == Of::Blobs { "blobs" } else { "records" });
        let opened = match make {
            true => self.folder.make_folder(&path)?,
            false => match self.folder.folder(&path) {
                Err(error) if is_gone(&error) => return Ok(None),
                other => other?,
            },
        };
        Ok(Some((slot.get_or_init(|| opened), rest)))
    }

    fn made(&self, of: Of, digest: &Digest) -> io::Result<(&Beneath, String)> {
        self.shard(of, digest, true)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Writes a file straight under its name: whoever reads it checks that it is whole. What stands
    /// there and is not, left by a process that died, is replaced.
    fn write(&self, folder: &Beneath, to: &str, mode: u32, write: impl FnOnce(&File) -> io::Result<bool>) -> io::Result<Option<File>> {
        let file = match folder.new_file(to, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                folder.remove_file(to)?;
                folder.new_file(to, mode)?
            }
            other => other?,
        };
        match write(&file) {
            Ok(true) => Ok(Some(file)),
            Ok(false) => {
                folder.remove_file(to)?;
                Ok(None)
            }
            Err(error) => {
                // The first error says more.
                let _ = folder.remove_file(to);
                Err(error)
            }
        }
    }

    /// Where a record lies in its key's folder: a key's first has the key's name.
    fn record_name(folder: &Beneath, key: &str, which: &Digest) -> io::Result<String> {
        let other = format!("{key}.d/{}", which.hex());
        Ok(match read_record(folder, key)? {
            Some((has, ..)) if has != *which => other,
            _ => key.to_string(),
        })
    }
}

/// A record's file: which of its key's it is, when it was last used, its bytes.
fn read_record(folder: &Beneath, name: &str) -> io::Result<Option<(Digest, i64, Vec<u8>)>> {
    let file = match folder.read(name) {
        Err(error) if is_gone(&error) => return Ok(None),
        other => other?,
    };
    let stat = stamp_of(&rustix::fs::fstat(&file)?);
    if stat.size > LONGEST {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.size).unwrap_or_default() + 1);
    file.take(stat.size).read_to_end(&mut bytes)?;
    let Some(crc) = bytes.get(..4).and_then(|head| head.try_into().ok()).map(u32::from_le_bytes) else { return Ok(None) };
    let Some(which) = bytes.get(4..HEAD).and_then(|head| head.try_into().ok()).map(Digest) else { return Ok(None) };
    if crc32c::crc32c(&bytes[4..]) != crc {
        return Ok(None);
    }
    bytes.drain(..HEAD);
    Ok(Some((which, stat.mtime, bytes)))
}

impl Store for Local {
    fn has(&self, names: &[Name]) -> io::Result<Vec<bool>> {
        names
            .iter()
            .map(|name| match name {
                Name::Blob(digest) => match self.shard(Of::Blobs, digest, false)? {
                    Some((folder, name)) => Ok(folder.stat(&name)?.is_some()),
                    None => Ok(false),
                },
                Name::Record(key, which) => match self.shard(Of::Records, &key.0, false)? {
                    Some((folder, name)) => Ok(read_record(folder, &Local::record_name(folder, &name, which)?)?.is_some()),
                    None => Ok(false),
                },
            })
            .collect()
    }

    fn get(&self, blob: &Digest, to: &File, trust: Option<&Stamp>) -> io::Result<Got> {
        let Some((folder, at)) = self.shard(Of::Blobs, blob, false)? else { return Ok(Got::Missing) };
        let from = match folder.read(&at) {
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
        folder.remove_file(&at)?;
        Ok(Got::Damaged)
    }

    fn put(&self, blob: &Digest, from: &File, size: u64, copied: u64) -> io::Result<Put> {
        let (folder, at) = self.made(Of::Blobs, blob)?;
        if folder.stat(&at)?.is_some_and(|stat| stamp_of(&stat).size == size) {
            // Perhaps damaged: only who wrote it knows its stamp to be good.
            return Ok(Put::Stored(None));
        }
        let file = self.write(folder, &at, 0o444, |to| {
            if size > copy::SMALL && copy::reflink(from, to) {
                return Ok(true);
            }
            Ok(size <= copied && copy::copy(from, to, size)? == size)
        })?;
        Ok(match file {
            Some(file) => Put::Stored(Some(stamp_of(&rustix::fs::fstat(&file)?))),
            None => Put::TooBig,
        })
    }

    fn adopt(&self, blob: &Digest, from: &Beneath, path: &str) -> io::Result<bool> {
        let (folder, at) = self.made(Of::Blobs, blob)?;
        let file = from.read(path)?;
        if rustix::fs::fstat(&file)?.st_nlink != 1 {
            // Some other path shares its bytes and its mode.
            return Ok(false);
        }
        match from.rename_to(path, folder, &at, false) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists || leads_out(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        // Believed or not, nobody is to write it, and no blob can be executed.
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o444))?;
        Ok(true)
    }

    fn records(&self, key: &Key) -> io::Result<Vec<(Digest, Vec<u8>)>> {
        let Some((folder, name)) = self.shard(Of::Records, &key.0, false)? else { return Ok(Vec::new()) };
        let Some(first) = read_record(folder, &name)? else { return Ok(Vec::new()) };
        let mut records = vec![first];
        let others = format!("{name}.d");
        for other in match folder.list(&others) {
            Err(error) if is_gone(&error) => Vec::new(),
            other => other?,
        } {
            if let Some(other) = other.to_str() {
                records.extend(read_record(folder, &format!("{others}/{other}"))?);
            }
        }
        records.sort_by_key(|(_, mtime, _)| std::cmp::Reverse(*mtime));
        Ok(records.into_iter().map(|(which, _, bytes)| (which, bytes)).collect())
    }

    fn save(&self, key: &Key, which: &Digest, bytes: &[u8]) -> io::Result<()> {
        let (folder, name) = self.made(Of::Records, &key.0)?;
        let to = Local::record_name(folder, &name, which)?;
        if to != name {
            folder.make_folder(&format!("{name}.d"))?;
        }
        self.write(folder, &to, 0o644, |mut file| {
            let mut whole = Vec::with_capacity(HEAD + bytes.len());
            whole.extend([0; 4]);
            whole.extend(which.0);
            whole.extend(bytes);
            let crc = crc32c::crc32c(&whole[4..]);
            whole[..4].copy_from_slice(&crc.to_le_bytes());
            file.write_all(&whole)?;
            Ok(true)
        })?;
        Ok(())
    }

    fn touch(&self, name: &Name) {
        // Only the order of collection hangs on it.
        let Name::Record(key, which) = name else { return };
        if let Ok(Some((folder, name))) = self.shard(Of::Records, &key.0, false)
            && let Ok(file) = Local::record_name(folder, &name, which).and_then(|name| folder.read(&name))
        {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    fn remove(&self, name: &Name) -> io::Result<()> {
        let found = match name {
            Name::Blob(digest) => self.shard(Of::Blobs, digest, false)?,
            Name::Record(key, which) => match self.shard(Of::Records, &key.0, false)? {
                Some((folder, name)) => Some((folder, Local::record_name(folder, &name, which)?)),
                None => None,
            },
        };
        let Some((folder, name)) = found else { return Ok(()) };
        match folder.remove_file(&name) {
            Err(error) if !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
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
