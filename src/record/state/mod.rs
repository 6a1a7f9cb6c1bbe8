//! The one file that is the truth: a block of sections, then frames.
//!
//! Owns the file's form: header, directory, sections, appended frames, compaction. Does not know what
//! the sections mean. Everything is read by `pread` and nothing is mapped: a mapped file that shrinks
//! would kill the process. Must hold: a reader takes no lock and is never hurt by a writer; a file that
//! is cut or garbled anywhere is noticed and never believed.
//!
//! ```text
//! header     magic 8, version u32, sections u32, end of the block u64, spare u32, crc32c u32
//! directory  for each section: id u32, crc32c u32, offset u64, length u64
//! sections   opaque bytes, those a no-op reads first
//! frames     length u32, kind u8, crc32c u32, payload
//! ```
//!
//! Numbers are little-endian. The header's checksum covers header and directory, a section's its bytes,
//! a frame's its length, kind and payload. A record has a checksum of its own beside its place (see
//! [`At`]), since it is read alone. Where frames end in something that is not whole, that is a torn tail:
//! readers stop there and the next writer cuts it off. A frame that *is* whole and still means nothing
//! was written by another flow; the file then counts as damaged, for cutting it would lose what follows.

mod block;
pub mod frame;
mod reader;
mod sync;
mod writer;

use std::io;

pub use block::{Bytes, Section};
pub use frame::{At, Frame, Laid};
pub use reader::Reader;
pub use sync::Syncer;
pub use writer::{Writer, put_away};

/// The file's name in the pipeline's folder.
pub const STATE: &str = "state";

/// Version of the form.
pub const VERSION: u32 = 1;

/// What follows from a state that had to be put away, for people.
pub const WITHOUT_STATE: &str = "everything is read again and matched with the cache; stages without outputs run again";

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
        /// What of it.
        what: &'static str,
    },
}

impl StateFault {
    /// What of the file is damaged.
    pub fn damaged(what: &'static str) -> StateFault {
        StateFault::Damaged { path: STATE.into(), what }
    }

    fn io(source: io::Error) -> StateFault {
        StateFault::Io { path: STATE.into(), source }
    }

    /// Whether a writer may put the file away and begin anew: it can be read, and is of no use.
    pub fn is_damage(&self) -> bool {
        !matches!(self, StateFault::Io { .. })
    }
}

#[cfg(test)]
pub(crate) mod tests;
