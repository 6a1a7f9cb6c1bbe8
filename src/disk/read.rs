//! Reading files: their digests, and small ones whole.
//!
//! Must hold: a digest is given only with a stamp that was there before and after reading. Nothing
//! but a regular file is ever opened. No mapping: a mapped file that shrinks kills the process.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::SystemTime;

use rustix::io::{Errno, retry_on_intr};

use crate::hash::{Digest, Kind, Stamp};
use crate::name::RelPath;
use crate::os::stat;

use super::fault::DiskFault;
use super::memo::Known;
use super::{Disk, TRIES, stamp_of};

/// Bytes read at once; each thread has one buffer of this size.
const BUFFER: usize = 256 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Disk {
    /// The digest of the bytes of a file that was just stamped: from the memo, or by reading it.
    /// `None` if it is gone.
    pub(super) fn digest(&self, path: &RelPath, follow: bool, stamp: &Stamp) -> Result<Option<Known>, DiskFault> {
        match self.memo.digest(path, stamp) {
            Some((digest, settled)) => Ok(Some(Known { stamp: *stamp, digest, settled })),
            None => self.hash(path, follow),
        }
    }

    /// Reads a file and keeps what it holds. `None` if it is gone.
    pub(super) fn hash(&self, path: &RelPath, follow: bool) -> Result<Option<Known>, DiskFault> {
        for _ in 0..TRIES {
            let start = SystemTime::now();
            let Some(before) = self.stamp(path, follow)? else { return Ok(None) };
            if before.kind() != Kind::File {
                return Err(DiskFault::no_file(path.as_str(), &before));
            }
            let seen = self.memo.seen(path, &before);
            let file = match stat::open_file(self.root(), path.as_str(), follow) {
                Ok(file) => file,
                Err(Errno::NOENT) => return Ok(None),
                // Something else was put there since.
                Err(Errno::LOOP | Errno::NXIO) => continue,
                Err(error) => return Err(DiskFault::system(path.as_str(), error)),
            };
            let fault = |error| DiskFault::system(path.as_str(), error);
            if stamp_of(&stat::of(file.as_fd()).map_err(fault)?) != before {
                continue;
            }
            let digest = digest_of(file.as_fd()).map_err(fault)?;
            // By path: the same stamp is the same file, so this covers the descriptor too.
            if self.stamp(path, follow)? == Some(before) {
                let settled = self.grains.of(&before, file.as_fd()).is_final(&before, start, seen);
                let known = Known { stamp: before, digest, settled };
                self.memo.keep(path, follow, known);
                return Ok(Some(known));
            }
        }
        Err(DiskFault::Changing { path: path.as_str().into() })
    }

    /// The bytes of a file of at most `limit` bytes.
    pub fn read_small(&self, path: &RelPath, limit: u64) -> Result<Vec<u8>, DiskFault> {
        read_at(self.root(), Path::new(path.as_str()), limit)
    }
}

/// The bytes of a file of at most `limit` bytes, before there is a [`Disk`]: a pipeline file, say.
pub fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, DiskFault> {
    read_at(rustix::fs::CWD, path, limit)
}

fn read_at(folder: BorrowedFd<'_>, path: &Path, limit: u64) -> Result<Vec<u8>, DiskFault> {
    let shown = || path.to_string_lossy();
    let fault = |error| DiskFault::system(shown(), error);
    let regular = |stamp: Stamp| match stamp.kind() {
        Kind::File if stamp.size > limit => Err(DiskFault::TooBig { path: shown().into(), bytes: stamp.size, limit }),
        Kind::File => Ok(stamp),
        _ => Err(DiskFault::no_file(shown(), &stamp)),
    };
    let there = stat::at(folder, path, true).map_err(fault)?;
    regular(stamp_of(&there.ok_or_else(|| DiskFault::NotThere { path: shown().into() })?))?;
    let file = stat::open_file(folder, path, true).map_err(fault)?;
    let stamp = regular(stamp_of(&stat::of(file.as_fd()).map_err(fault)?))?;
    // Files of the kernel say 0 bytes and have some; others may grow meanwhile.
    let mut bytes = Vec::with_capacity(stamp.size.min(1 << 20) as usize);
    let mut buffer = [0; 8192];
    loop {
        let count = retry_on_intr(|| rustix::io::read(&file, &mut buffer[..])).map_err(fault)?;
        bytes.extend_from_slice(&buffer[..count]);
        if bytes.len() as u64 > limit {
            return Err(DiskFault::TooBig { path: shown().into(), bytes: bytes.len() as u64, limit });
        }
        if count == 0 {
            return Ok(bytes);
        }
    }
}

