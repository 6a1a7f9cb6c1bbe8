//! What stands at a path, as content: a file, a link or a whole folder.
//!
//! Must hold: one state on disk gives one [`Tree`], in whatever order the file system lists it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;
use rustix::io::Errno;

use crate::hash::{Digest, Kind, Stamp};
use crate::name::RelPath;
use crate::pattern::{is_flows_own, is_left_out};
use crate::record::record::{Member, Tree};

use super::fault::{DiskFault, shown};
use super::memo::Known;
use super::{Disk, TRIES, child};

/// How links count and which names are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// As something that is read. A link counts by what it leads to. Inside a folder that holds for
    /// a link that leads to a file of that folder; any other link in it counts by its text: one that
    /// leads nowhere or in a circle, one that leads out of the folder, and one to a folder of the
    /// folder (what is in there counts by itself, where it is).
    /// Names that [`is_left_out`] are left out of a folder.
    Input,
    /// As something that was made: every link counts by its text. Only what [`is_flows_own`] is left out.
    Output,
}

/// What stands at a path.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// The content.
    pub tree: Tree,
    /// Its stamp; as [`View::Output`] a link's own.
    pub stamp: Stamp,
    /// Whether all stamps in it are final. If not, they may be believed by this run, and by the next
    /// only after [`Disk::settle_all`].
    pub settled: bool,
}

impl Seen {
    fn file(known: &Known) -> Seen {
        Seen { tree: file(known), stamp: known.stamp, settled: known.settled }
    }
}

fn file(known: &Known) -> Tree {
    Tree::File { digest: known.digest, executable: known.stamp.executable(), bytes: known.stamp.size }
}

impl Disk {
    /// What stands at a path; `None` if nothing does (or a link that leads nowhere, where links are
    /// followed). Reads only what has another stamp than it had when it was last read.
    pub fn see(&self, path: &RelPath, view: View) -> Result<Option<Seen>, DiskFault> {
        let follow = view == View::Input;
        for _ in 0..TRIES {
            let Some(stamp) = self.stamp(path, follow)? else { return Ok(None) };
            let seen = match stamp.kind() {
                Kind::File => self.digest(path, follow, &stamp)?.map(|known| Seen::file(&known)),
                Kind::Link => self.link(path)?.map(|(stamp, text, settled)| Seen { tree: Tree::Link(text), stamp, settled }),
                Kind::Folder => self.folder(path, view)?,
                Kind::Other => return Err(DiskFault::no_file(path.as_str(), &stamp)),
            };
            if seen.is_some() {
                return Ok(seen);
            }
        }
        Err(DiskFault::Changing { path: path.as_str().into() })
    }

    /// What stands at many paths, on all threads; in the order asked.
    pub fn see_all(&self, wanted: &[(RelPath, View)]) -> Vec<Result<Option<Seen>, DiskFault>> {
        wanted.par_iter().map(|(path, view)| self.see(path, *view)).collect()
    }

    /// A link's stamp and text, and whether they are final; `None` if none is there.
    pub(super) fn link(&self, path: &RelPath) -> Result<Option<(Stamp, String, bool)>, DiskFault> {
        for _ in 0..TRIES {
            let start = SystemTime::now();
            let Some(stamp) = self.stamp(path, false)?.filter(|stamp| stamp.kind() == Kind::Link) else { return Ok(None) };
            let seen = self.memo.seen(path, &stamp);
            let text = match rustix::fs::readlinkat(self.root(), path.as_str(), Vec::new()) {
                Ok(text) => text,
                Err(Errno::NOENT | Errno::INVAL) => continue,
                Err(error) => return Err(DiskFault::system(path.as_str(), error)),
            };
            if self.stamp(path, false)? != Some(stamp) {
                continue;
            }
            let settled = self.grains.known(&stamp).is_final(&stamp, start, seen);
            self.memo.mark(path, false, Known { stamp, digest: Digest::of(text.as_bytes()), settled });
            return match text.into_string() {
                Ok(text) => Ok(Some((stamp, text, settled))),
                Err(odd) => Err(DiskFault::NotUtf8 { folder: path.as_str().into(), name: shown(odd.into_cstring().as_bytes()) }),
            };
        }
        Err(DiskFault::Changing { path: path.as_str().into() })
    }

