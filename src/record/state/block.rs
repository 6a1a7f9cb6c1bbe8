//! Header, directory and sections of a block.
//!
//! Owns their bytes. Must hold: nothing in a header is believed before its checksum is, and no section
//! reaches beyond the block.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::record::state::frame::{At, long, word};
use crate::record::state::{STATE, StateFault, VERSION};

/// First bytes of the file.
const MAGIC: &[u8; 8] = b"flowstat";

/// Bytes of the header.
pub(super) const HEADER: usize = 32;

/// Bytes of the header that its checksum covers, beside the directory.
const COVERED: usize = 28;

/// Bytes of an entry of the directory.
pub(super) const ENTRY: usize = 24;

/// Most sections that are believed.
const MOST_SECTIONS: u32 = 256;

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// A section to be written.
#[derive(Debug)]
pub struct Section {
    /// Its number; what is in it is known by those who read it.
    pub id: u32,
    /// What it holds.
    pub bytes: Bytes,
}

/// What a section holds.
#[derive(Debug)]
pub enum Bytes {
    /// These bytes.
    Here(Vec<u8>),
    /// Pieces of a file one after another, copied as they are: a great many records need no memory.
    Copied(Arc<File>, Vec<At>),
}

impl From<(u32, Vec<u8>)> for Section {
    fn from((id, bytes): (u32, Vec<u8>)) -> Section {
        Section { id, bytes: Bytes::Here(bytes) }
    }
}

/// Where a section lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub id: u32,
    pub crc: u32,
    pub offset: u64,
    pub length: u64,
}

/// What a header says: how many sections there are, and where the block ends. `file` is the whole
/// file's length. Only the checksum, which covers the directory too, says whether that is true.
pub(super) fn parse_header(bytes: &[u8], file: u64) -> Result<(usize, u64), StateFault> {
    if bytes.len() < HEADER {
        return Err(StateFault::damaged("its header is cut"));
    }
    if bytes.get(..8) != Some(MAGIC) {
        return Err(StateFault::damaged("no state of flow"));
    }
    let (Some(version), Some(count), Some(block_end)) = (word(bytes, 8), word(bytes, 12), long(bytes, 16)) else {
        return Err(StateFault::damaged("its header is cut"));
    };
    if version != VERSION {
        return Err(StateFault::Version { path: STATE.into(), found: version });
    }
    if count > MOST_SECTIONS {
        return Err(StateFault::damaged("its header"));
    }
    let directory_end = HEADER + count as usize * ENTRY;
    if block_end > file || (directory_end as u64) > block_end {
        return Err(StateFault::damaged("its block is cut"));
    }
    Ok((count as usize, block_end))
}

/// The directory behind a header that [`parse_header`] took.
pub(super) fn parse_directory(bytes: &[u8], count: usize, block_end: u64) -> Result<Vec<Entry>, StateFault> {
    let end = HEADER + count * ENTRY;
    let (Some(covered), Some(crc), Some(directory)) = (bytes.get(..COVERED), word(bytes, COVERED), bytes.get(HEADER..end)) else {
        return Err(StateFault::damaged("its directory is cut"));
    };
    if crc32c::crc32c_append(crc32c::crc32c(covered), directory) != crc {
        return Err(StateFault::damaged("its header"));
    }
    let mut entries = Vec::with_capacity(count);
    for entry in directory.chunks_exact(ENTRY) {
        let (Some(id), Some(crc), Some(offset), Some(length)) = (word(entry, 0), word(entry, 4), long(entry, 8), long(entry, 16)) else {
            return Err(StateFault::damaged("its directory"));
        };
        if offset < end as u64 || offset.checked_add(length).is_none_or(|end| end > block_end) {
            return Err(StateFault::damaged("its directory"));
        }
        entries.push(Entry { id, crc, offset, length });
    }
    Ok(entries)
}

/// Writes a block to an empty file; says where it ends. The header comes last: its checksums are known
/// only then.
pub(super) fn write(file: &File, sections: &[Section]) -> io::Result<u64> {
    let mut head = Vec::with_capacity(HEADER + sections.len() * ENTRY);
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    let count = u32::try_from(sections.len()).ok().filter(|count| *count <= MOST_SECTIONS);
    head.extend(count.ok_or_else(|| io::Error::other("too many sections"))?.to_le_bytes());
    head.extend([0; 16]);
    let mut offset = (HEADER + sections.len() * ENTRY) as u64;
    let mut out = BufWriter::with_capacity(CHUNK, file);
    out.seek(SeekFrom::Start(offset))?;
    for section in sections {
        let (crc, length) = match &section.bytes {
            Bytes::Here(bytes) => {
                out.write_all(bytes)?;
                (crc32c::crc32c(bytes), bytes.len() as u64)
            }
            Bytes::Copied(from, pieces) => copy(from, pieces, &mut out)?,
        };
        head.extend(section.id.to_le_bytes());
        head.extend(crc.to_le_bytes());
        head.extend(offset.to_le_bytes());
        head.extend(length.to_le_bytes());
        offset += length;
    }
    out.flush()?;
    head.splice(16..24, offset.to_le_bytes());
    let (covered, directory) = (&head[..COVERED], &head[HEADER..]);
    let crc = crc32c::crc32c_append(crc32c::crc32c(covered), directory);
    head.splice(COVERED..HEADER, crc.to_le_bytes());
    file.write_all_at(&head, 0)?;
    Ok(offset)
}

fn copy(from: &File, pieces: &[At], out: &mut impl Write) -> io::Result<(u32, u64)> {
    let (mut crc, mut length) = (0, 0);
    let mut buffer = Vec::new();
    for piece in pieces {
        let (mut at, mut left) = (piece.offset, piece.length as usize);
        while left > 0 {
            buffer.resize(left.min(CHUNK), 0);
            from.read_exact_at(&mut buffer, at)?;
            out.write_all(&buffer)?;
            crc = crc32c::crc32c_append(crc, &buffer);
            at += buffer.len() as u64;
            left -= buffer.len();
        }
        length += u64::from(piece.length);
    }
    Ok((crc, length))
}
