//! What can go wrong when something on disk is looked at. The path is always in the message.

use rustix::io::Errno;

use crate::hash::{Kind, Stamp};

/// Why something on disk could not be looked at.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DiskFault {
    /// Nothing is there.
    #[error("`{path}` is not there")]
    NotThere {
        /// Where.
        path: String,
    },
    /// A folder where a file is wanted.
    #[error("`{path}` is a folder, not a file")]
    IsFolder {
        /// Where.
        path: String,
    },
    /// Something else where a folder is wanted.
    #[error("`{path}` is not a folder")]
    NotAFolder {
        /// Where.
        path: String,
    },
    /// Never opened: reading could block for ever or never end.
    #[error("`{path}` is a {what}; only regular files, folders and links can be read")]
    Special {
        /// Where.
        path: String,
        /// `fifo`, `socket`, `device`.
        what: &'static str,
    },
    /// More than is sensible for a file that is read whole.
    #[error("`{path}` is too big: {bytes} bytes, at most {limit} are read")]
    TooBig {
        /// Where.
        path: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not allowed.
    #[error("no permission to read `{path}`")]
    Permission {
        /// Where.
        path: String,
    },
    /// Another process writes it all the time.
    #[error("`{path}` keeps changing while it is read")]
    Changing {
        /// Where.
        path: String,
    },
    /// A name that is no text.
    #[error("a name in `{folder}` is not UTF-8: `{name}`; rename it")]
    NotUtf8 {
        /// The folder it is in, or the link whose text it is.
        folder: String,
        /// The name, its odd bytes as `\xFF`.
        name: String,
    },
    /// Anything else the system says.
    #[error("`{path}` can't be read: {error}")]
    System {
        /// Where.
        path: String,
        /// What the system said.
        error: Errno,
    },
}

impl DiskFault {
    /// The same with the path as people wrote it.
    pub fn shown_as(mut self, shown: &str) -> DiskFault {
        match &mut self {
            DiskFault::NotThere { path }
            | DiskFault::IsFolder { path }
            | DiskFault::NotAFolder { path }
            | DiskFault::Special { path, .. }
            | DiskFault::TooBig { path, .. }
            | DiskFault::Permission { path }
            | DiskFault::Changing { path }
            | DiskFault::NotUtf8 { folder: path, .. }
            | DiskFault::System { path, .. } => *path = shown.to_string(),
        }
        self
    }

    /// What the system said of a path.
    pub fn system(path: impl Into<String>, error: Errno) -> DiskFault {
        let path = path.into();
        match error {
            Errno::ACCESS | Errno::PERM => DiskFault::Permission { path },
            Errno::NOENT => DiskFault::NotThere { path },
            Errno::NOTDIR => DiskFault::NotAFolder { path },
            Errno::ISDIR => DiskFault::IsFolder { path },
            error => DiskFault::System { path, error },
        }
    }

    /// What stands at a path is no file.
    pub(super) fn no_file(path: impl Into<String>, stamp: &Stamp) -> DiskFault {
        let path = path.into();
        let what = match stamp.mode & 0o170_000 {
            0o010_000 => "fifo",
            0o140_000 => "socket",
            0o020_000 | 0o060_000 => "device",
            _ => "special file",
        };
        match stamp.kind() {
            Kind::Folder => DiskFault::IsFolder { path },
            _ => DiskFault::Special { path, what },
        }
    }
}

/// Bytes as text, what is not UTF-8 as `\xFF`.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}
