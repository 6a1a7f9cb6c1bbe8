//! Cache.
use std::fs::File;
use std::io::{self, Read};

use crate::hash::{Digest, Stamp};

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
    let mut buffer = vec![0; usize::try_from(size.saturating_add(1)).unwrap_or(usize::MAX).clamp(1, 256 << 10)];
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
