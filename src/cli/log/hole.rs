//! Reading a log whose middle may have been cut out.
//!
//! Owns how the hole is told from what the command wrote. Must hold: a hole is never read as bytes; all
//! else comes as it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::report::words;
use crate::run::exec::logs::LOG_KEEP;

/// Where a hole can begin.
const FIRST_HALF: u64 = LOG_KEEP / 2;
/// A hole ends at a block of the file system; up to there it left zeros.
const BLOCK: usize = 64 << 10;

/// Reads what stands at `at` into `piece`, or a line in place of a hole. How many bytes it put there (0:
/// nothing stands there yet) and where to read on. The file's own position is of no use afterwards.
pub fn read_piece(file: &File, at: u64, piece: &mut [u8]) -> io::Result<(usize, u64)> {
    let data = if at >= FIRST_HALF { next_data(file, at)? } else { at };
    if data > at {
        // What is left of the block in which the hole ended.
        let mut start = vec![0; BLOCK];
        let count = read_at(file, &mut start, data)?;
        let zeros = start.iter().take(count).take_while(|byte| **byte == 0).count() as u64;
        let note = format!("\n… {} cut out …\n", words::size(data + zeros - at));
        let count = note.len().min(piece.len());
        if let (Some(to), Some(from)) = (piece.get_mut(..count), note.as_bytes().get(..count)) {
            to.copy_from_slice(from);
        }
        return Ok((count, data + zeros));
    }
    let most = if at < FIRST_HALF { usize::try_from(FIRST_HALF - at).unwrap_or(usize::MAX).min(piece.len()) } else { piece.len() };
    let count = read_at(file, piece.get_mut(..most).unwrap_or_default(), at)?;
    Ok((count, at + count as u64))
}

/// Where the next byte stands that is not in a hole.
fn next_data(file: &File, at: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(data),
        // At the end, or the file system knows no holes.
        Err(Errno::NXIO | Errno::INVAL) => Ok(at),
        Err(error) => Err(error.into()),
    }
}

fn read_at(file: &File, piece: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(piece, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::run::exec::logs::shorten_log;

    #[test]
    fn a_hole_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = File::create(&path).unwrap();
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        let lines = (LOG_KEEP + (9 << 20)) / 100;
        for _ in 0..lines {
            file.write_all(&line).unwrap();
        }
        let mut cut = FIRST_HALF;
        shorten_log(path.as_os_str().as_encoded_bytes(), &mut cut);
        if cut == FIRST_HALF {
            return; // a file system without holes
        }
        let file = File::open(&path).unwrap();
        let (mut at, mut piece, mut out) = (0, vec![0; 4 << 20], Vec::new());
        loop {
            let (count, next) = read_piece(&file, at, &mut piece).unwrap();
            if count == 0 {
                break;
            }
            out.extend_from_slice(&piece[..count]);
            at = next;
        }
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\0'));
        assert_eq!(text.matches("\n… 9 MiB cut out …\n").count(), 1, "{:?}", text.lines().find(|line| line.contains("cut out")));
        assert_eq!(at, lines * 100);
    }
}
