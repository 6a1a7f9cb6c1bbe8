//! The exhaustive model of kills and power cuts: the bracket's own code, on a ground in memory that
//! stops after any step, loses any tail of frames and, apart from them, of moves and writes.
//!
//! Each history is: a run that is stopped at a step; perhaps something the user does then; a recovery
//! that is stopped at a step, too; a whole recovery; a whole run. After each the promises of
//! [`super::bracket`] are checked.

mod ground;
mod real;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::hash::{Digest, Stamp};
use crate::name::{AttemptId, RelPath, RunId, TaskName};
use crate::record::record::{Made, Member, Tree};
use crate::run::bracket::{Bracketed, Fault, Output, Work, begin, done, fail, settle};
use crate::run::ground::Ground;
use crate::run::recover::{Entry, Unsettled, recover};

use ground::{Model, Node, World};

/// What a record says was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Version {
    Old,
    New,
}

/// A frame of the model's state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Frame {
    Started { run: u64, n: u16, restore: bool },
    Done(Version),
    Spoilt(Version),
    Failed,
    Aborted,
}

/// A ground on which commands write and frames are kept.
trait Scene: Ground {
    fn write(&mut self, path: &str, content: &str) -> io::Result<()>;
    fn folder(&mut self, path: &str) -> io::Result<()>;
    fn frame(&mut self, frame: Frame) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn frames(&self) -> Vec<Frame>;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// Two files.
    Files,
    /// A file, and a folder of two members and a folder in it.
    Folder,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Well,
    Fails,
    FailsThenWell,
    FailsTwice,
    Spoilt,
    Restored,
    RestoreFailsThenWell,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum User {
    Nothing,
    /// A file where nothing stands.
    Adds,
    /// A file over whatever stands.
    Writes,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: Shape,
    old: bool,
    hand: bool,
    outcome: Outcome,
    user: User,
}

impl Case {
    fn outputs(&self) -> Vec<Output> {
        let paths: &[&str] = if self.shape == Shape::Files { &["a/p", "q"] } else { &["q", "w/d"] };
        paths.iter().map(|path| Output { path: RelPath::normal(path).unwrap(), persist: false }).collect()
    }

    /// The files of a version: path and content.
    fn files(&self, version: Version) -> Vec<(&'static str, &'static str)> {
        match (self.shape, version) {
            (Shape::Files, Version::Old) => vec![("a/p", "old p"), ("q", "old q")],
            (Shape::Files, Version::New) => vec![("a/p", "new p"), ("q", "new q")],
            (Shape::Folder, Version::Old) => vec![("q", "old q"), ("w/d/m", "same"), ("w/d/s/n", "old n"), ("w/d/x", "old x")],
            (Shape::Folder, Version::New) => vec![("q", "new q"), ("w/d/m", "same"), ("w/d/s/n", "new n"), ("w/d/y", "new y")],
        }
    }

    fn made(&self, version: Version) -> Vec<Made> {
        let file = |content: &str| Tree::File { digest: Digest::of(content.as_bytes()), executable: false, bytes: content.len() as u64 };
        let stamp = Stamp::default();
        let of = |path: &str| {
            let files = self.files(version);
            if path != "w/d" {
                let content = files.iter().find(|(at, _)| *at == path).unwrap().1;
                return file(content);
            }
            let mut members: Vec<Member> = files
                .iter()
                .filter_map(|(at, content)| Some(Member { name: at.strip_prefix("w/d/")?.into(), what: file(content), stamp }))
                .collect();
            members.push(Member { name: "s".into(), what: Tree::Folder(Vec::new()), stamp });
            members.sort_by(|a, b| a.name.cmp(&b.name));
            Tree::Folder(members)
        };
        self.outputs().into_iter().map(|output| Made { what: of(output.path.as_str()), path: output.path, stamp }).collect()
    }

    fn edited(&self) -> &'static str {
        if self.shape == Shape::Files { "a/p" } else { "w/d/s/n" }
    }

    fn added(&self) -> &'static str {
        if self.shape == Shape::Files { "a/p" } else { "w/d/u" }
    }
}

