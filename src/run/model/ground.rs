//! The ground of the model: files and frames in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::{Frame, Scene};
use crate::hash::{Digest, Stamp};
use crate::name::TaskName;
use crate::record::record::Tree;
use crate::run::ground::{Ground, INTERRUPTED, Moved, Side, To};

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Node {
    Folder,
    File(Arc<str>),
}

/// What a crash leaves.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct World {
    /// By place and path: `out/q`, `aside/w/d/m`, `kept/changed/q`, `failed/t/1.1/q`.
    pub fs: BTreeMap<Arc<str>, Node>,
    pub frames: Vec<Frame>,
}

impl World {
    pub fn put(&mut self, place: &str, path: &str, content: &str) {
        self.make_folders(&format!("{place}/{path}"));
        self.fs.insert(format!("{place}/{path}").into(), Node::File(content.into()));
    }

    pub fn is(&self, path: &str, content: &str) -> bool {
        matches!(self.fs.get(&*format!("out/{path}")), Some(Node::File(is)) if &**is == content)
    }

    pub fn holds(&self, content: &str) -> bool {
        self.fs.values().any(|node| matches!(node, Node::File(is) if &**is == content))
    }

    fn make_folders(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            if !self.fs.contains_key(&path[..at]) {
                self.fs.insert(path[..at].into(), Node::Folder);
            }
        }
    }

    fn is_empty(&self, folder: &str) -> bool {
        let prefix = format!("{folder}/");
        !self.fs.keys().any(|path| path.starts_with(&prefix))
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Frame(frame) => self.frames.push(frame.clone()),
            Op::Sync => {}
            Op::Write(path, content) => {
                self.make_folders(path);
                self.fs.insert(path.as_str().into(), Node::File(content.clone()));
            }
            Op::Folders(path) => self.make_folders(path),
            Op::Move(from, to) => {
                let inside = format!("{from}/");
                let moved: Vec<Arc<str>> = self.fs.keys().filter(|path| ***path == **from || path.starts_with(&inside)).cloned().collect();
                for path in moved {
                    if let Some(node) = self.fs.remove(&path) {
                        self.fs.insert(format!("{to}{}", &path[from.len()..]).into(), node);
                    }
                }
            }
            Op::Remove(path) => {
                let inside = format!("{path}/");
                self.fs.retain(|at, _| **at != **path && !at.starts_with(&inside));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Frame(Frame),
    Sync,
    Write(String, Arc<str>),
    /// The folders above a path.
    Folders(String),
    Move(String, String),
    Remove(String),
}

/// One process: it can be stopped before any step.
pub struct Model {
    first: World,
    pub world: World,
    ops: Vec<Op>,
    left: Option<usize>,
    pub killed: bool,
}

impl Model {
    pub fn new(world: &World, steps: Option<usize>) -> Model {
        Model { first: world.clone(), world: world.clone(), ops: Vec::new(), left: steps, killed: false }
    }

    fn act(&mut self, op: Op) -> io::Result<()> {
        if self.left == Some(0) {
            self.killed = true;
            return Err(io::Error::other("killed"));
        }
        self.left = self.left.map(|left| left - 1);
        self.world.apply(&op);
        self.ops.push(op);
        Ok(())
    }

    /// What a power cut at any time until now may leave: any prefix of frames that holds the synced
    /// ones, with any prefix of moves and writes. What a cut may leave only grows until a sync.
    pub fn cuts(&self) -> Vec<World> {
        let syncs = self.ops.iter().enumerate().filter(|(_, op)| matches!(op, Op::Sync)).map(|(at, _)| at);
        let mut least = 0;
        let mut worlds = Vec::new();
        for end in syncs.chain([self.ops.len()]) {
            self.cuts_until(end, least, &mut worlds);
            least = self.ops.iter().take(end).filter(|op| matches!(op, Op::Frame(_))).count();
        }
        worlds
    }

    fn cuts_until(&self, end: usize, least: usize, worlds: &mut Vec<World>) {
        let (frames, files): (Vec<&Op>, Vec<&Op>) =
            self.ops.iter().take(end).filter(|op| !matches!(op, Op::Sync)).partition(|op| matches!(op, Op::Frame(_)));
        let mut world = self.first.clone();
        for done in 0..=files.len() {
            if let Some(op) = done.checked_sub(1).and_then(|at| files.get(at)) {
                world.apply(op);
            }
            let mut framed = world.clone();
            for written in 0..=frames.len() {
                if let Some(op) = written.checked_sub(1).and_then(|at| frames.get(at)) {
                    framed.apply(op);
                }
                if written >= least {
                    worlds.push(framed.clone());
                }
            }
        }
    }

    fn free(&self, folder: &str, path: &str) -> String {
        (1..)
            .map(|n| if n == 1 { format!("{folder}/{path}") } else { format!("{folder}.{n}/{path}") })
            .find(|to| !self.world.fs.contains_key(&**to))
            .unwrap()
    }
}

fn at(side: Side, path: &str) -> String {
    let place = if side == Side::Out { "out" } else { "aside" };
    if path == "." { place.to_string() } else { format!("{place}/{path}") }
}

impl Ground for Model {
    fn stat(&mut self, side: Side, path: &str) -> io::Result<Option<Stamp>> {
        Ok(self.world.fs.get(&*at(side, path)).map(|node| match node {
            Node::Folder => Stamp { mode: 0o040_755, ..Stamp::default() },
            Node::File(content) => Stamp { mode: 0o100_644, size: content.len() as u64, ino: 1, ..Stamp::default() },
        }))
    }

    fn names(&mut self, side: Side, folder: &str) -> io::Result<Option<Vec<String>>> {
        let inside = format!("{}/", at(side, folder));
        let below = self.world.fs.keys().filter_map(|path| path.strip_prefix(&inside));
        Ok(Some(below.filter(|name| !name.contains('/')).map(str::to_string).collect()))
    }

    fn tops(&mut self) -> io::Result<Vec<String>> {
        Ok(self.names(Side::Aside, ".")?.unwrap_or_default())
    }

    fn same(&mut self, path: &str, _: &Stamp, what: &Tree, _: &Stamp) -> io::Result<bool> {
        Ok(match (self.world.fs.get(&*at(Side::Out, path)), what) {
            (Some(Node::Folder), Tree::Folder(_)) => true,
            (Some(Node::File(content)), Tree::File { digest, .. }) => Digest::of(content.as_bytes()) == *digest,
            _ => false,
        })
    }

    fn shift(&mut self, path: &str, to: To<'_>) -> io::Result<Moved> {
        let (from, to) = match to {
            To::Out => (at(Side::Aside, path), at(Side::Out, path)),
            To::Aside => (at(Side::Out, path), at(Side::Aside, path)),
            To::Kept(reason) => (at(Side::Out, path), self.free(&format!("kept/{reason}"), path)),
            To::Failed(failed) => (at(Side::Out, path), self.free(&format!("failed/{}/{}", failed.task, failed.label), path)),
        };
        if !self.world.fs.contains_key(&*from) {
            return Ok(Moved::Nothing);
        }
        if self.world.fs.contains_key(&*to) {
            return Ok(Moved::Taken);
        }
        let folder = to.rsplit_once('/').unwrap().0;
        if !self.world.fs.contains_key(folder) {
            self.act(Op::Folders(to.clone()))?;
        }
        self.act(Op::Move(from, to.clone()))?;
        Ok(Moved::To(to))
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        let path = at(Side::Out, path);
        match path.rsplit_once('/') {
            Some((folder, _)) if !self.world.fs.contains_key(folder) => self.act(Op::Folders(path)),
            _ => Ok(()),
        }
    }

    fn retire(&mut self, path: &str, _: Option<&Tree>) -> io::Result<()> {
        self.act(Op::Remove(at(Side::Aside, path)))
    }

    fn prune(&mut self, folder: &str) -> io::Result<()> {
        let mut folder = at(Side::Aside, folder);
        loop {
            if self.world.fs.contains_key(&*folder) {
                if !self.world.is_empty(&folder) {
                    return Ok(());
                }
                self.act(Op::Remove(folder.clone()))?;
            }
            match folder.rsplit_once('/') {
                Some((above, _)) => folder = above.to_string(),
                None => return Ok(()),
            }
        }
    }

    fn unkeep(&mut self, place: &str, what: &Tree) -> io::Result<bool> {
        let (Some(Node::File(content)), Tree::File { digest, .. }) = (self.world.fs.get(place), what) else { return Ok(false) };
        if Digest::of(content.as_bytes()) != *digest {
            return Ok(false);
        }
        self.act(Op::Remove(place.to_string()))?;
        Ok(true)
    }

    fn has_failed(&mut self, task: &TaskName) -> io::Result<bool> {
        Ok(self.world.fs.contains_key(&*format!("failed/{task}")))
    }

    fn clear_failed(&mut self, task: &TaskName, but: Option<&str>) -> io::Result<()> {
        let folder = format!("failed/{task}");
        let inside = format!("{folder}/");
        let labels: Vec<String> = self
            .world
            .fs
            .keys()
            .filter_map(|path| path.strip_prefix(&inside))
            .filter(|label| !label.contains('/'))
            .map(str::to_string)
            .collect();
        for label in labels.iter().filter(|label| but.is_none_or(|but| *label != but && !label.starts_with(&format!("{but}.")))) {
            let from = format!("{folder}/{label}");
            if label.contains(INTERRUPTED) {
                let to = self.free("kept/interrupted", &format!("{task}/{label}"));
                self.act(Op::Folders(to.clone()))?;
                self.act(Op::Move(from, to))?;
            } else {
                self.act(Op::Remove(from))?;
            }
        }
        for folder in [folder.as_str(), "failed"] {
            if self.world.fs.contains_key(folder) && self.world.is_empty(folder) {
                self.act(Op::Remove(folder.to_string()))?;
            }
        }
        Ok(())
    }
}

impl Scene for Model {
    fn write(&mut self, path: &str, content: &str) -> io::Result<()> {
        self.act(Op::Write(at(Side::Out, path), content.into()))
    }

    fn folder(&mut self, path: &str) -> io::Result<()> {
        self.act(Op::Folders(format!("{}/", at(Side::Out, path))))
    }

    fn frame(&mut self, frame: Frame) -> io::Result<()> {
        self.act(Op::Frame(frame))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.act(Op::Sync)
    }

    fn frames(&self) -> Vec<Frame> {
        self.world.frames.clone()
    }
}
