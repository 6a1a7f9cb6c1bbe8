//! Reading `state`.
//!
//! Owns what is read where. Must hold: no length is believed beyond the file's, and a writer that cuts
//! the tail or puts a new file in place of this one does no harm: the descriptor keeps the old one.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use rustix::fs::FileType;

use crate::os::beneath::{Beneath, is_gone};
use crate::record::state::block::{ENTRY, Entry, HEADER, parse_directory, parse_header};
use crate::record::state::frame::{self, Decoded, Frame, HEAD, Laid};
use crate::record::state::{STATE, StateFault};

/// Sections whose directory is read together with the header.
const USUAL_SECTIONS: usize = 20;

/// Bytes of frames that are read at once.
const WINDOW: usize = 256 << 10;

/// The longest section that is read as a whole; a stranger's file with holes may claim anything.
const LONGEST_SECTION: u64 = 4 << 30;

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
            Err(error) => {
                // A link, a folder, a fifo: nothing of ours, and to be put away like other damage.
                return Err(match folder.stat(STATE) {
                    Ok(Some(stat)) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                        StateFault::damaged("no regular file")
                    }
                    _ => StateFault::io(error),
                });
            }
        };
        let length = file.metadata().map_err(StateFault::io)?.len();
        // The header and, in nearly all cases, the whole directory.
        let mut start = vec![0; ((HEADER + USUAL_SECTIONS * ENTRY) as u64).min(length) as usize];
        read_exact(&file, &mut start, 0)?;
        let (count, block_end) = parse_header(&start, length)?;
        let directory_end = HEADER + count * ENTRY;
        if start.len() < directory_end {
            start.resize(directory_end, 0);
            read_exact(&file, &mut start, 0)?;
        }
        let directory = parse_directory(&start, count, block_end)?;
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

    /// Takes in that the file has grown: for who follows.
    pub fn look_again(&mut self) -> Result<(), StateFault> {
        self.length = self.file.metadata().map_err(StateFault::io)?.len();
        Ok(())
    }

    /// Where the block ends and the frames begin.
    pub fn block_end(&self) -> u64 {
        self.block_end
    }

    /// Whether anything follows the block.
    pub fn has_frames(&self) -> bool {
        self.length > self.block_end
    }

    /// Whether another file stands in its place by now: who follows opens again.
    pub fn is_replaced(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Where a section lies: offset and length.
    pub fn place(&self, id: u32) -> Option<(u64, u64)> {
        self.entry(id).map(|entry| (entry.offset, entry.length))
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        self.directory.iter().find(|entry| entry.id == id)
    }

    /// A section; `None`: there is none.
    pub fn section(&self, id: u32) -> Result<Option<Vec<u8>>, StateFault> {
        let Some(entry) = self.entry(id) else { return Ok(None) };
        let bytes = self.bytes(entry.offset, entry.length)?;
        match crc32c::crc32c(&bytes) == entry.crc {
            true => Ok(Some(bytes)),
            false => Err(StateFault::damaged("a section")),
        }
    }

    /// The first sections, by one read.
    pub fn first(&self, count: usize) -> Result<Vec<(u32, Vec<u8>)>, StateFault> {
        let entries = self.directory.get(..count.min(self.directory.len())).unwrap_or_default();
        let start = entries.iter().map(|entry| entry.offset).min().unwrap_or_default();
        let end = entries.iter().map(|entry| entry.offset + entry.length).max().unwrap_or_default();
        let bytes = self.bytes(start, end.saturating_sub(start))?;
        let mut sections = Vec::with_capacity(entries.len());
        for entry in entries {
            let from = (entry.offset - start) as usize;
            let section = bytes.get(from..from + entry.length as usize).filter(|section| crc32c::crc32c(section) == entry.crc);
            sections.push((entry.id, section.ok_or(StateFault::damaged("a section"))?.to_vec()));
        }
        Ok(sections)
    }

    /// Bytes at a place, not checked.
    fn bytes(&self, offset: u64, length: u64) -> Result<Vec<u8>, StateFault> {
        let mut bytes = Vec::new();
        if length > LONGEST_SECTION || bytes.try_reserve_exact(length as usize).is_err() {
            return Err(StateFault::damaged("a section is too long"));
        }
        bytes.resize(length as usize, 0);
        read_exact(&self.file, &mut bytes, offset)?;
        Ok(bytes)
    }

    /// Hands every whole frame to `with`. Returns where the last of them ends: behind it is a torn tail,
    /// or nothing.
    pub fn frames(&self, with: impl FnMut(Frame, Laid)) -> Result<u64, StateFault> {
        self.frames_from(self.block_end, with)
    }

    /// As [`Reader::frames`], from where an earlier call ended.
    pub fn frames_from(&self, from: u64, mut with: impl FnMut(Frame, Laid)) -> Result<u64, StateFault> {
        let mut window = Window { file: &self.file, at: from, end: self.length, bytes: Vec::new(), used: 0 };
        while let Some(head) = window.ahead(HEAD)? {
            let Some(length) = frame::length(head) else { break };
            let at = window.at;
            let Some(bytes) = window.ahead(length)? else { break };
            match frame::decode(bytes, at) {
                Decoded::Whole(whole) => {
                    let (frame, laid) = *whole;
                    with(frame, laid);
                }
                Decoded::Torn => break,
                Decoded::Alien => return Err(StateFault::damaged("a frame of another flow")),
            }
            window.pass(length);
        }
        Ok(window.at)
    }
}

/// Part of a file that is read forwards.
struct Window<'a> {
    file: &'a File,
    /// Offset of the first byte that was not passed.
    at: u64,
    end: u64,
    bytes: Vec<u8>,
    used: usize,
}

impl Window<'_> {
    /// The next bytes; `None`: there are not so many.
    fn ahead(&mut self, length: usize) -> Result<Option<&[u8]>, StateFault> {
        if length as u64 > self.end.saturating_sub(self.at) {
            return Ok(None);
        }
        if self.bytes.len() - self.used < length {
            self.bytes.drain(..self.used);
            self.used = 0;
            let had = self.bytes.len();
            let most = (self.end - self.at).min(length.max(WINDOW) as u64) as usize;
            self.bytes.resize(most, 0);
            let got = read_some(self.file, self.bytes.get_mut(had..).unwrap_or_default(), self.at + had as u64)?;
            // A writer may have cut the tail since.
            self.bytes.truncate(had + got);
        }
        Ok(self.bytes.get(self.used..self.used + length))
    }

    fn pass(&mut self, length: usize) {
        self.used += length;
        self.at += length as u64;
    }
}

/// Reads as much as there is.
fn read_some(file: &File, into: &mut [u8], offset: u64) -> Result<usize, StateFault> {
    let mut got = 0;
    while let Some(rest) = into.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StateFault::io(error)),
        }
    }
    Ok(got)
}

/// A block that is shorter than its file said is cut.
fn read_exact(file: &File, into: &mut [u8], offset: u64) -> Result<(), StateFault> {
    match read_some(file, into, offset)? == into.len() {
        true => Ok(()),
        false => Err(StateFault::damaged("its block is cut")),
    }
}
