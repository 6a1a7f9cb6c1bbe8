//! The logs of commands: hiding secrets in what comes through a pipe, and cutting the middle out of a
//! log that grows too long.
//!
//! Owns finding the texts to hide across the borders of what is read at once. Waits for nothing: it
//! takes what is there. Must hold: no byte of a text to hide reaches the log as long as it could
//! still be the beginning of one; the first and the last half of what is kept stay as they are.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What stands in the log instead of a secret.
const HIDDEN: &[u8] = b"***";

/// A log longer than this has its middle cut out: the first and the last half of this stay.
pub const LOG_KEEP: u64 = 64 << 20;

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// Finds texts in a stream and replaces them.
pub struct Masker {
    /// Longest first, so that a secret that begins with another is hidden whole.
    texts: Vec<Vec<u8>>,
    /// What came and may be the beginning of a text.
    held: Vec<u8>,
    /// How many of the next bytes are of a text.
    hidden: usize,
}

impl Masker {
    /// Hides these texts; empty ones are ignored.
    pub fn new(texts: impl IntoIterator<Item = Vec<u8>>) -> Masker {
        let mut texts: Vec<Vec<u8>> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Masker { texts, held: Vec::new(), hidden: 0 }
    }

    /// Takes what came, and appends to `out` what may be shown; at the `end`, everything.
    pub fn pass(&mut self, came: &[u8], end: bool, out: &mut Vec<u8>) {
        self.held.extend_from_slice(came);
        let mut at = 0;
        while let Some(rest) = self.held.get(at..).filter(|rest| !rest.is_empty()) {
            if !end && self.texts.iter().any(|text| text.len() > rest.len() && text.starts_with(rest)) {
                break;
            }
            if let Some(text) = self.texts.iter().find(|text| rest.starts_with(text)) {
                // Texts that overlap are hidden as one.
                if self.hidden == 0 {
                    out.extend_from_slice(HIDDEN);
                }
                self.hidden = self.hidden.max(text.len());
            }
            if self.hidden > 0 {
                self.hidden -= 1;
            } else {
                out.extend(rest.first());
            }
            at += 1;
        }
        self.held.drain(..at);
    }
}

/// The log of a command whose output comes through a pipe.
pub struct Piped {
    /// To poll.
    pub pipe: PipeReader,
    log: File,
    masker: Masker,
    keep: u64,
    written: u64,
    /// Bytes before it may have been cut out.
    cut: u64,
    buffer: Vec<u8>,
}

impl Piped {
    /// The log gets what comes from the pipe; about `keep` bytes of it stay.
    pub fn new(pipe: PipeReader, log: File, texts: Vec<Vec<u8>>, keep: u64) -> std::io::Result<Piped> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Piped { pipe, log, masker: Masker::new(texts), keep, written: 0, cut: keep / 2, buffer: Vec::new() })
    }

    /// Takes what is in the pipe. Whether more can come.
    pub fn take(&mut self) -> bool {
        let mut piece = vec![0; PIECE];
        // One writer must not keep us here.
        for _ in 0..8 {
            match self.pipe.read(&mut piece) {
                Ok(0) => return false,
                Ok(count) => self.write(piece.get(..count).unwrap_or_default(), false),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Takes the rest: nothing of the command runs any more.
    pub fn finish(mut self) {
        // A process that was left running may write for ever: a pipe's whole room is enough.
        for _ in 0..4 {
            if !self.take() {
                break;
            }
        }
        self.write(&[], true);
    }

    fn write(&mut self, came: &[u8], end: bool) {
        let mut out = std::mem::take(&mut self.buffer);
        out.clear();
        self.masker.pass(came, end, &mut out);
        // A log that cannot be written (a full disk) must not stop the command.
        let _ = self.log.write_all(&out);
        self.written += out.len() as u64;
        self.buffer = out;
        if self.keep > 0 && self.written > self.keep + (1 << 20) {
            self.cut_middle();
        }
    }

    /// Keeps the first half of `keep` and the last, where the file system can make holes; where it
    /// cannot, the file is begun anew after its first half.
    fn cut_middle(&mut self) {
        let until = self.written - self.keep / 2;
        if punch(&self.log, self.cut, until - self.cut) {
            self.cut = until;
        } else if self.log.set_len(self.keep / 2).is_ok() && self.log.seek(SeekFrom::End(0)).is_ok() {
            self.written = self.keep / 2;
        }
    }
}

/// Makes a hole in a file; whether it could.
fn punch(file: &File, from: u64, length: u64) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        length == 0 || fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, length).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, from, length);
        false
    }
}

