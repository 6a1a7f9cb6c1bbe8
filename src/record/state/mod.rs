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

pub use frame::{At, Frame};
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
        let io = |source| StateFault::Io { path: STATE.into(), source };
        let file = match folder.read(STATE) {
            Ok(file) => file,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let length = file.metadata().map_err(io)?.len();
        let damaged = |what| StateFault::Damaged { path: STATE.into(), what };
        if length == 0 {
            return Ok(None);
        }
        // The header and, in nearly all cases, the whole directory.
        let mut start = vec![0; (HEADER + 16 * ENTRY).min(length as usize)];
        file.read_exact_at(&mut start, 0).map_err(io)?;
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
        if count > MOST_SECTIONS || block_end > length {
            return Err(damaged("header"));
        }
        let directory_end = HEADER + count as usize * ENTRY;
        if start.len() < directory_end {
            if length < directory_end as u64 {
                return Err(damaged("directory cut"));
            }
            start = vec![0; directory_end];
            file.read_exact_at(&mut start, 0).map_err(io)?;
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
            if offset.checked_add(length).is_none_or(|end| end > block_end) {
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
        self.file.read_exact_at(&mut bytes, entry.offset).map_err(|source| StateFault::Io { path: STATE.into(), source })?;
        if crc32c::crc32c(&bytes) != entry.crc {
            return Err(StateFault::Damaged { path: STATE.into(), what: "section" });
        }
        Ok(Some(bytes))
    }

    /// The first sections, by one read.
    pub fn first(&self, count: usize) -> Result<Vec<(u32, Vec<u8>)>, StateFault> {
        let entries = &self.directory[..count.min(self.directory.len())];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        let damaged = || StateFault::Damaged { path: STATE.into(), what: "section" };
        let mut bytes =
            vec![0; last.offset.checked_add(last.length).and_then(|end| end.checked_sub(first.offset)).ok_or_else(damaged)? as usize];
        self.file.read_exact_at(&mut bytes, first.offset).map_err(|source| StateFault::Io { path: STATE.into(), source })?;
        let mut sections = Vec::with_capacity(entries.len());
        for entry in entries {
            let from = entry.offset.checked_sub(first.offset).ok_or_else(damaged)? as usize;
            let section = bytes.get(from..from + entry.length as usize).ok_or_else(damaged)?;
            if crc32c::crc32c(section) != entry.crc {
                return Err(damaged());
            }
            sections.push((entry.id, section.to_vec()));
        }
        Ok(sections)
    }

    /// Whether any frame follows the block.
    pub fn has_frames(&self) -> bool {
        self.length > self.block_end
    }

    /// Hands every whole frame to `with`, with its offset and where its record is. Returns where the
    /// last whole frame ends: behind it is a torn tail, or nothing.
    pub fn frames(&self, with: impl FnMut(Frame, u64, Option<At>)) -> Result<u64, StateFault> {
        self.frames_between(self.block_end, self.length, with)
    }

    /// The same for what was written since the last look, which ended at `from`: for those who follow.
    pub fn frames_from(&self, from: u64, with: impl FnMut(Frame, u64, Option<At>)) -> Result<u64, StateFault> {
        let length = self.file.metadata().map_err(|source| StateFault::Io { path: STATE.into(), source })?.len();
        self.frames_between(from, length, with)
    }

    /// Whether another file has taken this one's place, so that nothing more will come here.
    pub fn is_replaced(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| std::os::unix::fs::MetadataExt::nlink(&meta) == 0)
    }

    fn frames_between(&self, from: u64, to: u64, mut with: impl FnMut(Frame, u64, Option<At>)) -> Result<u64, StateFault> {
        let mut bytes = vec![0; to.saturating_sub(from) as usize];
        self.file.read_exact_at(&mut bytes, from).map_err(|source| StateFault::Io { path: STATE.into(), source })?;
        let mut at = 0;
        while let frame::Decoded::Whole(frame, length, record) = frame::decode(&bytes[at..]) {
            let offset = from + at as u64;
            let record = record.map(|record| At { offset: offset + record.offset, ..record });
            at += length;
            with(*frame, offset, record);
        }
        Ok(from + at as u64)
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
mod tests;
