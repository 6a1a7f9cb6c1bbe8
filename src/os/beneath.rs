//! Files opened beneath a folder, with no link followed on the way.
//!
//! Owns every open, rename and removal of what flow itself moves: in `.flow/`, and outputs in the
//! workspace. Never decides what to move. Must hold: nothing outside the folder can be reached
//! through a link, and nothing but a regular file is ever opened for reading.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// A folder that is open.
#[derive(Debug)]
pub struct Beneath {
    folder: OwnedFd,
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl Beneath {
    /// Opens a folder by its path; the folder itself may be reached through links.
    pub fn open(path: &Path) -> io::Result<Beneath> {
        let folder = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Beneath { folder })
    }

    /// Opens a folder, making it and its parents first if they are not there.
    pub fn create(path: &Path) -> io::Result<Beneath> {
        std::fs::create_dir_all(path)?;
        Beneath::open(path)
    }

    /// A folder below this one.
    pub fn folder(&self, path: &str) -> io::Result<Beneath> {
        let folder = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Beneath { folder })
    }

    /// A folder below this one, made with its parents if it is not there.
    pub fn make_folder(&self, path: &str) -> io::Result<Beneath> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut at = Beneath { folder: self.folder.try_clone()? };
        for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
            match fs::mkdirat(&at.folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            at = at.folder(part)?;
        }
        Ok(at)
    }

    /// Opens a regular file for reading. A fifo, device or folder is refused without blocking.
    pub fn read(&self, path: &str) -> io::Result<File> {
        self.regular(path, OFlags::RDONLY)
    }

    /// Opens a regular file for reading and writing, made if it is not there.
    pub fn write(&self, path: &str) -> io::Result<File> {
        self.regular(path, OFlags::RDWR | OFlags::CREATE)
    }

    /// A new, empty file; what stood there is emptied.
    pub fn create_file(&self, path: &str) -> io::Result<File> {
        self.regular(path, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)
    }

    fn regular(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let file = self.resolve(path, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))?;
        if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(File::from(file))
    }

    /// What stands at a path, links not followed; `None`: nothing.
    pub fn stat(&self, path: &str) -> io::Result<Option<fs::Stat>> {
        let (parent, name) = match self.parent(path) {
            Ok(found) => found,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match fs::statat(parent.as_ref().map_or(self.as_fd(), AsFd::as_fd), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Renames `from` to `to` (both below this folder); the parent of `to` is made. Replaces what
    /// stands there, as `rename` does.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_to(from, self, to, true)
    }

    /// Renames into another open folder; with `replace` false it fails if something stands there.
    pub fn rename_to(&self, from: &str, other: &Beneath, to: &str, replace: bool) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = other.parent_made(to)?;
        let from_fd = from_parent.as_ref().map_or(self.as_fd(), AsFd::as_fd);
        let to_fd = to_parent.as_ref().map_or(other.as_fd(), AsFd::as_fd);
        if replace {
            fs::renameat(from_fd, from_name, to_fd, to_name)?;
        } else {
            fs::renameat_with(from_fd, from_name, to_fd, to_name, RenameFlags::NOREPLACE)?;
        }
        Ok(())
    }

    /// Removes a file or link.
    pub fn remove_file(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(fs::unlinkat(parent.as_ref().map_or(self.as_fd(), AsFd::as_fd), name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(fs::unlinkat(parent.as_ref().map_or(self.as_fd(), AsFd::as_fd), name, AtFlags::REMOVEDIR)?)
    }

    /// Removes whatever stands at a path, folders with all they hold. Nothing there is no error.
    pub fn remove_all(&self, path: &str) -> io::Result<()> {
        // A stack of our own: a deep tree must not overflow the program's.
        let mut stack = vec![(path.to_string(), false)];
        while let Some((at, emptied)) = stack.pop() {
            if emptied {
                self.remove_folder(&at)?;
                continue;
            }
            let Some(stat) = self.stat(&at)? else { continue };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                self.remove_file(&at)?;
                continue;
            }
            let names = self.list(&at)?;
            stack.push((at.clone(), true));
            for name in names {
                let Some(name) = name.to_str() else {
                    return Err(io::Error::other(format!("a name in `{at}` is not UTF-8: {name:?}")));
                };
                stack.push((format!("{at}/{name}"), false));
            }
        }
        Ok(())
    }

    /// The names in a folder, sorted bytewise; `.` is this folder.
    pub fn list(&self, path: &str) -> io::Result<Vec<std::ffi::OsString>> {
        let folder = self.folder(path)?;
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&folder.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name).to_os_string());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The open parent of a path (`None`: this folder itself) and the path's last part.
    fn parent<'a>(&self, path: &'a str) -> io::Result<(Option<OwnedFd>, &'a str)> {
        match path.rsplit_once('/') {
            None => Ok((None, path)),
            Some((parent, name)) => {
                Ok((Some(self.resolve(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?), name))
            }
        }
    }

    fn parent_made<'a>(&self, path: &'a str) -> io::Result<(Option<OwnedFd>, &'a str)> {
        match path.rsplit_once('/') {
            None => Ok((None, path)),
            Some((parent, name)) => Ok((Some(self.make_folder(parent)?.folder), name)),
        }
    }

    /// One open, resolved beneath this folder by the kernel with no link followed.
    #[cfg(target_os = "linux")]
    fn resolve(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        use rustix::fs::ResolveFlags;
        let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        loop {
            match fs::openat2(&self.folder, path, flags, mode, beneath) {
                // Something on the way was renamed meanwhile: the kernel asks to try again.
                Err(Errno::AGAIN) => {}
                // Before Linux 5.6, and under some sandboxes.
                Err(Errno::NOSYS | Errno::PERM) => return self.resolve_by_parts(path, flags, mode),
                other => return Ok(other?),
            }
        }
    }

    /// One open, part by part, no link followed.
    #[cfg(not(target_os = "linux"))]
    fn resolve(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.resolve_by_parts(path, flags, mode)
    }

    fn resolve_by_parts(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let mut at = self.folder.try_clone()?;
        let Some((last, parents)) = parts.split_last() else {
            return Ok(fs::openat(&at, ".", flags, mode)?);
        };
        if path.starts_with('/') || parts.contains(&"..") {
            return Err(Errno::XDEV.into());
        }
        for part in parents {
            at = fs::openat(&at, *part, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        }
        Ok(fs::openat(&at, *last, flags | OFlags::NOFOLLOW, mode)?)
    }
}