fn last(frames: &[Frame]) -> Option<Version> {
    frames.iter().rev().find_map(|frame| match frame {
        Frame::Done(version) | Frame::Spoilt(version) => Some(*version),
        _ => None,
    })
}

fn attempt(run: u64, n: u16) -> AttemptId {
    AttemptId { run: RunId { number: run, nonce: 0 }, task: TaskName::from("t"), n }
}

/// What a command writes: `half`: it is stopped or fails.
fn command<S: Scene>(scene: &mut S, case: &Case, half: bool) -> Result<(), Fault> {
    let mut write = || -> io::Result<()> {
        if case.shape == Shape::Folder {
            scene.folder("w/d")?;
            scene.folder("w/d/s")?;
        }
        for (path, content) in case.files(Version::New) {
            if half && path.ends_with('n') {
                continue;
            }
            scene.write(path, "part")?;
            if !half {
                scene.write(path, content)?;
            }
        }
        Ok(())
    };
    write().map_err(Fault::State)
}

/// A whole run of the task.
fn run<S: Scene>(scene: &mut S, case: &Case, number: u64, outcome: Outcome) -> Result<(), Fault> {
    let frames = scene.frames();
    let old = last(&frames).map(|version| case.made(version)).unwrap_or_default();
    let new = case.made(Version::New);
    let outputs = case.outputs();
    let mut n = 1;
    if matches!(outcome, Outcome::Restored | Outcome::RestoreFailsThenWell) {
        let id = attempt(number, n);
        let task = Bracketed { attempt: &id, outputs: &outputs, last: &old, work: Work::Restore(&new) };
        let open = begin(scene, &task, |scene| scene.frame(Frame::Started { run: number, n, restore: true }))?;
        let damaged = outcome == Outcome::RestoreFailsThenWell;
        for (index, bring) in open.bring.iter().enumerate() {
            let result = match &bring.what {
                Tree::Folder(_) => scene.folder(&bring.path),
                _ => {
                    let content = case.files(Version::New).into_iter().find(|(path, _)| *path == bring.path).unwrap().1;
                    scene
                        .write(&bring.path, "part")
                        .and_then(|()| scene.write(&bring.path, if damaged && index > 0 { "part" } else { content }))
                }
            };
            result.map_err(Fault::State)?;
        }
        if !damaged {
            let closed = done(scene, &id, open, &new, |scene| scene.frame(Frame::Done(Version::New)))?;
            scene.sync().map_err(Fault::State)?;
            settle(scene, vec![closed])?;
            return Ok(());
        }
        fail(scene, &task, open, |scene| scene.frame(Frame::Failed))?;
        n += 1;
    }
    let mut held = None;
    if matches!(outcome, Outcome::FailsThenWell | Outcome::FailsTwice) {
        let id = attempt(number, n);
        let task = Bracketed { attempt: &id, outputs: &outputs, last: &old, work: Work::Command };
        held = Some(begin(scene, &task, |scene| scene.frame(Frame::Started { run: number, n, restore: false }))?);
        command(scene, case, true)?;
        n += 1;
    }
    let id = attempt(number, n);
    let task = Bracketed { attempt: &id, outputs: &outputs, last: &old, work: Work::Command };
    let mut open = begin(scene, &task, |scene| scene.frame(Frame::Started { run: number, n, restore: false }))?;
    open.join(held);
    let fails = matches!(outcome, Outcome::Fails | Outcome::FailsTwice);
    command(scene, case, fails)?;
    if fails {
        fail(scene, &task, open, |scene| scene.frame(Frame::Failed))?;
        return Ok(());
    }
    let frame = if outcome == Outcome::Spoilt { Frame::Spoilt(Version::New) } else { Frame::Done(Version::New) };
    let closed = done(scene, &id, open, &new, |scene| scene.frame(frame))?;
    scene.sync().map_err(Fault::State)?;
    settle(scene, vec![closed])?;
    Ok(())
}

