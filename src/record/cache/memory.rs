//! A store in memory: for tests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Got, Name, Put, Store};
use crate::hash::{Digest, Stamp};
use crate::os::beneath::Beneath;
use crate::record::manifest::Key;

/// A store in memory.
#[derive(Debug, Default)]
pub struct Memory {
    held: Mutex<BTreeMap<Name, Vec<u8>>>,
}

impl Memory {
    /// An empty one.
    pub fn new() -> Memory {
        Memory::default()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Name, Vec<u8>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn has(&self, names: &[Name]) -> io::Result<Vec<bool>> {
        let held = self.held();
        Ok(names.iter().map(|name| held.contains_key(name)).collect())
    }

    fn get(&self, blob: &Digest, mut to: &File, _: Option<&Stamp>) -> io::Result<Got> {
        let Some(bytes) = self.held().get(&Name::Blob(*blob)).cloned() else { return Ok(Got::Missing) };
        to.write_all(&bytes)?;
        Ok(Got::Copied)
    }

    fn put(&self, blob: &Digest, mut from: &File, size: u64, copied: u64) -> io::Result<Put> {
        if size > copied {
            return Ok(Put::TooBig);
        }
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        self.held().insert(Name::Blob(*blob), bytes);
        Ok(Put::Stored(Some(Stamp::default())))
    }

    fn adopt(&self, blob: &Digest, from: &Beneath, path: &str) -> io::Result<bool> {
        let mut bytes = Vec::new();
        from.read(path)?.read_to_end(&mut bytes)?;
        from.remove_file(path)?;
        self.held().insert(Name::Blob(*blob), bytes);
        Ok(true)
    }

    fn records(&self, key: &Key) -> io::Result<Vec<(Digest, Vec<u8>)>> {
        let held = self.held();
        let all = held.iter().filter_map(|(name, bytes)| match name {
            Name::Record(of, which) if of == key => Some((*which, bytes.clone())),
            _ => None,
        });
        Ok(all.collect())
    }

    fn save(&self, key: &Key, which: &Digest, bytes: &[u8]) -> io::Result<()> {
        self.held().insert(Name::Record(*key, *which), bytes.to_vec());
        Ok(())
    }

    fn touch(&self, _: &Name) {}

    fn remove(&self, name: &Name) -> io::Result<()> {
        self.held().remove(name);
        Ok(())
    }
}