/// Whether an error means that a path leads nowhere.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
}

/// Whether a path exists at all, links followed, relative to the caller's folder.
pub fn exists(path: &Path) -> bool {
    fs::statat(CWD, path, AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn reads_and_writes_below() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        folder.make_folder("a/b").unwrap();
        folder.create_file("a/b/f").unwrap().write_all(b"x").unwrap();
        let mut text = String::new();
        folder.read("a/b/f").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        folder.rename("a/b/f", "c/d/f").unwrap();
        assert!(folder.stat("a/b/f").unwrap().is_none());
        assert!(folder.stat("c/d/f").unwrap().is_some());
        assert!(folder.stat("c/d/f/g").unwrap().is_none());
        folder.create_file("e").unwrap();
        assert!(folder.rename_to("e", &folder, "c/d/f", false).is_err());
        folder.remove_all("c").unwrap();
        folder.remove_all("nothing").unwrap();
        assert_eq!(folder.list(".").unwrap(), ["a", "e"]);
    }

    #[test]
    fn follows_no_link_and_opens_no_fifo() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("f"), "secret").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("f"), dir.path().join("file")).unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        assert!(folder.read("link/f").is_err());
        assert!(folder.read("file").is_err());
        assert!(folder.read("../x").is_err());
        assert!(folder.create_file("link/new").is_err());
        rustix::fs::mkfifoat(CWD, dir.path().join("fifo"), Mode::from_raw_mode(0o666)).unwrap();
        assert!(folder.read("fifo").is_err());
        folder.remove_all("link").unwrap();
        assert!(outside.path().join("f").exists());
    }
}