/// The digest of all bytes of an open file.
fn digest_of(file: BorrowedFd<'_>) -> Result<Digest, Errno> {
    BUFFERS.with_borrow_mut(|buffer| {
        buffer.resize(BUFFER, 0);
        let mut hasher: Option<blake3::Hasher> = None;
        let mut filled = 0;
        loop {
            let count = retry_on_intr(|| rustix::io::read(file, &mut buffer[filled..]))?;
            filled += count;
            if count > 0 && filled < BUFFER {
                continue;
            }
            match (&mut hasher, count) {
                // Most files fit into the buffer.
                (None, 0) => return Ok(Digest::of(&buffer[..filled])),
                (Some(hasher), 0) => {
                    return Ok(Digest(*hasher.update(&buffer[..filled]).finalize().as_bytes()));
                }
                (hasher, _) => {
                    hasher.get_or_insert_default().update(&buffer[..filled]);
                    filled = 0;
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::tests::{disk, fifo, path};

    #[test]
    fn digests_of_all_sizes() {
        let (dir, disk) = disk();
        let mut rng = fastrand::Rng::with_seed(3);
        for size in [0, 1, 100, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER, 3 * BUFFER + 7] {
            let bytes: Vec<u8> = (0..size).map(|_| rng.u8(..)).collect();
            fs::write(dir.path().join("f"), &bytes).unwrap();
            assert_eq!(disk.hash(&path("f"), true).unwrap().unwrap().digest, Digest::of(&bytes), "{size}");
        }
        assert_eq!(disk.hash(&path("gone"), true), Ok(None));
        assert!(disk.hash(&path("/proc/self/status"), true).is_ok_and(|known| known.unwrap().digest != Digest::of(b"")));
    }

    #[test]
    fn a_file_that_is_written_meanwhile() {
        let (dir, disk) = disk();
        disk.probe(dir.path());
        let f = dir.path().join("f");
        fs::write(&f, "").unwrap();
        let writer = std::thread::spawn({
            let f = f.clone();
            move || {
                for at in 0..400_u32 {
                    fs::write(&f, vec![at as u8; 5000]).unwrap();
                }
            }
        });
        let mut answers = 0;
        while !writer.is_finished() {
            match disk.hash(&path("f"), true) {
                Ok(Some(_)) => answers += 1,
                fault => assert_eq!(fault, Err(DiskFault::Changing { path: "f".into() })),
            }
        }
        writer.join().unwrap();
        disk.settle_all();
        let stamp = disk.stamp(&path("f"), true).unwrap().unwrap();
        let known = disk.digest(&path("f"), true, &stamp).unwrap().unwrap();
        assert_eq!(known.digest, Digest::of(&fs::read(&f).unwrap()), "after {answers} answers");
    }

    #[test]
    fn small_files_only() {
        let (dir, disk) = disk();
        fs::write(dir.path().join("f"), "12345").unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fifo(&dir.path().join("p"));
        assert_eq!(disk.read_small(&path("f"), 5).unwrap(), b"12345");
        assert_eq!(read_small(&dir.path().join("f"), 9).unwrap(), b"12345");
        let fault = |name: &str, limit| disk.read_small(&path(name), limit).unwrap_err().to_string();
        assert_eq!(fault("f", 4), "`f` is too big: 5 bytes, at most 4 are read");
        assert_eq!(fault("d", 4), "`d` is a folder, not a file");
        assert_eq!(fault("p", 4), "`p` is a fifo; only regular files, folders and links can be read");
        assert_eq!(fault("/dev/zero", 4), "`/dev/zero` is a device; only regular files, folders and links can be read");
        assert_eq!(fault("gone", 4), "`gone` is not there");
        assert_eq!(fault("f/x", 4), "`f/x` is not there");
        assert!(matches!(disk.read_small(&path("/proc/self/status"), 10), Err(DiskFault::TooBig { .. })));
    }
}
