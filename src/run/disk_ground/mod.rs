//! The ground on disk: output paths in the workspace and in `outside` folders, and what made way
//! below `.flow/`.
//!
//! Owns where each thing lies and what is done where the kernel refuses a rename. Decides nothing.
//! Must hold: everything is reached beneath an open folder; nothing is moved over something else.
//!
//! | place | path |
//! |---|---|
//! | aside | `.flow/FILE/aside/`, which mirrors the workspace (`/x` is `%/x`, `../x` is `%../x`) |
//! | failed | `.flow/FILE/failed/TASK/RUN.ATTEMPT/` |
//! | kept | `.flow/kept/DATE-REASON/`, with `.2` behind it where a path is taken |
//! | on another mount | beside the output as `.flow-aside.NAME`; in its place above a link that says so |

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::stamp_of;
use crate::hash::{Kind, Stamp};
use crate::name::TaskName;
use crate::os::beneath::{Beneath, is_gone, leads_out};
use crate::record::cache::{OpenOutput, hash_file};
use crate::record::record::Tree;
use crate::run::ground::{Ground, INTERRUPTED, Moved, Side, To};

/// How names begin that are not part of any tree: outputs set aside on their own mount.
pub const ASIDE_NAME: &str = ".flow-aside.";

/// Offers a file that is dropped to the cache: the folder and path it stands at, and its content.
/// Says whether it was taken (by a rename).
pub type Lend = Box<dyn FnMut(&Beneath, &str, &Tree) -> bool + Send>;

/// The ground on disk.
pub struct DiskGround {
    workspace: PathBuf,
    /// The workspace, then the `outside` folders.
    bases: Vec<(PathBuf, Beneath)>,
    flow: Beneath,
    own: Beneath,
    own_name: String,
    date: String,
    lend: Option<Lend>,
    /// Folders above outputs that are there.
    parents: HashSet<String>,
    /// Tasks with failed attempts put away, by folder name; asked once.
    failed: Option<HashSet<String>>,
    /// Folders whose links lead out of the workspace: base and path there.
    led: HashMap<String, (usize, String)>,
    /// Outputs that are aside on their own mount, and where.
    shunted: HashMap<String, String>,
    gone: u64,
}

impl DiskGround {
    /// Opens the ground. `flow`: the `.flow` folder; `own_name`: the pipeline file's folder in it;
    /// both are made. `outside`: absolute folders that flow may treat as its own; `date`: today, as
    /// it is to stand in names.
    pub fn open(workspace: &Path, flow: &Path, own_name: &str, outside: &[PathBuf], date: &str) -> io::Result<DiskGround> {
        let mut bases = vec![(std::fs::canonicalize(workspace)?, Beneath::workspace(workspace)?)];
        for folder in outside {
            // One that is not there yet covers nothing.
            if let Ok(real) = std::fs::canonicalize(folder) {
                bases.push((folder.clone(), Beneath::workspace(folder)?));
                if real != *folder {
                    bases.push((real, Beneath::workspace(folder)?));
                }
            }
        }
        let flow = Beneath::create(flow)?;
        let own = flow.make_folder(own_name)?;
        // What an earlier flow could not remove to its end.
        own.remove_all("gone")?;
        Ok(DiskGround {
            workspace: workspace.to_path_buf(),
            bases,
            flow,
            own,
            own_name: own_name.to_string(),
            date: date.to_string(),
            lend: None,
            parents: HashSet::new(),
            failed: None,
            led: HashMap::new(),
            shunted: HashMap::new(),
            gone: 0,
        })
    }

    /// Where dropped outputs are offered first.
    pub fn lend_to(&mut self, lend: Lend) {
        self.lend = Some(lend);
    }

