//! The one writer of `state`.
//!
//! Owns appending, cutting a torn tail, and putting a new file in the old one's place. Must hold: a frame
//! is whole or not there; what is renamed over `state` was synced first; nothing is appended behind
//! something torn.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::Errno;

use crate::os::beneath::Beneath;
use crate::record::state::STATE;
use crate::record::state::block::{self, Section};
use crate::record::state::frame::{Frame, Laid, encode};

/// Name of the file that becomes `state`.
const NEXT: &str = "state.new";

/// Appends frames. Only the holder of the pipeline's lock may have one.
#[derive(Debug)]
pub struct Writer {
    file: Arc<File>,
    end: u64,
    block_end: u64,
    /// Something torn may stand behind `end`, which could not be cut off.
    torn: bool,
    /// A sync failed: the kernel forgets what it could not write, so later ones prove nothing.
    failed: bool,
}

impl Writer {
    /// Opens `state` for appending. `read`: where its last whole frame ends and where its block does, as
    /// a [`crate::record::state::Reader`] found under the same lock; what is behind is cut off. `None`:
    /// there is no state, or one that was put away; an empty one begins.
    pub fn open(folder: &Beneath, read: Option<(u64, u64)>) -> io::Result<Writer> {
        let Some((end, block_end)) = read else {
            return Writer::fresh(folder, &[]);
        };
        let file = folder.write(STATE)?;
        let length = file.metadata()?.len();
        if length < end {
            return Err(io::Error::other("it is shorter than it was"));
        }
        if length > end {
            file.set_len(end)?;
        }
        // What a compaction left behind that was killed.
        let _ = folder.remove_all(NEXT);
        Ok(Writer { file: Arc::new(file), end, block_end, torn: false, failed: false })
    }

    /// Writes a new file with these sections and no frames in place of the old one. Killed at any moment
    /// the old one or the new one is there, whole.
    pub fn fresh(folder: &Beneath, sections: &[Section]) -> io::Result<Writer> {
        // Whatever stands there is a leftover.
        folder.remove_all(NEXT)?;
        let file = folder.new_file(NEXT, 0o666)?;
        let end = match block::write(&file, sections).and_then(|end| file.sync_data().map(|()| end)) {
            Ok(end) => end,
            Err(error) => {
                // A full disk, say: the old state stays the truth.
                let _ = folder.remove_file(NEXT);
                return Err(error);
            }
        };
        folder.rename(NEXT, STATE)?;
        // Without this a power cut may bring the old file back, and with it the time before. So nothing
        // that is appended now counts as synced.
        let failed = match rustix::fs::fsync(folder.as_fd()) {
            Ok(()) | Err(Errno::INVAL | Errno::BADF) => false,
            Err(_) => true,
        };
        Ok(Writer { file: Arc::new(file), end, block_end: end, torn: false, failed })
    }

    /// Goes on with a new file with these sections. On an error it goes on with the old one.
    pub fn compact(&mut self, folder: &Beneath, sections: &[Section]) -> io::Result<()> {
        *self = Writer::fresh(folder, sections)?;
        Ok(())
    }

    /// Appends a frame by one write; where it ends and where its record is. On an error nothing of it is
    /// in the file.
    pub fn add(&mut self, frame: &Frame) -> io::Result<(u64, Laid)> {
        let (bytes, mut laid) = encode(frame)?;
        self.cut()?;
        if let Err(error) = self.file.write_all_at(&bytes, self.end) {
            self.torn = true;
            // If this fails it is tried again before the next frame.
            let _ = self.cut();
            return Err(error);
        }
        laid.shift(self.end);
        self.end = laid.end;
        Ok((self.end, laid))
    }

    fn cut(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.end)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Where the last frame ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of the frames behind the block.
    pub fn frames_bytes(&self) -> u64 {
        self.end - self.block_end
    }

    /// Bytes of the block.
    pub fn block_bytes(&self) -> u64 {
        self.block_end
    }

    /// The file, for reading records out of it and for syncing it.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Puts all frames so far on the disk; says where they end.
    pub fn sync(&mut self) -> io::Result<u64> {
        let done = self.file.sync_data();
        let sure = self.synced(&done);
        done.and(sure).map(|()| self.end)
    }

    /// Whether no sync failed so far.
    pub(super) fn is_sure(&self) -> bool {
        !self.failed
    }

    /// Hears of a sync of [`Writer::file`]; an error if it or an earlier one failed.
    pub(super) fn synced(&mut self, done: &io::Result<()>) -> io::Result<()> {
        self.failed |= done.is_err();
        match self.failed {
            false => Ok(()),
            true => Err(io::Error::other("a sync of the state failed: nothing written since is sure")),
        }
    }
}

/// Moves a `state` that cannot be used into a folder of what made way, under a name that is free there;
/// says which. The next [`Writer::open`] with `None` begins anew.
pub fn put_away(folder: &Beneath, kept: &Beneath) -> io::Result<String> {
    for n in 1..=u32::MAX {
        let name = if n == 1 { STATE.to_string() } else { format!("{STATE}.{n}") };
        match folder.rename_to(STATE, kept, &name, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| name),
        }
    }
    Err(io::Error::other("no free name is left"))
}
