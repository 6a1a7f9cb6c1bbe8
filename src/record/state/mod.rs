//! The one file that is the truth: a block of sections, then frames.
//!
//! Owns the file's form: header, directory, sections, appended frames, compaction. Does not know what
//! the sections mean. Everything is read by `pread` and nothing is mapped: a mapped file that shrinks
//! would kill the process. Must hold: a reader never takes a lock and is never hurt by a writer; a file
//! that is cut or garbled anywhere is noticed, and never believed.

pub mod frame;
mod write;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::os::beneath::{Beneath, is_gone};

pub use frame::{At, Brief, Frame};
pub use write::{Syncer, Writer};

/// The file's name.
pub const STATE: &str = "state";

/// First bytes of the file.
const MAGIC: &[u8; 8] = b"flowstat";

/// Version of the form.
pub const VERSION: u32 = 1;

/// Bytes of the header: magic, version, number of sections, end of the block, checksum.
const HEADER: usize = 32;

/// Bytes of an entry of the directory: id, checksum, offset, length.
const ENTRY: usize = 24;

/// Most sections that are believed.
const MOST_SECTIONS: u32 = 64;

/// Why a `state` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    /// The system said no.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file, for people.
        path: String,
        /// What it said.
        source: io::Error,
    },
    /// Another form.
    #[error("{path} has version {found}, this flow reads version {VERSION}")]
    Version {
        /// The file.
        path: String,
        /// Its version.
        found: u32,
    },
    /// Not what was written.
    #[error("{path} is damaged ({what})")]
    Damaged {
        /// The file.
        path: String,
        /// Where.
        what: &'static str,
    },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u32,
    crc: u32,
    offset: u64,
    length: u64,
}

/// A `state` that was opened.
#[derive(Clone, Debug)]
pub struct Reader {
    file: Arc<File>,
    length: u64,
    directory: Vec<Entry>,
    block_end: u64,
}

impl Reader {
    /// Opens the state of a pipeline's folder; `None`: there is none.
    pub fn open(folder: &Beneath) -> Result<Option<Reader>, StateFault> {
        let file = match folder.read(STATE) {
            Ok(file) => file,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let length = file.metadata().map_err(unreadable)?.len();
        // The header and, in nearly all cases, the whole directory.
        let mut start = vec![0; (HEADER as u64 + 16 * ENTRY as u64).min(length) as usize];
        file.read_exact_at(&mut start, 0).map_err(unreadable)?;
        let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
        let long = |bytes: &[u8], at: usize| bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
        if start.get(..8) != Some(MAGIC) {
            return Err(damaged("no state of flow"));
        }
        let (Some(version), Some(count), Some(block_end), Some(crc)) =
            (word(&start, 8), word(&start, 12), long(&start, 16), word(&start, 24))
        else {
            return Err(damaged("header cut"));
        };
        if version != VERSION {
            return Err(StateFault::Version { path: STATE.into(), found: version });
        }
        let directory_end = HEADER + count.min(MOST_SECTIONS) as usize * ENTRY;
        if count > MOST_SECTIONS || block_end > length || block_end < directory_end as u64 {
            return Err(damaged("header"));
        }
        if start.len() < directory_end {
            start = vec![0; directory_end];
            file.read_exact_at(&mut start, 0).map_err(unreadable)?;
        }
        let mut sum = crc32c::crc32c(&start[..24]);
        sum = crc32c::crc32c_append(sum, &start[HEADER..directory_end]);
        if sum != crc {
            return Err(damaged("header"));
        }
        let mut directory = Vec::with_capacity(count as usize);
        for n in 0..count as usize {
            let at = HEADER + n * ENTRY;
            let (Some(id), Some(crc), Some(offset), Some(length)) =
                (word(&start, at), word(&start, at + 4), long(&start, at + 8), long(&start, at + 16))
            else {
                return Err(damaged("directory"));
            };
            if offset < directory_end as u64 || offset.checked_add(length).is_none_or(|end| end > block_end) {
                return Err(damaged("directory"));
            }
            directory.push(Entry { id, crc, offset, length });
        }
        Ok(Some(Reader { file: Arc::new(file), length, directory, block_end }))
    }

    /// The file, for reading records out of it.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Bytes of the file when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where the block ends and the frames begin.
    pub fn block_end(&self) -> u64 {
        self.block_end
    }

    /// Where a section lies: offset and length.
    pub fn place(&self, id: u32) -> Option<(u64, u64)> {
        self.directory.iter().find(|entry| entry.id == id).map(|entry| (entry.offset, entry.length))
    }

    /// A section; `None`: there is none.
    pub fn section(&self, id: u32) -> Result<Option<Vec<u8>>, StateFault> {
        let Some(entry) = self.directory.iter().find(|entry| entry.id == id) else { return Ok(None) };
        let mut bytes = vec![0; entry.length as usize];
        self.file.read_exact_at(&mut bytes, entry.offset).map_err(unreadable)?;
        if crc32c::crc32c(&bytes) != entry.crc {
            return Err(damaged("section"));
        }
        Ok(Some(bytes))
    }

    /// The first sections, by one read.
    pub fn first(&self, count: usize) -> Result<Vec<(u32, Vec<u8>)>, StateFault> {
        let entries = &self.directory[..count.min(self.directory.len())];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        let order = || damaged("order of the sections");
        // Both lie in the block, and the block in the file: `open` saw to that.
        let length = last.offset.checked_add(last.length).and_then(|end| end.checked_sub(first.offset)).ok_or_else(order)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, first.offset).map_err(unreadable)?;
        let mut sections = Vec::with_capacity(entries.len());
        for entry in entries {
            let from = entry.offset.checked_sub(first.offset).ok_or_else(order)? as usize;
            let section = bytes.get(from..from.saturating_add(entry.length as usize)).ok_or_else(order)?;
            if crc32c::crc32c(section) != entry.crc {
                return Err(damaged("section"));
            }
            sections.push((entry.id, section.to_vec()));
        }
        Ok(sections)
    }

