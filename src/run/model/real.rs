//! The same histories on a real folder: it ends as the model says.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::ground::{Model, Node, World};
use super::{Case, Frame, Outcome, Scene, User, cases, first, recovery, run, user_acts};
use crate::hash::Stamp;
use crate::name::TaskName;
use crate::record::record::Tree;
use crate::run::bracket::Fault;
use crate::run::disk_ground::DiskGround;
use crate::run::ground::{Ground, Moved, Side, To};

const DATE: &str = "2026-11-25";

/// A process on a real folder.
struct Real {
    dir: PathBuf,
    ground: DiskGround,
    frames: Vec<Frame>,
}

impl Real {
    fn new(dir: &Path, frames: Vec<Frame>) -> Real {
        let ground = DiskGround::open(dir, &dir.join(".flow"), "p.yaml", &[], DATE).unwrap();
        Real { dir: dir.to_path_buf(), ground, frames }
    }

    /// All files, under the names of the model.
    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let own = self.dir.join(".flow/p.yaml");
        walk(&self.dir, "out", &mut files);
        walk(&own.join("aside"), "aside", &mut files);
        walk(&own.join("failed"), "failed", &mut files);
        walk(&self.dir.join(".flow/kept"), "kept", &mut files);
        files.into_iter().map(|(path, content)| (path.replace(&format!("kept/{DATE}-"), "kept/"), content)).collect()
    }
}

fn walk(folder: &Path, name: &str, files: &mut BTreeMap<String, String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap).filter(|entry| entry.file_name() != ".flow") {
        let name = format!("{name}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if name.starts_with("out/w/d") {
                files.insert(name.clone(), "folder".into());
            }
            walk(&entry.path(), &name, files);
        } else {
            files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

impl World {
    fn files(&self) -> BTreeMap<String, String> {
        let text = |path: &str, node: &Node| match node {
            Node::File(content) => Some(content.to_string()),
            Node::Folder => path.starts_with("out/w/d").then(|| "folder".to_string()),
        };
        self.fs.iter().filter_map(|(path, node)| Some((path.to_string(), text(path, node)?))).collect()
    }
}

/// Stops before the nth change, on either ground.
struct Stops<S> {
    inner: S,
    left: usize,
}

impl<S> Stops<S> {
    fn step(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("killed"))?;
        Ok(())
    }
}

impl<S: Ground> Ground for Stops<S> {
    fn stat(&mut self, side: Side, path: &str) -> io::Result<Option<Stamp>> {
        self.inner.stat(side, path)
    }
    fn names(&mut self, side: Side, folder: &str) -> io::Result<Option<Vec<String>>> {
        self.inner.names(side, folder)
    }
    fn tops(&mut self) -> io::Result<Vec<String>> {
        self.inner.tops()
    }
    fn same(&mut self, path: &str, now: &Stamp, what: &Tree, said: &Stamp) -> io::Result<bool> {
        self.inner.same(path, now, what, said)
    }
    fn shift(&mut self, path: &str, to: To<'_>) -> io::Result<Moved> {
        self.step()?;
        self.inner.shift(path, to)
    }
    fn parents(&mut self, path: &str) -> io::Result<()> {
        self.step()?;
        self.inner.parents(path)
    }
    fn retire(&mut self, path: &str, was: Option<&Tree>) -> io::Result<()> {
        self.step()?;
        self.inner.retire(path, was)
    }
    fn prune(&mut self, folder: &str) -> io::Result<()> {
        self.step()?;
        self.inner.prune(folder)
    }
    fn unkeep(&mut self, place: &str, what: &Tree) -> io::Result<bool> {
        self.step()?;
        self.inner.unkeep(place, what)
    }
    fn has_failed(&mut self, task: &TaskName) -> io::Result<bool> {
        self.inner.has_failed(task)
    }
    fn clear_failed(&mut self, task: &TaskName, but: Option<&str>) -> io::Result<()> {
        self.step()?;
        self.inner.clear_failed(task, but)
    }
}

impl<S: Scene> Scene for Stops<S> {
    fn write(&mut self, path: &str, content: &str) -> io::Result<()> {
        self.step()?;
        self.inner.write(path, content)
    }
    fn folder(&mut self, path: &str) -> io::Result<()> {
        self.step()?;
        self.inner.folder(path)
    }
    fn frame(&mut self, frame: Frame) -> io::Result<()> {
        self.step()?;
        self.inner.frame(frame)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.step()?;
        self.inner.sync()
    }
    fn frames(&self) -> Vec<Frame> {
        self.inner.frames()
    }
}