/// `boot`: still the one of the last frame.
fn recovery<S: Scene>(scene: &mut S, case: &Case, boot: bool) -> Result<(), Fault> {
    let frames = scene.frames();
    let record = last(&frames).map(|version| case.made(version));
    let new = case.made(Version::New);
    let mut open = Vec::new();
    let unsettled = |attempt: Option<AttemptId>, restore: bool| Unsettled {
        task: TaskName::from("t"),
        open: attempt.is_some(),
        closed: boot && matches!(frames.last(), Some(Frame::Done(_) | Frame::Spoilt(_))),
        attempt,
        outputs: case.outputs(),
        last: record.as_deref(),
        restoring: restore.then_some(&*new),
    };
    if let Some(Frame::Started { run, n, restore }) = frames.last() {
        open.push(unsettled(Some(attempt(*run, *n)), *restore));
    }
    let mut owner = |path: &str| {
        let known = record.is_some() && case.outputs().iter().any(|output| output.path.as_str() == path);
        known.then(|| unsettled(None, false))
    };
    recover(scene, open, &[], &mut owner, &mut |scene, entry| match entry {
        Entry::Sync => scene.sync(),
        Entry::Aborted(_) => scene.frame(Frame::Aborted),
    })?;
    Ok(())
}

/// The first world: with the old outputs or without, with a hand edit or without.
fn first(case: &Case) -> World {
    let mut world = World::default();
    if case.old {
        for (path, content) in case.files(Version::Old) {
            world.put("out", path, content);
        }
        world.frames.push(Frame::Done(Version::Old));
    }
    if case.hand {
        world.put("out", case.edited(), "hand");
    }
    world
}

/// All worlds after an act that is stopped at any step, by a kill or a power cut, and after its end.
fn stopped(world: &World, cuts: bool, act: impl Fn(&mut Model) -> Result<(), Fault>) -> BTreeSet<World> {
    let mut worlds = BTreeSet::new();
    for steps in 0.. {
        let mut model = Model::new(world, Some(steps));
        let ended = act(&mut model);
        worlds.insert(model.world.clone());
        match ended {
            Ok(()) => {
                if cuts {
                    worlds.extend(model.cuts());
                }
                return worlds;
            }
            Err(_) if model.killed => {}
            Err(fault) => panic!("{fault} in {world:#?}"),
        }
    }
    worlds
}

fn whole(world: &World, act: impl Fn(&mut Model) -> Result<(), Fault>) -> World {
    let mut model = Model::new(world, None);
    if let Err(fault) = act(&mut model) {
        panic!("{fault} in {world:#?}");
    }
    model.world
}

fn user_acts(case: &Case, world: &World) -> World {
    let mut world = world.clone();
    let free = |world: &World, path: &str| !world.fs.contains_key(&*format!("out/{path}"));
    match case.user {
        User::Nothing => {}
        User::Adds if free(&world, case.added()) => world.put("out", case.added(), "user"),
        User::Adds => {}
        User::Writes => {
            let over = |path: &str| !matches!(world.fs.get(&*format!("out/{path}")), Some(Node::File(content)) if &**content == "hand");
            if over(case.edited()) {
                world.put("out", case.edited(), "user");
            }
        }
    }
    world
}

