//! Digests and stamps: values that say what a file holds and whether it may have changed.
//!
//! Owns how values are framed before they are hashed. Never reads a file (`disk` does). Must hold:
//! two different lists of fields never hash alike, since each field is tagged and length-framed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// Reads what [`Digest::hex`] wrote.
    pub fn from_hex(text: &str) -> Option<Digest> {
        Some(Digest(*blake3::Hash::from_hex(text).ok()?.as_bytes()))
    }

    /// The content of a file: its bytes and the executable bit.
    pub fn with_executable(self, executable: bool) -> Digest {
        if !executable {
            return self;
        }
        Framed::new(b'x').bytes(&self.0).digest()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.hex()[..12])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", self.hex())
    }
}

/// Hashes a list of fields, each with its length, under a tag.
pub struct Framed(blake3::Hasher);

impl Framed {
    /// Begins; the tag keeps kinds of things apart.
    pub fn new(tag: u8) -> Framed {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[tag]);
        Framed(hasher)
    }

    /// Adds a field.
    pub fn bytes(mut self, field: &[u8]) -> Framed {
        self.add(field);
        self
    }

    /// Adds a field in place.
    pub fn add(&mut self, field: &[u8]) {
        self.0.update(&(field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    /// Adds a number.
    pub fn number(mut self, number: u64) -> Framed {
        self.add(&number.to_le_bytes());
        self
    }

    /// The digest.
    pub fn digest(self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// What `stat` says of a file, taken before and after reading it. Compared for equality only,
/// never ordered. Times in nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Time of the last change of the content.
    pub mtime: i64,
    /// Time of the last change of the inode.
    pub ctime: i64,
    /// Inode.
    pub ino: u64,
    /// Device.
    pub dev: u64,
    /// Type and permission bits.
    pub mode: u32,
}

impl Stamp {
    /// 64 bits that differ when the stamp differs (but for one chance in 2^64); never 0, which
    /// stands for "not there".
    pub fn mix(&self) -> u64 {
        let mut h: u64 = 0x9E37_79B9_7F4A_7C15;
        for word in [self.size, self.mtime as u64, self.ctime as u64, self.ino, self.dev, u64::from(self.mode)] {
            h = (h ^ word).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            h ^= h >> 32;
            h = h.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
            h ^= h >> 29;
        }
        h.max(1)
    }

    /// What kind of thing it is.
    pub fn kind(&self) -> Kind {
        match self.mode & 0o170_000 {
            0o040_000 => Kind::Folder,
            0o100_000 => Kind::File,
            0o120_000 => Kind::Link,
            _ => Kind::Other,
        }
    }

    /// Whether any executable bit is set.
    pub fn executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// Whether all but ctime agree: what our own rename or chmod moves.
    pub fn same_but_ctime(&self, other: &Stamp) -> bool {
        Stamp { ctime: other.ctime, ..*self } == *other
    }
}

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link (only where links are not followed).
    Link,
    /// A fifo, socket or device: never read, never hashed.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_framed() {
        let ab = Framed::new(1).bytes(b"a").bytes(b"b").digest();
        assert_ne!(ab, Framed::new(1).bytes(b"ab").bytes(b"").digest());
        assert_ne!(ab, Framed::new(2).bytes(b"a").bytes(b"b").digest());
        assert_ne!(Digest::of(b"a"), Digest::of(b"a").with_executable(true));
        assert_eq!(Digest::from_hex(&ab.hex()), Some(ab));
    }

    #[test]
    fn every_field_of_a_stamp_counts() {
        let stamp = Stamp { size: 1, mtime: 2, ctime: 3, ino: 4, dev: 5, mode: 6 };
        let others = [
            Stamp { size: 0, ..stamp },
            Stamp { mtime: 3, ..stamp },
            Stamp { ctime: 2, ..stamp },
            Stamp { ino: 5, ..stamp },
            Stamp { dev: 4, ..stamp },
            Stamp { mode: 7, ..stamp },
        ];
        for other in others {
            assert_ne!(stamp.mix(), other.mix());
        }
        assert!(stamp.same_but_ctime(&others[2]));
        assert!(!stamp.same_but_ctime(&others[1]));
    }
}
