//! Copies of file content.
//!
//! Owns how bytes get from one open file to another. Never opens or names a file. Must hold: the
//! target holds the source's bytes, never shares later changes with it.

use std::fs::File;
use std::io::{self, Read, Write};

/// Up to here a plain copy is cheaper than a reflink, which may force the source to disk.
pub const SMALL: u64 = 64 << 10;

/// Lets the target share the source's blocks until one of them changes. False where the file system
/// cannot.
#[cfg(all(target_os = "linux", not(any(target_arch = "sparc", target_arch = "sparc64"))))]
pub fn reflink(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

/// Lets the target share the source's blocks until one of them changes. False where the file system
/// cannot.
#[cfg(not(all(target_os = "linux", not(any(target_arch = "sparc", target_arch = "sparc64")))))]
pub fn reflink(_: &File, _: &File) -> bool {
    false
}

/// Copies all that is left of the source to the target; `size` is how much that should be. Returns
/// how much it was.
pub fn copy(mut from: &File, mut to: &File, size: u64) -> io::Result<u64> {
    if size > SMALL {
        // In the kernel, where it can.
        return io::copy(&mut from, &mut to);
    }
    copy_seen(from, to, size, |_| {})
}

/// As [`copy`], through our own memory: `seen` is given every byte.
pub fn copy_seen(mut from: &File, mut to: &File, size: u64, mut seen: impl FnMut(&[u8])) -> io::Result<u64> {
    // One byte more than is expected, so that the end is met with one read less.
    let room = usize::try_from(size.saturating_add(1)).unwrap_or(usize::MAX).clamp(4 << 10, 256 << 10);
    let mut buffer = vec![0; room];
    let mut copied = 0;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..n).unwrap_or_default();
        seen(bytes);
        to.write_all(bytes)?;
        copied += n as u64;
        if n == 0 || (n < room && copied == size) {
            return Ok(copied);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_copied_and_seen() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, SMALL as usize, SMALL as usize + 1, 700_000] {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            std::fs::write(dir.path().join("a"), &bytes).unwrap();
            let open = || File::open(dir.path().join("a")).unwrap();
            // What a caller expects may be wrong.
            for expected in [size as u64, 0, 10] {
                let to = File::create(dir.path().join("b")).unwrap();
                assert_eq!(copy(&open(), &to, expected).unwrap(), size as u64);
                assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), bytes);
                let to = File::create(dir.path().join("c")).unwrap();
                let mut seen = Vec::new();
                copy_seen(&open(), &to, expected, |bytes| seen.extend_from_slice(bytes)).unwrap();
                assert_eq!(seen, bytes);
                assert_eq!(std::fs::read(dir.path().join("c")).unwrap(), bytes);
            }
            let to = File::create(dir.path().join("d")).unwrap();
            if reflink(&open(), &to) {
                assert_eq!(std::fs::read(dir.path().join("d")).unwrap(), bytes);
            }
        }
    }
}