    /// A folder with all below it; `None` if something in it went away meanwhile.
    fn folder(&self, top: &RelPath, view: View) -> Result<Option<Seen>, DiskFault> {
        let mut members: Vec<Member> = Vec::new();
        let mut files: Vec<(usize, RelPath, bool)> = Vec::new();
        let mut settled = true;
        let mut stamp = Stamp::default();
        let mut inside = Inside { disk: self, top, real: None };
        // Folders to be listed: which member they are. The first is the top, which is none.
        let mut open: Vec<Option<usize>> = vec![None];
        while let Some(at) = open.pop() {
            let above = at.and_then(|at| members.get(at)).map(|member| member.name.clone());
            let folder = above.as_ref().map_or_else(|| top.clone(), |name| child(top, name));
            let Some(listing) = self.list_anew(&folder)? else { return Ok(None) };
            settled &= listing.settled;
            match at.and_then(|at| members.get_mut(at)) {
                Some(member) => member.stamp = listing.stamp,
                None => stamp = listing.stamp,
            }
            if let Some(name) = listing.odd.first() {
                return Err(DiskFault::NotUtf8 { folder: folder.as_str().into(), name: shown(name) });
            }
            for entry in &listing.entries {
                let left_out = if view == View::Input { is_left_out } else { is_flows_own };
                if left_out(&entry.name) {
                    continue;
                }
                let name = above.as_ref().map_or_else(|| entry.name.to_string(), |above| format!("{above}/{}", entry.name));
                let path = child(top, &name);
                let mut member = Member { name, what: Tree::Absent, stamp: Stamp::default() };
                match entry.kind {
                    Kind::File => files.push((members.len(), path, false)),
                    Kind::Folder => {
                        member.what = Tree::Folder(Vec::new());
                        open.push(Some(members.len()));
                    }
                    Kind::Link if view == View::Input && inside.leads_to_file(&path)? => files.push((members.len(), path, true)),
                    Kind::Link => {
                        let Some((stamp, text, is_final)) = self.link(&path)? else { return Ok(None) };
                        (member.what, member.stamp) = (Tree::Link(text), stamp);
                        settled &= is_final;
                    }
                    Kind::Other => {
                        let Some(stamp) = self.stamp(&path, false)? else { return Ok(None) };
                        return Err(DiskFault::no_file(path.as_str(), &stamp));
                    }
                }
                members.push(member);
            }
        }
        let known: Vec<Option<Known>> =
            files.par_iter().map(|(_, path, follow)| self.member_file(path, *follow)).collect::<Result<_, DiskFault>>()?;
        for ((at, ..), known) in files.iter().zip(known) {
            let (Some(member), Some(known)) = (members.get_mut(*at), known) else { return Ok(None) };
            (member.what, member.stamp) = (file(&known), known.stamp);
            settled &= known.settled;
        }
        members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(Seen { tree: Tree::Folder(members), stamp, settled }))
    }

    fn member_file(&self, path: &RelPath, follow: bool) -> Result<Option<Known>, DiskFault> {
        match self.stamp(path, follow)? {
            Some(stamp) if stamp.kind() == Kind::File => self.digest(path, follow, &stamp),
            _ => Ok(None),
        }
    }
}

/// Says which links stay within a folder.
struct Inside<'a> {
    disk: &'a Disk,
    top: &'a RelPath,
    /// The folder without links, once it was needed.
    real: Option<PathBuf>,
}