/// Cuts the middle out of a log that grew too long; `cut` is where the hole ends so far.
pub fn shorten_log(log: &[u8], cut: &mut u64) {
    let path = Path::new(OsStr::from_bytes(log));
    let Ok(size) = std::fs::metadata(path).map(|meta| meta.len()) else { return };
    let until = size.saturating_sub(LOG_KEEP / 2);
    if until < *cut + (1 << 20) {
        return;
    }
    if let Ok(file) = OpenOptions::new().write(true).open(path)
        && punch(&file, *cut, until - *cut)
    {
        *cut = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(texts: &[&str], pieces: &[&str]) -> String {
        let mut masker = Masker::new(texts.iter().map(|text| text.as_bytes().to_vec()));
        let mut out = Vec::new();
        for piece in pieces {
            masker.pass(piece.as_bytes(), false, &mut out);
        }
        masker.pass(&[], true, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_secret_is_hidden_however_it_is_cut() {
        let text = "a key=hunter2 and hunter22, hunt";
        for cut in 0..text.len() {
            for next in cut..text.len() {
                let pieces = [&text[..cut], &text[cut..next], &text[next..]];
                assert_eq!(mask(&["hunter2", "hunter22", ""], &pieces), "a key=*** and ***, hunt");
            }
        }
    }

    #[test]
    fn secrets_that_overlap_are_hidden_whole() {
        for pieces in [&["xabcdx"][..], &["xa", "bc", "dx"], &["xabc", "dx"]] {
            assert_eq!(mask(&["abc", "bcd"], pieces), "x***x");
        }
        assert_eq!(mask(&["aa"], &["aaaa b"]), "*** b");
        assert_eq!(mask(&["ab"], &["abab"]), "******");
    }

    #[test]
    fn nothing_is_held_that_cannot_be_a_secret() {
        let mut masker = Masker::new([b"secret".to_vec()]);
        let mut out = Vec::new();
        masker.pass(b"progress 10 %\rse", false, &mut out);
        assert_eq!(out, b"progress 10 %\r");
        masker.pass(b"t", false, &mut out);
        assert_eq!(out, b"progress 10 %\rset");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_long_log_keeps_its_ends() {
        use std::os::unix::fs::{FileExt, MetadataExt};
        let temp = tempfile::NamedTempFile::new().unwrap();
        let file = temp.as_file();
        let size = LOG_KEEP + (3 << 20);
        file.set_len(size).unwrap();
        let middle = LOG_KEEP / 2 + (1 << 20);
        for at in [0, LOG_KEEP / 2 - 5, middle, size - 5] {
            file.write_all_at(b"here\n", at).unwrap();
        }
        let before = file.metadata().unwrap().blocks();
        let mut cut = LOG_KEEP / 2;
        shorten_log(temp.path().as_os_str().as_bytes(), &mut cut);
        if cut == LOG_KEEP / 2 {
            return; // a file system without holes
        }
        assert_eq!(cut, size - LOG_KEEP / 2);
        let at = |at| {
            let mut bytes = [1; 5];
            file.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        assert_eq!([at(0), at(LOG_KEEP / 2 - 5), at(size - 5)], [*b"here\n"; 3]);
        assert_eq!(at(middle), [0; 5]);
        assert_eq!(file.metadata().unwrap().len(), size);
        assert!(file.metadata().unwrap().blocks() < before);
        let seen = cut;
        shorten_log(temp.path().as_os_str().as_bytes(), &mut cut);
        assert_eq!(cut, seen);
    }
}
