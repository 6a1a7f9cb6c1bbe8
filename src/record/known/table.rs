//! Values by name: many that never change while a run goes on, and a few that do.
//!
//! Owns their bytes in a section of `state`. What was read stays in the form it had on disk and a value is
//! decoded when it is asked for, so that reading a hundred thousand costs no more than reading their bytes.
//! Knows nothing of what the values are. Must hold: each name is there once; bytes that do not hold
//! together are no table; values that do not decode are not there.
//!
//! ```text
//! count u32, end of each name u32, end of each value u32, names, values
//! ```
//!
//! Names are sorted bytewise.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value, and whether it comes from the section: places in it count from there.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Found<V> {
    /// As it was read.
    Stored(V),
    /// Put here since.
    Put(V),
}

/// Values by name.
#[derive(Debug)]
pub(super) struct Table<V> {
    names: String,
    name_ends: Vec<u32>,
    values: Vec<u8>,
    value_ends: Vec<u32>,
    /// Places by hash: open addressing, 0 is empty, else the place and one.
    index: OnceLock<Vec<u32>>,
    hasher: RandomState,
    /// What differs from the section; `None`: it was removed.
    changed: HashMap<Arc<str>, Option<Box<[u8]>>>,
    #[cfg(test)]
    pub(super) decoded: std::sync::atomic::AtomicU64,
    _value: PhantomData<fn() -> V>,
}

impl<V> Default for Table<V> {
    fn default() -> Table<V> {
        Table {
            names: String::new(),
            name_ends: Vec::new(),
            values: Vec::new(),
            value_ends: Vec::new(),
            index: OnceLock::new(),
            hasher: RandomState::new(),
            changed: HashMap::new(),
            #[cfg(test)]
            decoded: std::sync::atomic::AtomicU64::new(0),
            _value: PhantomData,
        }
    }
}

impl<V: Serialize + DeserializeOwned> Table<V> {
    /// Reads a section; `None` if it does not hold together.
    pub(super) fn read(bytes: &[u8]) -> Option<Table<V>> {
        let (count, rest) = bytes.split_at_checked(4)?;
        let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
        let ends =
            |bytes: &[u8]| -> Vec<u32> { bytes.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_le_bytes).collect() };
        let (name_ends, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
        let (value_ends, rest) = rest.split_at_checked(count.checked_mul(4)?)?;
        let (name_ends, value_ends) = (ends(name_ends), ends(value_ends));
        let (names, values) = rest.split_at_checked(name_ends.last().map_or(0, |end| *end as usize))?;
        let names = std::str::from_utf8(names).ok()?;
        let mut before: Option<&str> = None;
        let mut start = 0;
        for end in &name_ends {
            let name = names.get(start..*end as usize)?;
            if before.is_some_and(|before| before >= name) {
                return None;
            }
            before = Some(name);
            start = *end as usize;
        }
        if !value_ends.is_sorted() || value_ends.last().map_or(0, |end| *end as usize) != values.len() {
            return None;
        }
        Some(Table { names: names.to_string(), name_ends, values: values.to_vec(), value_ends, ..Table::default() })
    }

    /// The bytes of a section with what is here now; `with` may change a value on its way there, or leave
    /// it out.
    pub(super) fn write(&self, mut with: impl FnMut(&str, Found<V>) -> Option<V>) -> io::Result<Vec<u8>> {
        let (mut names, mut name_ends) = (Vec::new(), Vec::new());
        let (mut values, mut value_ends) = (Vec::new(), Vec::new());
        let mut count: u32 = 0;
        let end = |length: usize| u32::try_from(length).map_err(|_| io::Error::other("more than 4 GiB of memory of one kind"));
        for name in self.names() {
            let Some(value) = self.get(name).and_then(|found| with(name, found)) else { continue };
            names.extend(name.as_bytes());
            name_ends.extend(end(names.len())?.to_le_bytes());
            values = postcard::to_extend(&value, values).map_err(io::Error::other)?;
            value_ends.extend(end(values.len())?.to_le_bytes());
            count += 1;
        }
        let mut bytes = Vec::with_capacity(4 + name_ends.len() + value_ends.len() + names.len() + values.len());
        bytes.extend(count.to_le_bytes());
        for part in [name_ends, value_ends, names, values] {
            bytes.extend(part);
        }
        Ok(bytes)
    }

    /// A value.
    pub(super) fn get(&self, name: &str) -> Option<Found<V>> {
        match self.changed.get(name) {
            Some(changed) => self.decode(changed.as_deref()?).map(Found::Put),
            None => self.decode(self.stored(self.find(name)?)?).map(Found::Stored),
        }
    }

    /// Puts a value in the place of another.
    pub(super) fn put(&mut self, name: &Arc<str>, value: &V) {
        // These values are made of plain data, which always can be encoded.
        let bytes = postcard::to_stdvec(value).ok().map(Vec::into_boxed_slice);
        self.changed.insert(Arc::clone(name), bytes);
    }

    /// Removes a value.
    pub(super) fn remove(&mut self, name: &str) {
        if self.find(name).is_some() {
            self.changed.insert(name.into(), None);
        } else {
            self.changed.remove(name);
        }
    }