    /// Whether any frame follows the block.
    pub fn has_frames(&self) -> bool {
        self.length > self.block_end
    }

    /// Hands every whole frame to `with`, with its offset and, if it has a record, where that is and
    /// what a replay needs of it. Returns where the last whole frame ends: behind it is a torn tail, or
    /// nothing.
    pub fn frames(&self, mut with: impl FnMut(Frame, u64, Option<(At, Brief)>)) -> Result<u64, StateFault> {
        let bytes = self.tail()?;
        let mut at = 0;
        loop {
            match frame::decode(bytes.get(at..).unwrap_or_default()) {
                frame::Decoded::Whole(frame, length, told) => {
                    let offset = self.block_end + at as u64;
                    let told = told.map(|(record, brief)| (At { offset: offset + record.offset, ..record }, brief));
                    at += length;
                    with(*frame, offset, told);
                }
                frame::Decoded::Torn => return Ok(self.block_end + at as u64),
                frame::Decoded::Foreign => return Err(damaged("a frame of another form")),
            }
        }
    }

    /// What is behind the block. A writer may have cut a torn tail off since the file was opened, so
    /// what is there counts, not what was.
    fn tail(&self) -> Result<Vec<u8>, StateFault> {
        let mut bytes = vec![0; (self.length - self.block_end) as usize];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, self.block_end + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn damaged(what: &'static str) -> StateFault {
    StateFault::Damaged { path: STATE.into(), what }
}

/// What the system said; a file that ends too early is damaged, not unreadable.
fn unreadable(source: io::Error) -> StateFault {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => damaged("cut"),
        _ => StateFault::Io { path: STATE.into(), source },
    }
}

/// A whole file: header, directory, sections.
fn block(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let directory_end = HEADER + sections.len() * ENTRY;
    let total: usize = sections.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut out = Vec::with_capacity(directory_end + total);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend((sections.len() as u32).to_le_bytes());
    out.extend(((directory_end + total) as u64).to_le_bytes());
    out.extend([0; 8]);
    let mut offset = directory_end as u64;
    for (id, bytes) in sections {
        out.extend(id.to_le_bytes());
        out.extend(crc32c::crc32c(bytes).to_le_bytes());
        out.extend(offset.to_le_bytes());
        out.extend((bytes.len() as u64).to_le_bytes());
        offset += bytes.len() as u64;
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..24]), &out[HEADER..]);
    out[24..28].copy_from_slice(&crc.to_le_bytes());
    for (_, bytes) in sections {
        out.extend(bytes);
    }
    out
}

#[cfg(test)]
pub(crate) mod tests;