/// The promises, after a whole recovery.
fn check(case: &Case, before: &World, world: &World, plain: bool) {
    let record = last(&world.frames);
    let say = |what: &str| format!("{what}: {case:?}\nbefore {before:#?}\nafter {world:#?}");
    assert!(!world.fs.keys().any(|path| path.starts_with("aside")), "{}", say("left aside"));
    for content in ["user", "hand"] {
        if before.holds(content) {
            assert!(world.holds(content), "{}", say("lost the user's file"));
        }
    }
    let user = before.holds("user");
    let spared = |path: &str| (user || case.hand) && path == case.edited() || user && path == case.added();
    match record {
        Some(Version::Old) => {
            for (path, content) in case.files(Version::Old) {
                if !spared(path) {
                    assert!(world.is(path, content), "{}", say(&format!("the last good `{path}` is not back")));
                }
                let thrown =
                    world.fs.iter().any(|(at, node)| at.starts_with("failed") && matches!(node, Node::File(is) if &**is == content));
                assert!(!thrown || content == "same", "{}", say(&format!("the last good `{path}` was thrown away")));
            }
        }
        Some(Version::New) => {
            let stood = case.files(Version::New).iter().all(|(path, content)| before.is(path, content));
            for (path, content) in case.files(Version::New) {
                if (plain || stood && !user) && !spared(path) {
                    assert!(world.is(path, content), "{}", say(&format!("the new `{path}` is gone")));
                }
            }
            let all = |version| case.files(version).iter().all(|(path, content)| spared(path) || world.holds(content));
            assert!(all(Version::New) || !case.old || all(Version::Old), "{}", say("both old and new are gone"));
        }
        None => {
            let is_new = |world: &World| case.files(Version::New).iter().all(|(path, content)| world.is(path, content));
            if matches!(before.frames.last(), Some(Frame::Started { restore: true, .. })) && is_new(before) && !user {
                assert!(is_new(world), "{}", say("what was restored is gone"));
            }
        }
    }
    assert!(!matches!(world.frames.last(), Some(Frame::Started { .. })), "{}", say("still open"));
}

/// All histories of a case; their number.
fn explore(case: &Case) -> usize {
    let mut count = 0;
    for cuts in [false, true] {
        let mut after = BTreeSet::new();
        for world in stopped(&first(case), cuts, |model| run(model, case, 1, case.outcome)) {
            after.insert(user_acts(case, &world));
        }
        let mut recovered: BTreeMap<World, World> = BTreeMap::new();
        for before in &after {
            for again in stopped(before, cuts, |model| recovery(model, case, !cuts)) {
                count += 1;
                let world = recovered.entry(again).or_insert_with_key(|again| whole(again, |model| recovery(model, case, !cuts)));
                check(case, before, world, !cuts);
            }
        }
        let recovered: BTreeSet<&World> = recovered.values().collect();
        for world in recovered {
            let twice = whole(world, |model| recovery(model, case, !cuts));
            assert_eq!(&twice, world, "recovery again does something");
            let end = whole(world, |model| run(model, case, 2, Outcome::Well));
            check(case, world, &end, true);
            let left = end.fs.iter().find(|(path, node)| path.starts_with("failed") && matches!(node, Node::File(_)));
            assert_eq!(left, None, "a success empties failed/");
        }
    }
    count
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in [Shape::Files, Shape::Folder] {
        for old in [false, true] {
            for hand in [false, true] {
                for user in [User::Nothing, User::Adds, User::Writes] {
                    for outcome in [
                        Outcome::Well,
                        Outcome::Fails,
                        Outcome::FailsThenWell,
                        Outcome::FailsTwice,
                        Outcome::Spoilt,
                        Outcome::Restored,
                        Outcome::RestoreFailsThenWell,
                    ] {
                        // Two hand edits at once tell nothing that one does not.
                        if !(hand && user == User::Writes) {
                            cases.push(Case { shape, old, hand, outcome, user });
                        }
                    }
                }
            }
        }
    }
    cases
}

fn explore_all(shape: Shape) {
    let count: usize = cases().iter().filter(|case| case.shape == shape).map(explore).sum();
    assert!(count > 10_000, "only {count} histories");
}

#[test]
fn no_kill_and_no_power_cut_loses_a_file() {
    explore_all(Shape::Files);
}

#[test]
fn no_kill_and_no_power_cut_loses_a_folder() {
    explore_all(Shape::Folder);
}

#[test]
fn a_whole_run_ends_as_it_should() {
    for case in cases() {
        let world = whole(&first(&case), |model| run(model, &case, 1, case.outcome));
        check(&case, &first(&case), &world, true);
        let fails = matches!(case.outcome, Outcome::Fails | Outcome::FailsTwice);
        assert_eq!(world.fs.keys().any(|path| path.starts_with("failed/")), fails, "{case:?} {world:#?}");
        assert_eq!(world.fs.keys().any(|path| path.starts_with("kept")), case.hand, "{case:?} {world:#?}");
    }
}