    /// All names, sorted bytewise.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let mut put: Vec<&str> = self.changed.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| &**name).collect();
        put.sort_unstable();
        let mut put = put.into_iter().peekable();
        let mut stored =
            (0..self.name_ends.len()).filter_map(|place| self.name(place)).filter(|name| !self.changed.contains_key(*name)).peekable();
        std::iter::from_fn(move || match (put.peek(), stored.peek()) {
            (Some(a), Some(b)) if a < b => put.next(),
            (_, Some(_)) => stored.next(),
            _ => put.next(),
        })
    }

    /// Names and values that are as they were read, each with `part` of its bytes: what comes first in a
    /// value can be had without the rest.
    pub(super) fn stored_parts<P: DeserializeOwned>(&self) -> impl Iterator<Item = (usize, P)> {
        (0..self.name_ends.len()).filter_map(|place| Some((place, postcard::take_from_bytes(self.stored(place)?).ok()?.0)))
    }

    /// The name at a place of the section.
    pub(super) fn name(&self, place: usize) -> Option<&str> {
        self.names.get(span(&self.name_ends, place)?)
    }

    /// Whether nothing differs from the section.
    #[cfg(test)]
    pub(super) fn is_as_read(&self) -> bool {
        self.changed.is_empty()
    }

    fn stored(&self, place: usize) -> Option<&[u8]> {
        self.values.get(span(&self.value_ends, place)?)
    }

    fn decode(&self, bytes: &[u8]) -> Option<V> {
        #[cfg(test)]
        self.decoded.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Some(value),
            _ => None,
        }
    }

    /// Where a name is in the section.
    fn find(&self, name: &str) -> Option<usize> {
        let index = self.index.get_or_init(|| self.build());
        let mask = index.len().checked_sub(1)?;
        let mut slot = self.hasher.hash_one(name) as usize & mask;
        loop {
            let place = (*index.get(slot)? as usize).checked_sub(1)?;
            if self.name(place) == Some(name) {
                return Some(place);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// At most half full, so that a search ends soon.
    fn build(&self) -> Vec<u32> {
        let mut index = vec![0; (self.name_ends.len() * 2 + 1).next_power_of_two()];
        let mask = index.len() - 1;
        for place in 0..self.name_ends.len() {
            let Some(name) = self.name(place) else { continue };
            let mut slot = self.hasher.hash_one(name) as usize & mask;
            while let Some(taken) = index.get_mut(slot) {
                if *taken == 0 {
                    // There are fewer names than 2^32, since their ends are.
                    *taken = place as u32 + 1;
                    break;
                }
                slot = (slot + 1) & mask;
            }
        }
        index
    }
}

fn span(ends: &[u32], place: usize) -> Option<std::ops::Range<usize>> {
    let end = *ends.get(place)? as usize;
    let start = match place.checked_sub(1) {
        Some(before) => *ends.get(before)? as usize,
        None => 0,
    };
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn all(table: &Table<u64>) -> BTreeMap<String, u64> {
        let value = |name: &str| match table.get(name) {
            Some(Found::Stored(value) | Found::Put(value)) => value,
            None => panic!("{name} is named and not there"),
        };
        let names: Vec<&str> = table.names().collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        names.into_iter().map(|name| (name.to_string(), value(name))).collect()
    }

    #[test]
    fn as_a_plain_map() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut table: Table<u64> = Table::default();
        let mut map = BTreeMap::new();
        for step in 0..3000 {
            let name = format!("é{}", random.u8(..60));
            match random.u8(..10) {
                0..6 => {
                    table.put(&name.as_str().into(), &step);
                    map.insert(name, step);
                }
                6..9 => {
                    table.remove(&name);
                    map.remove(&name);
                }
                _ => {
                    table = Table::read(
                        &table
                            .write(|_, found| match found {
                                Found::Stored(value) | Found::Put(value) => Some(value),
                            })
                            .unwrap(),
                    )
                    .unwrap()
                }
            }
            if step % 7 == 0 {
                assert_eq!(all(&table), map);
                assert!(table.get("x").is_none());
            }
        }
    }

    #[test]
    fn bytes_that_do_not_hold_together_are_no_table() {
        let mut table: Table<u64> = Table::default();
        for name in ["a", "bc", "é"] {
            table.put(&name.into(), &(name.len() as u64));
        }
        let bytes = table
            .write(|_, found| match found {
                Found::Stored(value) | Found::Put(value) => Some(value),
            })
            .unwrap();
        for cut in 0..bytes.len() {
            assert!(Table::<u64>::read(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut garbled = bytes.clone();
                garbled[at] ^= 1 << bit;
                if let Some(table) = Table::<u64>::read(&garbled) {
                    // Names are different ones, in order; values may be lost.
                    let names: Vec<&str> = table.names().collect();
                    assert!(names.is_sorted_by(|a, b| a < b));
                    let _ = names.iter().filter(|name| table.get(name).is_some()).count();
                }
            }
        }
    }

    #[test]
    fn a_value_is_decoded_when_it_is_asked_for() {
        let mut table: Table<u64> = Table::default();
        let count = 100_000;
        for n in 0..count {
            table.put(&format!("task{n}").as_str().into(), &n);
        }
        let bytes = table
            .write(|_, found| match found {
                Found::Stored(value) | Found::Put(value) => Some(value),
            })
            .unwrap();
        let table = Table::<u64>::read(&bytes).unwrap();
        assert_eq!(table.decoded.load(std::sync::atomic::Ordering::Relaxed), 0);
        for n in 0..count {
            assert_eq!(table.get(&format!("task{n}")), Some(Found::Stored(n)));
        }
        assert_eq!(table.decoded.load(std::sync::atomic::Ordering::Relaxed), count);
        assert!(table.is_as_read());
    }
}