impl Inside<'_> {
    /// Whether a link leads to a file in the folder.
    fn leads_to_file(&mut self, link: &RelPath) -> Result<bool, DiskFault> {
        // What can't be resolved leads nowhere.
        let Ok(end) = self.disk.path.join(link.as_str()).canonicalize() else { return Ok(false) };
        if self.real.is_none() {
            self.real = self.disk.path.join(self.top.as_str()).canonicalize().ok();
        }
        if !self.real.as_deref().is_some_and(|real: &Path| end.starts_with(real)) {
            return Ok(false);
        }
        match self.disk.stamp(link, true)? {
            Some(stamp) if stamp.kind() == Kind::Other => Err(DiskFault::no_file(link.as_str(), &stamp)),
            stamp => Ok(stamp.is_some_and(|stamp| stamp.kind() == Kind::File)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::disk::tests::{disk, fifo, path};

    fn names(seen: &Seen) -> Vec<&str> {
        match &seen.tree {
            Tree::Folder(members) => members.iter().map(|member| &*member.name).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn member<'a>(seen: &'a Seen, name: &str) -> &'a Tree {
        match &seen.tree {
            Tree::Folder(members) => &members.iter().find(|member| member.name == name).unwrap().what,
            other => panic!("{other:?}"),
        }
    }

    fn plain(bytes: &[u8]) -> Tree {
        Tree::File { digest: Digest::of(bytes), executable: false, bytes: bytes.len() as u64 }
    }

    fn input(disk: &Disk, name: &str) -> Seen {
        disk.see(&path(name), View::Input).unwrap().unwrap()
    }

    fn output(disk: &Disk, name: &str) -> Seen {
        disk.see(&path(name), View::Output).unwrap().unwrap()
    }

    #[test]
    fn files_and_links_to_them() {
        let (dir, disk) = disk();
        let f = dir.path().join("f");
        fs::write(&f, "x").unwrap();
        symlink("f", dir.path().join("l")).unwrap();
        symlink("gone", dir.path().join("dangling")).unwrap();
        assert_eq!(input(&disk, "f").tree, plain(b"x"));
        assert_eq!(input(&disk, "l").tree, plain(b"x"));
        assert_eq!(output(&disk, "l").tree, Tree::Link("f".into()));
        assert_eq!(output(&disk, "dangling").tree, Tree::Link("gone".into()));
        assert_eq!(disk.see(&path("dangling"), View::Input), Ok(None));
        assert_eq!(disk.see(&path("gone"), View::Output), Ok(None));
        fs::set_permissions(&f, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(input(&disk, "f").tree, Tree::File { executable: true, .. }));
    }

    #[test]
    fn a_touch_keeps_the_digest() {
        let (dir, disk) = disk();
        let f = dir.path().join("f");
        fs::write(&f, "x").unwrap();
        let before = input(&disk, "f");
        let file = fs::File::options().write(true).open(&f).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(1)).unwrap();
        let after = input(&disk, "f");
        assert_eq!(before.tree, after.tree);
        assert_ne!(before.stamp, after.stamp);
    }

    #[test]
    fn an_unchanged_stamp_is_not_read_again() {
        let (dir, disk) = disk();
        fs::write(dir.path().join("f"), "x").unwrap();
        let stamp = disk.stamp(&path("f"), true).unwrap().unwrap();
        disk.know(path("f"), stamp, Digest::of(b"said"));
        assert_eq!(input(&disk, "f").tree, Tree::File { digest: Digest::of(b"said"), executable: false, bytes: 1 });
        let doubtful = Disk::new(dir.path().into()).unwrap().rehash();
        doubtful.know(path("f"), stamp, Digest::of(b"said"));
        assert_eq!(input(&doubtful, "f").tree, plain(b"x"));
    }

    #[test]
    fn an_edit_after_a_look_is_seen() {
        let (dir, disk) = disk();
        disk.probe(dir.path());
        let f = dir.path().join("f");
        for text in ["one", "two", "six"] {
            fs::write(&f, text).unwrap();
            let seen = input(&disk, "f");
            // On a coarse clock a look within one tick is not final, and the end of a run finds it.
            if seen.settled || disk.settle_all().is_empty() {
                assert_eq!(seen.tree, plain(text.as_bytes()));
            }
        }
    }

    #[test]
    fn folders_by_names_types_and_contents() {
        let (dir, disk) = disk();
        let top = dir.path().join("d");
        for folder in ["a", "empty", "a.b", ".git", "a/.flow", "__pycache__", ".flow-aside.x"] {
            fs::create_dir_all(top.join(folder)).unwrap();
        }
        for file in ["a/x", "a.b/x", ".hidden", ".git/HEAD", "a/.flow/state", "a/.DS_Store", "__pycache__/x.pyc"] {
            fs::write(top.join(file), file).unwrap();
        }
        let seen = input(&disk, "d");
        assert_eq!(names(&seen), [".hidden", "a", "a.b", "a.b/x", "a/x", "empty"]);
        assert_eq!(*member(&seen, "empty"), Tree::Folder(Vec::new()));
        assert_eq!(*member(&seen, "a/x"), plain(b"a/x"));
        assert_eq!(seen.tree.content(), input(&disk, "./d/").tree.content());
        let made = output(&disk, "d");
        assert_eq!(
            names(&made),
            [".git", ".git/HEAD", ".hidden", "__pycache__", "__pycache__/x.pyc", "a", "a.b", "a.b/x", "a/.DS_Store", "a/x", "empty"]
        );
        fs::remove_dir(top.join("empty")).unwrap();
        assert_ne!(seen.tree.content(), input(&disk, "d").tree.content());
        assert_eq!(names(&input(&disk, "d/__pycache__")), ["x.pyc"], "named, it is seen");
    }

    #[test]
    fn links_in_a_folder() {
        let (dir, disk) = disk();
        let top = dir.path().join("d");
        fs::create_dir_all(top.join("sub")).unwrap();
        fs::write(top.join("f"), "in").unwrap();
        fs::write(dir.path().join("out"), "out").unwrap();
        let inside = top.join("f").canonicalize().unwrap();
        let links = [
            ("f", "l"),
            ("../f", "sub/up"),
            (inside.to_str().unwrap(), "sub/absolute"),
            ("../out", "leads_out"),
            ("gone", "dangling"),
            ("self", "self"),
            ("..", "sub/loop"),
            ("/dev/zero", "zero"),
        ];
        for (to, name) in links {
            symlink(to, top.join(name)).unwrap();
        }
        symlink("d", dir.path().join("alias")).unwrap();
        for name in ["d", "alias"] {
            let seen = input(&disk, name);
            for file in ["f", "l", "sub/up", "sub/absolute"] {
                assert_eq!(*member(&seen, file), plain(b"in"), "{file}");
            }
            for (link, text) in [("leads_out", "../out"), ("dangling", "gone"), ("self", "self"), ("sub/loop", ".."), ("zero", "/dev/zero")]
            {
                assert_eq!(*member(&seen, link), Tree::Link(text.into()));
            }
        }
        assert_eq!(*member(&output(&disk, "d"), "l"), Tree::Link("f".into()));
        assert_eq!(output(&disk, "alias").tree, Tree::Link("d".into()));
        // The stamp of a link that counts by its file is the file's.
        let Tree::Folder(members) = input(&disk, "d").tree else { panic!() };
        let stamp = |name: &str| members.iter().find(|member| member.name == name).unwrap().stamp;
        assert_eq!(stamp("l"), stamp("f"));
        assert_eq!(stamp("sub"), disk.stamp(&path("d/sub"), false).unwrap().unwrap());
        assert_eq!(stamp("leads_out"), disk.stamp(&path("d/leads_out"), false).unwrap().unwrap());
    }

    #[test]
    fn what_is_no_file_is_never_opened() {
        let (dir, disk) = disk();
        fs::create_dir(dir.path().join("d")).unwrap();
        fifo(&dir.path().join("d/p"));
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let fault = |name: &str| disk.see(&path(name), View::Input).unwrap_err().to_string();
        let only = "only regular files, folders and links can be read";
        assert_eq!(fault("d/p"), format!("`d/p` is a fifo; {only}"));
        assert_eq!(fault("d"), format!("`d/p` is a fifo; {only}"));
        assert_eq!(fault("s"), format!("`s` is a socket; {only}"));
        assert_eq!(fault("/dev/zero"), format!("`/dev/zero` is a device; {only}"));
        symlink("p", dir.path().join("d/l")).unwrap();
        assert!(disk.see(&path("d/l"), View::Input).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn names_that_are_no_text() {
        let (dir, disk) = disk();
        fs::create_dir_all(dir.path().join("d/sub")).unwrap();
        fs::write(dir.path().join("d/sub").join(std::ffi::OsStr::from_bytes(b"a\xffb")), "").unwrap();
        let fault = disk.see(&path("d"), View::Input).unwrap_err();
        assert_eq!(fault.to_string(), "a name in `d/sub` is not UTF-8: `a\\xFFb`; rename it");
    }

    #[test]
    fn deep_folders() {
        let (dir, disk) = disk();
        let deep = vec!["dd"; 300].join("/");
        fs::create_dir_all(dir.path().join(&deep)).unwrap();
        fs::write(dir.path().join(&deep).join("f"), "x").unwrap();
        let seen = input(&disk, "dd");
        assert_eq!(names(&seen).len(), 300);
        assert_eq!(*member(&seen, &format!("{}/f", vec!["dd"; 299].join("/"))), plain(b"x"));
    }

    #[test]
    fn what_may_not_be_read() {
        let (dir, disk) = disk();
        let (f, d) = (dir.path().join("f"), dir.path().join("d"));
        fs::write(&f, "x").unwrap();
        fs::create_dir(&d).unwrap();
        for closed in [&f, &d] {
            fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
        }
        if fs::read(&f).is_ok() {
            return; // root may read everything
        }
        for name in ["f", "d"] {
            let fault = disk.see(&path(name), View::Input).unwrap_err();
            assert_eq!(fault.to_string(), format!("no permission to read `{name}`"));
        }
        fs::set_permissions(&d, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn many_at_once_in_order() {
        let (dir, disk) = disk();
        let mut wanted = Vec::new();
        for at in 0..200 {
            let name = format!("f{at}");
            fs::write(dir.path().join(&name), &name).unwrap();
            wanted.push((path(&name), View::Input));
        }
        wanted.push((path("gone"), View::Input));
        let seen = disk.see_all(&wanted);
        assert_eq!(seen.len(), 201);
        for (at, seen) in seen.iter().take(200).enumerate() {
            assert_eq!(seen.as_ref().unwrap().as_ref().unwrap().tree, plain(format!("f{at}").as_bytes()));
        }
        assert_eq!(seen[200], Ok(None));
    }
}