    /// Where an output path lies: the open folder and the path in it. For copies of restores, too.
    pub fn place<'a>(&self, path: &'a str) -> io::Result<(&Beneath, Cow<'a, str>)> {
        let (base, at) = self.locate(path)?;
        let (_, folder) = self.bases.get(base).ok_or_else(|| not_covered(path))?;
        Ok((folder, at))
    }

    /// Opens outputs (and files in them) for reading, from a thread of its own: for the
    /// [`Saver`](crate::record::cache::Saver).
    pub fn reader(&self) -> io::Result<OpenOutput> {
        let bases = self.bases.iter().map(|(path, folder)| Ok((path.clone(), folder.again()?))).collect::<io::Result<_>>()?;
        let ground = DiskGround {
            workspace: self.workspace.clone(),
            bases,
            flow: self.flow.again()?,
            own: self.own.again()?,
            own_name: String::new(),
            date: String::new(),
            lend: None,
            parents: HashSet::new(),
            failed: None,
            led: self.led.clone(),
            shunted: HashMap::new(),
            gone: 0,
        };
        let ground = RefCell::new(ground);
        Ok(Box::new(move |path| {
            let read = |ground: &DiskGround| {
                let (folder, at) = ground.place(path)?;
                folder.read(&at)
            };
            let first = read(&ground.borrow());
            match first {
                Err(error) if leads_out(&error) => {
                    ground.borrow_mut().lead(path)?;
                    read(&ground.borrow())
                }
                other => other,
            }
        }))
    }

    fn locate<'a>(&self, path: &'a str) -> io::Result<(usize, Cow<'a, str>)> {
        if path.starts_with('/') || path == ".." || path.starts_with("../") {
            let full =
                if path.starts_with('/') { PathBuf::from(path) } else { above(&self.bases, path).ok_or_else(|| not_covered(path))? };
            let (base, at) = self.covered(&full).ok_or_else(|| not_covered(path))?;
            return Ok((base, Cow::Owned(at)));
        }
        if !self.led.is_empty() {
            let mut folder = path;
            while let Some((above, _)) = folder.rsplit_once('/') {
                if let Some((base, at)) = self.led.get(above) {
                    let rest = path.get(above.len() + 1..).unwrap_or_default();
                    return Ok((*base, Cow::Owned(if at.is_empty() { rest.to_string() } else { format!("{at}/{rest}") })));
                }
                folder = above;
            }
        }
        Ok((0, Cow::Borrowed(path)))
    }

    /// The base that covers a full path, and the path in it.
    fn covered(&self, full: &Path) -> Option<(usize, String)> {
        self.bases.iter().enumerate().find_map(|(index, (base, _))| {
            let at = full.strip_prefix(base).ok()?.to_str()?;
            Some((index, at.to_string()))
        })
    }

    /// A folder above `path` leads out of the workspace by a link: finds which base it leads to.
    fn lead(&mut self, path: &str) -> io::Result<()> {
        let mut folder = path.rsplit_once('/').map(|(folder, _)| folder).ok_or_else(|| not_covered(path))?;
        loop {
            match std::fs::canonicalize(self.workspace.join(folder)) {
                Ok(real) => {
                    let found = self.covered(&real).ok_or_else(|| not_covered(path))?;
                    self.led.insert(folder.to_string(), found);
                    return Ok(());
                }
                Err(error) if is_gone(&error) => folder = folder.rsplit_once('/').map(|(folder, _)| folder).ok_or(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn out_stat(&mut self, path: &str) -> io::Result<Option<rustix::fs::Stat>> {
        let (folder, at) = self.place(path)?;
        match folder.stat(&at) {
            Err(error) if leads_out(&error) => {}
            other => return other,
        }
        self.lead(path)?;
        let (folder, at) = self.place(path)?;
        folder.stat(&at).map_err(|error| if leads_out(&error) { not_covered(path) } else { error })
    }

    /// Where on its own mount an output that is aside lies, as an output path.
    fn shunted(&self, path: &str) -> Option<String> {
        if self.shunted.is_empty() {
            return None;
        }
        let mut folder = path;
        loop {
            if let Some(hidden) = self.shunted.get(folder) {
                return Some(format!("{hidden}{}", path.get(folder.len()..).unwrap_or_default()));
            }
            folder = folder.rsplit_once('/')?.0;
        }
    }

    /// One rename. What the kernel refuses within one file system (a lower folder of overlayfs) is
    /// done file by file.
    fn rename(from: &Beneath, at: &str, to: &Beneath, there: &str) -> io::Result<()> {
        let refused = match from.rename_to(at, to, there, false) {
            Err(error) if leads_out(&error) => error,
            other => return other,
        };
        let Some(stat) = from.stat(at)? else { return Err(refused) };
        let above = there.rsplit_once('/').map_or(".", |(folder, _)| folder);
        if stamp_of(&stat).kind() != Kind::Folder || to.stat(above)?.is_none_or(|above| above.st_dev != stat.st_dev) {
            return Err(refused);
        }
        to.make_one(there)?;
        for name in from.list(at)? {
            let name = name.to_str().ok_or_else(|| io::Error::other(format!("a name in `{at}` is not UTF-8: {name:?}")))?;
            DiskGround::rename(from, &format!("{at}/{name}"), to, &format!("{there}/{name}"))?;
        }
        from.remove_folder(at)
    }

    /// From an output path to a place below `.flow/`; on another mount beside the output, with a link
    /// in that place that says so.
    fn out_to(&mut self, path: &str, flow: bool, there: &str, hidden: &str) -> io::Result<Moved> {
        let (from, at) = self.place(path)?;
        let to = if flow { &self.flow } else { &self.own };
        let moved = match DiskGround::rename(from, &at, to, there) {
            Err(error) if leads_out(&error) => {
                let (above, _) = there.rsplit_once('/').unwrap_or((".", there));
                to.make_folder(above)?;
                // The link first: one that leads nowhere says that nothing was moved.
                to.make_link(hidden, there)?;
                let (other, aside) = self.place(hidden)?;
                let moved = DiskGround::rename(from, &at, other, &aside);
                if moved.is_err() {
                    to.remove_file(there)?;
                }
                if moved.is_ok() && !flow && there.starts_with("aside/") {
                    self.shunted.insert(path.to_string(), hidden.to_string());
                }
                moved
            }
            other => other,
        };
        match moved {
            Ok(()) => Ok(Moved::To(format!(".flow/{}{there}", if flow { String::new() } else { format!("{}/", self.own_name) }))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Moved::Taken),
            Err(error) if is_gone(&error) => match self.out_stat(path)? {
                None => Ok(Moved::Nothing),
                // A file stands where the place needs a folder.
                Some(_) => Ok(Moved::Taken),
            },
            Err(error) => Err(error),
        }
    }

    /// The first of `folder`, `folder.2`, … where this path is free.
    fn out_to_free(&mut self, path: &str, flow: bool, folder: &str) -> io::Result<Moved> {
        for n in 1..100_000 {
            let number = if n == 1 { String::new() } else { format!(".{n}") };
            let hidden = format!("{}.kept{}-{n}", hidden(path), self.date);
            match self.out_to(path, flow, &format!("{folder}{number}/{}", encoded(path)), &hidden)? {
                Moved::Taken => {}
                moved => return Ok(moved),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// What lies below here on its own mount goes first: links say where.
    fn remove_failed(&mut self, folder: &str) -> io::Result<()> {
        let mut folders = vec![folder.to_string()];
        while let Some(folder) = folders.pop() {
            for name in self.own.list(&folder)? {
                let Some(name) = name.to_str() else { continue };
                let at = format!("{folder}/{name}");
                let Some(stat) = self.own.stat(&at)? else { continue };
                match stamp_of(&stat).kind() {
                    Kind::Folder => folders.push(at),
                    Kind::Link => {
                        let text = self.own.read_link(&at)?;
                        let hidden = text.to_str().filter(|text| text.rsplit('/').next().is_some_and(|name| name.starts_with(ASIDE_NAME)));
                        if let Some(hidden) = hidden
                            && let Ok((other, there)) = self.place(hidden)
                        {
                            other.remove_all(&there)?;
                        }
                    }
                    Kind::File | Kind::Other => {}
                }
            }
        }
        self.own.remove_all(folder)
    }

    /// Removes what is aside: a folder by one rename first, so that no half of it can come back.
    fn remove_aside(&mut self, at: &str) -> io::Result<()> {
        match self.own.remove_file(at) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            // A folder, or a refusal that the rename below meets again.
            Err(_) => {}
        }
        self.gone += 1;
        let gone = format!("gone/{}", self.gone);
        DiskGround::rename(&self.own, at, &self.own, &gone)?;
        self.own.remove_all(&gone)?;
        match self.own.remove_folder("gone") {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty && !is_gone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

impl Ground for DiskGround {
    fn stat(&mut self, side: Side, path: &str) -> io::Result<Option<Stamp>> {
        if side == Side::Out {
            return Ok(self.out_stat(path)?.as_ref().map(stamp_of));
        }
        if let Some(hidden) = self.shunted(path) {
            return Ok(self.out_stat(&hidden)?.as_ref().map(stamp_of));
        }
        let at = aside(path);
        let Some(stamp) = self.own.stat(&at)?.as_ref().map(stamp_of) else { return Ok(None) };
        if stamp.kind() == Kind::Link && self.own.read_link(&at)?.to_str() == Some(&hidden(path)) {
            let hidden = hidden(path);
            let there = self.out_stat(&hidden)?;
            match there {
                // Killed between link and rename, or after coming back.
                None => self.own.remove_file(&at)?,
                Some(_) => {
                    self.shunted.insert(path.to_string(), hidden);
                }
            }
            return Ok(there.as_ref().map(stamp_of));
        }
        Ok(Some(stamp))
    }

    fn names(&mut self, side: Side, folder: &str) -> io::Result<Option<Vec<String>>> {
        let names = match (side, self.shunted(folder)) {
            (Side::Out, _) => {
                let (base, at) = self.place(folder)?;
                base.list(&at)?
            }
            (Side::Aside, Some(hidden)) => {
                let (base, at) = self.place(&hidden)?;
                base.list(&at)?
            }
            (Side::Aside, None) => self.own.list(&aside(folder))?,
        };
        let names = names.into_iter().map(|name| name.into_string().ok());
        Ok(names.filter(|name| name.as_ref().is_none_or(|name| !name.starts_with(ASIDE_NAME))).collect())
    }

    fn tops(&mut self) -> io::Result<Vec<String>> {
        let mut tops = Vec::new();
        let mut look = vec![("aside".to_string(), String::new())];
        while let Some((folder, before)) = look.pop() {
            let names = match self.own.list(&folder) {
                Err(error) if is_gone(&error) => continue,
                other => other?,
            };
            for name in names {
                let name = name.into_string().map_err(|name| io::Error::other(format!("a name in `{folder}` is not UTF-8: {name:?}")))?;
                match name.strip_prefix('%') {
                    Some("") if before.is_empty() => look.push((format!("{folder}/%"), "/".into())),
                    Some("..") if !before.starts_with('/') => look.push((format!("{folder}/%.."), format!("{before}../"))),
                    Some(plain) if !before.starts_with('/') => tops.push(format!("{before}{plain}")),
                    _ => tops.push(format!("{before}{name}")),
                }
            }
        }
        Ok(tops)
    }

    fn same(&mut self, path: &str, now: &Stamp, what: &Tree, said: &Stamp) -> io::Result<bool> {
        let (folder, at) = self.place(path)?;
        match (what, now.kind()) {
            (Tree::File { digest, executable, bytes }, Kind::File) => {
                if now == said {
                    return Ok(true);
                }
                if *bytes != now.size || *executable != now.executable() {
                    return Ok(false);
                }
                let read = folder.read(&at).and_then(|file| hash_file(file, now.size));
                match read {
                    Ok(found) => Ok(found == *digest),
                    // Not ours to read, so not ours; and gone is another content.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied || is_gone(&error) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            (Tree::Link(text), Kind::Link) => Ok(folder.read_link(&at)?.to_str() == Some(text)),
            (Tree::Folder(_), Kind::Folder) => Ok(true),
            _ => Ok(false),
        }
    }

    fn shift(&mut self, path: &str, to: To<'_>) -> io::Result<Moved> {
        match to {
            To::Aside => self.out_to(path, false, &aside(path), &hidden(path)),
            To::Kept(reason) => self.out_to_free(path, true, &format!("kept/{}-{reason}", self.date)),
            To::Failed(failed) => {
                let task = failed.task.folder();
                let moved = self.out_to_free(path, false, &format!("failed/{task}/{}", failed.label))?;
                if let (Moved::To(_), Some(known)) = (&moved, &mut self.failed) {
                    known.insert(task);
                }
                Ok(moved)
            }
            To::Out => {
                let hidden = self.shunted(path);
                let (base, at) = self.place(path)?;
                let moved = match &hidden {
                    Some(hidden) => {
                        let (from, there) = self.place(hidden)?;
                        DiskGround::rename(from, &there, base, &at)
                    }
                    None => DiskGround::rename(&self.own, &aside(path), base, &at),
                };
                match moved {
                    Ok(()) => {
                        if self.shunted.remove(path).is_some() {
                            self.own.remove_file(&aside(path))?;
                        }
                        Ok(Moved::To(path.to_string()))
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Moved::Taken),
                    Err(error) if is_gone(&error) => match self.stat(Side::Aside, path)? {
                        None => Ok(Moved::Nothing),
                        Some(_) => Err(error),
                    },
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        let Some((folder, _)) = path.rsplit_once('/') else { return Ok(()) };
        if folder.is_empty() || self.parents.contains(folder) {
            return Ok(());
        }
        let (base, at) = self.place(path)?;
        if let Some((above, _)) = at.rsplit_once('/') {
            base.make_folder(above)?;
        }
        self.parents.insert(folder.to_string());
        Ok(())
    }

    fn retire(&mut self, path: &str, was: Option<&Tree>) -> io::Result<()> {
        let at = aside(path);
        if let Some(hidden) = self.shunted(path) {
            let (other, there) = self.place(&hidden)?;
            other.remove_all(&there)?;
            if self.shunted.remove(path).is_some() {
                self.own.remove_file(&at)?;
            }
            return Ok(());
        }
        if let (Some(lend), Some(was)) = (&mut self.lend, was) {
            match was {
                Tree::Folder(members) => {
                    for member in members.iter().filter(|member| matches!(member.what, Tree::File { .. })) {
                        // Whether its content is still that, the stamp says: a folder's members keep theirs.
                        let there = format!("{at}/{}", member.name);
                        if self.own.stat(&there)?.as_ref().map(stamp_of) == Some(member.stamp) {
                            lend(&self.own, &there, &member.what);
                        }
                    }
                }
                Tree::File { .. } if lend(&self.own, &at, was) => return Ok(()),
                _ => {}
            }
        }
        self.remove_aside(&at)
    }

    fn prune(&mut self, folder: &str) -> io::Result<()> {
        let mut at = if folder == "." { "aside".to_string() } else { aside(folder) };
        loop {
            match self.own.remove_folder(&at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Something is in it, or it is no folder.
                Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
                Err(error) => return Err(error),
            }
            let Some((above, _)) = at.rsplit_once('/') else { return Ok(()) };
            at.truncate(above.len());
        }
    }

    fn unkeep(&mut self, place: &str, what: &Tree) -> io::Result<bool> {
        let (Some(at), Tree::File { digest, executable, bytes }) = (place.strip_prefix(".flow/"), what) else { return Ok(false) };
        let Some(stamp) = self.flow.stat(at)?.as_ref().map(stamp_of) else { return Ok(false) };
        if stamp.kind() != Kind::File || stamp.size != *bytes || stamp.executable() != *executable {
            return Ok(false);
        }
        if self.flow.read(at).and_then(|file| hash_file(file, stamp.size)).ok() != Some(*digest) {
            return Ok(false);
        }
        self.flow.remove_file(at)?;
        let mut at = at;
        while let Some((above, _)) = at.rsplit_once('/') {
            // The first that holds something else ends it.
            if self.flow.remove_folder(above).is_err() {
                break;
            }
            at = above;
        }
        Ok(true)
    }

    fn has_failed(&mut self, task: &TaskName) -> io::Result<bool> {
        if self.failed.is_none() {
            let names = match self.own.list("failed") {
                Err(error) if is_gone(&error) => Vec::new(),
                other => other?,
            };
            self.failed = Some(names.into_iter().filter_map(|name| name.into_string().ok()).collect());
        }
        Ok(self.failed.as_ref().is_some_and(|failed| !failed.is_empty() && failed.contains(&task.folder())))
    }

    fn clear_failed(&mut self, task: &TaskName, but: Option<&str>) -> io::Result<()> {
        let task = task.folder();
        let folder = format!("failed/{task}");
        let labels = match self.own.list(&folder) {
            Err(error) if is_gone(&error) => Vec::new(),
            other => other?,
        };
        let is_kept =
            |label: &str| but.is_some_and(|but| label.strip_prefix(but).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
        let mut left = false;
        for label in labels {
            let Some(label) = label.to_str() else { continue };
            let from = format!("{folder}/{label}");
            if is_kept(label) {
                left = true;
            } else if label.contains(INTERRUPTED) {
                let moved = (1..100_000).find_map(|n| {
                    let number = if n == 1 { String::new() } else { format!(".{n}") };
                    let to = format!("kept/{}-interrupted{number}/{task}/{label}", self.date);
                    match DiskGround::rename(&self.own, &from, &self.flow, &to) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                        other => Some(other),
                    }
                });
                moved.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))?;
            } else {
                self.remove_failed(&from)?;
            }
        }
        if !left {
            let _ = self.own.remove_folder(&folder);
            let _ = self.own.remove_folder("failed");
            if let Some(failed) = &mut self.failed {
                failed.remove(&task);
            }
        }
        Ok(())
    }
}

fn not_covered(path: &str) -> io::Error {
    io::Error::other(format!("`{path}` lies outside the workspace, and no folder under `outside` covers it"))
}

/// The full path of one above the workspace.
fn above(bases: &[(PathBuf, Beneath)], path: &str) -> Option<PathBuf> {
    let mut full = bases.first()?.0.clone();
    for part in path.split('/') {
        if part == ".." {
            full.pop();
        } else {
            full.push(part);
        }
    }
    Some(full)
}

/// An output path as one below a folder of ours.
fn encoded(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') {
        return Cow::Owned(format!("%{path}"));
    }
    if !path.starts_with("..") && !path.starts_with('%') {
        return Cow::Borrowed(path);
    }
    let mut up = String::new();
    let mut rest = path;
    while let Some(below) = rest.strip_prefix("../") {
        up.push_str("%../");
        rest = below;
    }
    let mark = if rest.starts_with('%') { "%" } else { "" };
    Cow::Owned(format!("{up}{mark}{rest}"))
}

fn aside(path: &str) -> String {
    format!("aside/{}", encoded(path))
}

/// Beside an output, on its own mount.
fn hidden(path: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/{ASIDE_NAME}{name}"),
        None => format!("{ASIDE_NAME}{path}"),
    }
}

#[cfg(test)]
mod tests;
