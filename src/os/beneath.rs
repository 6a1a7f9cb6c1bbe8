//! Files opened beneath a folder, with no link followed on the way.
//!
//! Owns every open, rename and removal of what flow itself moves: in `.flow/`, and outputs in the
//! workspace. Never decides what to move. Must hold: nothing outside the folder can be reached
//! through a link, and nothing but a regular file is ever opened for reading. In a folder opened by
//! [`Beneath::open`] no link is followed at all; in one opened by [`Beneath::workspace`] a link that
//! the kernel resolves beneath the folder is, since a workspace is the user's to arrange.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// How a folder is opened.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A folder that is open.
#[derive(Debug)]
pub struct Beneath {
    folder: OwnedFd,
    links: bool,
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl Beneath {
    /// Opens a folder by its path; the folder itself may be reached through links.
    pub fn open(path: &Path) -> io::Result<Beneath> {
        let folder = fs::open(path, FOLDER, Mode::empty())?;
        Ok(Beneath { folder, links: false })
    }

    /// Opens a folder whose links are followed as long as they stay beneath it. A link that leaves
    /// it, or is absolute, fails with `EXDEV` (see [`leads_out`]).
    pub fn workspace(path: &Path) -> io::Result<Beneath> {
        Ok(Beneath { links: true, ..Beneath::open(path)? })
    }

    /// The same open folder once more.
    pub fn again(&self) -> io::Result<Beneath> {
        Ok(Beneath { folder: self.folder.try_clone()?, links: self.links })
    }

    /// Opens a folder, making it and its parents first if they are not there.
    pub fn create(path: &Path) -> io::Result<Beneath> {
        std::fs::create_dir_all(path)?;
        Beneath::open(path)
    }

    /// A folder below this one.
    pub fn folder(&self, path: &str) -> io::Result<Beneath> {
        let folder = self.resolve(path, FOLDER, Mode::empty())?;
        Ok(Beneath { folder, links: self.links })
    }

    /// A folder below this one, made with its parents if it is not there.
    pub fn make_folder(&self, path: &str) -> io::Result<Beneath> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        // Each folder by its whole path: a link on the way may lead up and down again.
        let mut end = 0;
        for part in path.split('/') {
            end += part.len() + usize::from(end > 0);
            if matches!(part, "" | ".") {
                continue;
            }
            let at = path.get(..end).unwrap_or(path);
            match self.make_one(at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        self.folder(path)
    }

    /// Makes one folder; its parent must be there.
    pub fn make_one(&self, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(fs::mkdirat(parent.as_ref().map_or(self.as_fd(), AsFd::as_fd), name, Mode::from_raw_mode(0o777))?)
    }

    /// Opens a regular file for reading. A fifo, device or folder is refused without blocking.
    pub fn read(&self, path: &str) -> io::Result<File> {
        self.regular(path, OFlags::RDONLY)
    }

    /// Opens a regular file for reading and writing, made if it is not there.
    pub fn write(&self, path: &str) -> io::Result<File> {
        self.regular(path, OFlags::RDWR | OFlags::CREATE)
    }

    /// A new file with these permission bits (the umask takes from them); fails if anything stands
    /// there.
    pub fn new_file(&self, path: &str, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(File::from(self.resolve(path, flags, Mode::from_raw_mode(mode as fs::RawMode))?))
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
    #[cfg(target_os = "linux")]
    pub fn stat(&self, path: &str) -> io::Result<Option<fs::Stat>> {
        // A name in the folder itself: nothing on the way can be a link.
        if !path.contains('/') && !matches!(path, "." | ".." | "") {
            return match fs::statat(&self.folder, path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(Some(stat)),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        // One call where nothing stands: a first run asks this of each output.
        match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(found) => Ok(Some(fs::fstat(found)?)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What stands at a path, links not followed; `None`: nothing.
    #[cfg(not(target_os = "linux"))]
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

    /// The text of a link.
    pub fn read_link(&self, path: &str) -> io::Result<std::ffi::OsString> {
        let (parent, name) = self.parent(path)?;
        let text = fs::readlinkat(parent.as_ref().map_or(self.as_fd(), AsFd::as_fd), name, Vec::new())?;
        Ok(OsStr::from_bytes(text.as_bytes()).to_os_string())
    }

    /// A new link with this text; fails if anything stands there.
    pub fn make_link(&self, text: &str, path: &str) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(fs::symlinkat(text, parent.as_ref().map_or(self.as_fd(), AsFd::as_fd), name)?)
    }

    /// Renames `from` to `to` (both below this folder); the parent of `to` is made. Replaces what
    /// stands there, as `rename` does.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_to(from, self, to, true)
    }

    /// Renames into another open folder, whose missing folders are made; with `replace` false it
    /// fails if something stands there.
    pub fn rename_to(&self, from: &str, other: &Beneath, to: &str, replace: bool) -> io::Result<()> {
        let (from_parent, from_name) = self.parent(from)?;
        let (to_parent, to_name) = match other.parent(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A folder is made only for something that is there.
                if self.stat(from)?.is_none() {
                    return Err(error);
                }
                other.parent_made(to)?
            }
            found => found?,
        };
        let from_fd = from_parent.as_ref().map_or(self.as_fd(), AsFd::as_fd);
        let to_fd = to_parent.as_ref().map_or(other.as_fd(), AsFd::as_fd);
        if replace {
            fs::renameat(from_fd, from_name, to_fd, to_name)?;
        } else {
            match fs::renameat_with(from_fd, from_name, to_fd, to_name, RenameFlags::NOREPLACE) {
                // NFS and others know no such flag. Only one flow writes here, so a look will do.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match fs::statat(to_fd, to_name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => return Err(Errno::EXIST.into()),
                    Err(Errno::NOENT) => fs::renameat(from_fd, from_name, to_fd, to_name)?,
                    Err(error) => return Err(error.into()),
                },
                other => other?,
            }
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
        let (parent, name) = match self.parent(path) {
            Ok(found) => found,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let top = parent.map_or_else(|| self.folder.try_clone(), Ok)?;
        // A stack of our own: a deep tree must not overflow the program's. Names are bytes here.
        let mut stack = vec![(OsStr::new(name).to_os_string(), false)];
        while let Some((at, emptied)) = stack.pop() {
            let gone = |error: Errno| matches!(error, Errno::NOENT | Errno::NOTDIR);
            let bytes = at.as_bytes();
            let (folder, last) = match bytes.iter().rposition(|&byte| byte == b'/') {
                None => (None, at.as_os_str()),
                Some(slash) => {
                    let (before, after) = bytes.split_at(slash);
                    let below = Beneath { folder: top.try_clone()?, links: false };
                    let open = below.resolve(OsStr::from_bytes(before), FOLDER, Mode::empty());
                    match open {
                        Ok(open) => (Some(open), OsStr::from_bytes(after.get(1..).unwrap_or_default())),
                        Err(error) if is_gone(&error) => continue,
                        Err(error) => return Err(error),
                    }
                }
            };
            let folder = folder.as_ref().map_or(top.as_fd(), AsFd::as_fd);
            if emptied {
                match fs::unlinkat(folder, last, AtFlags::REMOVEDIR) {
                    Err(error) if !gone(error) => return Err(error.into()),
                    _ => continue,
                }
            }
            let kind = match fs::statat(folder, last, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(error) if gone(error) => continue,
                Err(error) => return Err(error.into()),
            };
            if kind != FileType::Directory {
                match fs::unlinkat(folder, last, AtFlags::empty()) {
                    Err(error) if !gone(error) => return Err(error.into()),
                    _ => continue,
                }
            }
            let open = fs::openat(folder, last, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
            stack.push((at.clone(), true));
            for name in names(&open)? {
                let mut member = at.clone();
                member.push("/");
                member.push(name);
                stack.push((member, false));
            }
        }
        Ok(())
    }

    /// The names in a folder, sorted bytewise; `.` is this folder.
    pub fn list(&self, path: &str) -> io::Result<Vec<std::ffi::OsString>> {
        let mut names = names(&self.folder(path)?.folder)?;
        names.sort();
        Ok(names)
    }

    /// The open parent of a path (`None`: this folder itself) and the path's last part.
    fn parent<'a>(&self, path: &'a str) -> io::Result<(Option<OwnedFd>, &'a str)> {
        match path.rsplit_once('/') {
            None => Ok((None, path)),
            Some((parent, name)) => Ok((Some(self.resolve(parent, FOLDER, Mode::empty())?), name)),
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
    fn resolve(&self, path: impl AsRef<OsStr>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        use rustix::fs::ResolveFlags;
        let path = path.as_ref();
        let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
        let follow = if self.links { ResolveFlags::NO_MAGICLINKS } else { ResolveFlags::NO_SYMLINKS };
        let beneath = ResolveFlags::BENEATH | follow;
        // A file is opened where it stands, never where a link leads.
        let flags = if flags.contains(OFlags::DIRECTORY) { flags } else { flags | OFlags::NOFOLLOW };
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
    fn resolve(&self, path: impl AsRef<OsStr>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.resolve_by_parts(path, flags, mode)
    }

    fn resolve_by_parts(&self, path: impl AsRef<OsStr>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let path = path.as_ref().as_bytes();
        let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        let mut at = self.folder.try_clone()?;
        let Some((last, parents)) = parts.split_last() else {
            return Ok(fs::openat(&at, ".", flags, mode)?);
        };
        if path.starts_with(b"/") || parts.contains(&&b".."[..]) {
            return Err(Errno::XDEV.into());
        }
        for part in parents {
            at = fs::openat(&at, *part, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(fs::openat(&at, *last, flags | OFlags::NOFOLLOW, mode)?)
    }
}

/// The names in an open folder, in no order.
fn names(folder: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_os_string());
        }
    }
    Ok(names)
}

/// Whether an error means that a path leads nowhere.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
}

/// Whether an error means that a path leads out of its folder (or to another file system).
pub fn leads_out(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::XDEV)
}

/// Whether an error means that a path is a mount point and cannot be moved.
pub fn is_busy(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::BUSY)
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

    #[test]
    fn a_workspace_follows_its_own_links_only() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("in")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        let folder = Beneath::workspace(dir.path()).unwrap();
        folder.new_file("in/f", 0o666).unwrap();
        assert!(folder.stat("real/f").unwrap().is_some());
        assert!(folder.new_file("in/f", 0o666).is_err());
        assert!(leads_out(&folder.stat("out/f").unwrap_err()));
        assert!(leads_out(&folder.rename("in/f", "out/f").unwrap_err()));
        folder.make_folder("in/a/b").unwrap();
        assert!(dir.path().join("real/a/b").exists());
        folder.make_link("some text", "in/link").unwrap();
        assert_eq!(folder.read_link("real/link").unwrap(), "some text");
        assert!(folder.read("in/link").is_err());
        assert!(folder.rename_to("nothing", &folder, "made/x", false).is_err());
        assert!(folder.stat("made").unwrap().is_none());
    }
}