impl Ground for Real {
    fn stat(&mut self, side: Side, path: &str) -> io::Result<Option<Stamp>> {
        self.ground.stat(side, path)
    }
    fn names(&mut self, side: Side, folder: &str) -> io::Result<Option<Vec<String>>> {
        self.ground.names(side, folder)
    }
    fn tops(&mut self) -> io::Result<Vec<String>> {
        self.ground.tops()
    }
    fn same(&mut self, path: &str, now: &Stamp, what: &Tree, said: &Stamp) -> io::Result<bool> {
        self.ground.same(path, now, what, said)
    }
    fn shift(&mut self, path: &str, to: To<'_>) -> io::Result<Moved> {
        self.ground.shift(path, to)
    }
    fn parents(&mut self, path: &str) -> io::Result<()> {
        self.ground.parents(path)
    }
    fn retire(&mut self, path: &str, was: Option<&Tree>) -> io::Result<()> {
        self.ground.retire(path, was)
    }
    fn prune(&mut self, folder: &str) -> io::Result<()> {
        self.ground.prune(folder)
    }
    fn unkeep(&mut self, place: &str, what: &Tree) -> io::Result<bool> {
        self.ground.unkeep(place, what)
    }
    fn has_failed(&mut self, task: &TaskName) -> io::Result<bool> {
        self.ground.has_failed(task)
    }
    fn clear_failed(&mut self, task: &TaskName, but: Option<&str>) -> io::Result<()> {
        self.ground.clear_failed(task, but)
    }
}

impl Scene for Real {
    fn write(&mut self, path: &str, content: &str) -> io::Result<()> {
        std::fs::write(self.dir.join(path), content)
    }
    fn folder(&mut self, path: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.dir.join(path))
    }
    fn frame(&mut self, frame: Frame) -> io::Result<()> {
        self.frames.push(frame);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn frames(&self) -> Vec<Frame> {
        self.frames.clone()
    }
}

/// Makes the files of a world (its outputs) in a folder.
fn lay_out(world: &World, dir: &Path) {
    for (path, node) in &world.fs {
        let Some(path) = path.strip_prefix("out/") else { continue };
        match node {
            Node::Folder => std::fs::create_dir_all(dir.join(path)).unwrap(),
            Node::File(content) => {
                std::fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
                std::fs::write(dir.join(path), &**content).unwrap();
            }
        }
    }
}

/// One act on both, stopped before the nth change of the trait's; whether it came to its end.
fn both(
    world: &World,
    real: Real,
    steps: usize,
    act: impl Fn(&mut Stops<Model>) -> Result<(), Fault>,
    really: impl Fn(&mut Stops<Real>) -> Result<(), Fault>,
) -> (World, Real, bool) {
    let mut model = Stops { inner: Model::new(world, None), left: steps };
    let mut real = Stops { inner: real, left: steps };
    let ended = (act(&mut model).is_ok(), really(&mut real));
    assert_eq!(ended.0, ended.1.is_ok(), "{:?}", ended.1);
    let real = real.inner;
    assert_eq!(real.files(), model.inner.world.files());
    assert_eq!(real.frames, model.inner.world.frames);
    // The next process.
    let real = Real::new(&real.dir, real.frames);
    (model.inner.world, real, ended.0)
}

/// Stops a run of a case before the nth change, then a recovery, then lets all go to their ends.
fn history(case: &Case, steps: usize, then: usize) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let world = first(case);
    lay_out(&world, dir.path());
    let real = Real::new(dir.path(), world.frames.clone());
    let (world, real, ended) = both(&world, real, steps, |s| run(s, case, 1, case.outcome), |s| run(s, case, 1, case.outcome));
    let acted = user_acts(case, &world);
    if acted != world {
        lay_out(&acted, dir.path());
    }
    let (world, real, _) = both(&acted, real, then, |s| recovery(s, case, true), |s| recovery(s, case, true));
    let (world, real, _) = both(&world, real, usize::MAX, |s| recovery(s, case, true), |s| recovery(s, case, true));
    both(&world, real, usize::MAX, |s| run(s, case, 2, Outcome::Well), |s| run(s, case, 2, Outcome::Well));
    ended
}

#[test]
fn a_real_folder_ends_as_the_model_does() {
    let mut random = fastrand::Rng::with_seed(7);
    let some = |case: &Case| matches!((case.hand, case.user), (false, User::Nothing) | (true, User::Adds));
    for case in cases().iter().filter(|case| some(case)) {
        // The model goes through all of them; here some at random will do.
        let mut steps = random.usize(..3);
        while !history(case, steps, random.usize(..12)) {
            steps += random.usize(1..6);
        }
    }
}
