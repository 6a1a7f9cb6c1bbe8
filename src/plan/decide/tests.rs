//! Each rule as a question, the facts, and the answer.

use std::collections::HashMap;

use super::*;
use crate::attempt::{Cause, Ended, Usage};
use crate::hash::{Digest, Kind};
use crate::name::RunId;
use crate::record::manifest::Content;

fn path(text: &str) -> RelPath {
    RelPath::normal(text).unwrap()
}

fn input(name: &str, text: &str) -> Part {
    Part::Input { role: String::new(), path: path(name), content: Content::Is(Digest::of(text.as_bytes())) }
}

fn pending(name: &str, task: &str) -> Part {
    Part::Input { role: String::new(), path: path(name), content: Content::Pending(task.into()) }
}

/// A manifest of a command and what it reads.
fn made_from(command: &str, inputs: &[Part]) -> Manifest {
    let mut parts = vec![Part::Command(command.into())];
    parts.extend(inputs.iter().cloned());
    parts.push(Part::Output { role: String::new(), path: path("o"), kind: Kind::File });
    Manifest { parts }
}

fn record(manifest: &Manifest, outputs: &[&str]) -> Arc<Record> {
    let what = Tree::File { digest: Digest::of(b"o"), executable: false, bytes: 1 };
    Arc::new(Record {
        key: manifest.key().unwrap(),
        manifest: manifest.clone(),
        outputs: outputs.iter().map(|name| Made { path: path(name), what: what.clone(), stamp: Stamp::default() }).collect(),
        found: Vec::new(),
        nonce: 1,
        ended: Ended { cause: Cause::Success, usage: Usage::default() },
        run: RunId { number: 1, nonce: 1 },
        at: 0,
    })
}

/// What is on disk, in the cache, and what others left.
#[derive(Default)]
struct World {
    outputs: HashMap<&'static str, OnDisk>,
    found: Option<RelPath>,
    others: Vec<Arc<Record>>,
    blobs: bool,
    /// What was asked: a decision asks only what it needs.
    asked: Vec<&'static str>,
}

impl Facts for World {
    fn output(&mut self, made: &Made) -> OnDisk {
        self.asked.push("output");
        let there = self.outputs.get(made.path.as_str()).cloned().unwrap_or(OnDisk::As);
        // Asked with "nothing" as the record: as recorded means that nothing is there.
        match (made.what == Tree::Absent, there) {
            (true, OnDisk::Gone) => OnDisk::As,
            (true, _) => OnDisk::Other,
            (false, there) => there,
        }
    }

    fn found_as(&mut self, _record: &Record) -> Result<(), RelPath> {
        self.found.clone().map_or(Ok(()), Err)
    }

    fn with_key(&mut self, key: &Key) -> Vec<Arc<Record>> {
        self.asked.push("with_key");
        self.others.iter().filter(|record| record.key == *key).cloned().collect()
    }

    fn has_blobs(&mut self, _record: &Record, files: &[RelPath]) -> bool {
        self.asked.push("has_blobs");
        assert!(!files.is_empty(), "asked for nothing means asked for all");
        self.blobs
    }
}

fn output(name: &str, optional: bool) -> Output {
    Output { role: String::new(), path: path(name), folder: false, optional, entry: 0 }
}

/// A question about a task that was made well from this manifest.
struct Asked {
    outputs: Vec<Output>,
    now: Manifest,
    good: Option<Arc<Record>>,
    last: Last,
    spoilt: Vec<RelPath>,
    cacheable: bool,
    runs: Runs,
    forced: bool,
    named: bool,
}

impl Asked {
    fn well() -> Asked {
        let now = made_from("c", &[input("a", "1"), input("b", "1")]);
        Asked {
            outputs: vec![output("o", false)],
            good: Some(record(&now, &["o"])),
            now,
            last: Last::Well,
            spoilt: Vec::new(),
            cacheable: true,
            runs: Runs::Auto,
            forced: false,
            named: false,
        }
    }

    /// The same for a stage without outputs.
    fn effect() -> Asked {
        let mut asked = Asked::well();
        asked.outputs.clear();
        asked.now.parts.pop();
        asked.good = Some(record(&asked.now, &[]));
        asked
    }

    fn now(mut self, command: &str, inputs: &[Part]) -> Asked {
        let has_outputs = !self.outputs.is_empty();
        self.now = made_from(command, inputs);
        if !has_outputs {
            self.now.parts.pop();
        }
        self
    }

    fn last(self, last: Last) -> Asked {
        let spoilt = if last == Last::Spoilt { vec![path("a")] } else { Vec::new() };
        Asked { last, spoilt, ..self }
    }

    fn never_made(self) -> Asked {
        Asked { good: None, ..self }
    }

    fn ask(&self, world: &mut World) -> Verdict {
        let question = Question {
            outputs: &self.outputs,
            cacheable: self.cacheable,
            runs: self.runs,
            now: &self.now,
            good: self.good.as_ref(),
            last: self.last,
            spoilt: &self.spoilt,
            forced: self.forced,
            named: self.named,
        };
        let verdict = decide(&question, world);
        if let Verdict::Run(reasons) = &verdict {
            assert!(!reasons.is_empty(), "nothing runs without a reason");
        }
        verdict
    }
}

/// A verdict in few words.
fn short(verdict: &Verdict) -> String {
    let reasons = |list: &[Reason]| {
        let one = |reason: &Reason| match reason {
            Reason::Part { was, is, .. } => {
                let part = is.as_ref().or(was.as_ref()).unwrap();
                let sign = match (was.is_some(), is.is_some()) {
                    (true, true) => "~",
                    (false, _) => "+",
                    _ => "-",
                };
                format!("{sign}{}", crate::plan::reason::said(part))
            }
            Reason::OutputGone(path) => format!("gone {path}"),
            Reason::OutputChanged(path) => format!("changed {path}"),
            Reason::Spoilt(path) => format!("spoilt {path}"),
            Reason::FoundChanged(path) => format!("found {path}"),
            other => format!("{other:?}").to_lowercase(),
        };
        list.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let paths = |list: &[RelPath]| list.iter().map(RelPath::as_str).collect::<Vec<_>>().join(", ");
    match verdict {
        Verdict::UpToDate => "fresh".into(),
        Verdict::Restore { files, .. } => format!("restore [{}]", paths(files)),
        Verdict::Run(list) => format!("run: {}", reasons(list)),
        Verdict::Pending { own, waits_for } => {
            let tasks: Vec<&str> = waits_for.iter().map(TaskName::as_str).collect();
            format!("pending on {}: {}", tasks.join(", "), reasons(own))
        }
        Verdict::Unknown(what) => format!("unknown: {what}"),
        Verdict::Missing(list) => format!("missing: {}", paths(list)),
    }
}

fn world(there: OnDisk, blobs: bool) -> World {
    World { outputs: HashMap::from([("o", there)]), blobs, ..World::default() }
}

fn members() -> OnDisk {
    OnDisk::Members { gone: vec![path("o/g")], other: vec![path("o/x")] }
}

#[test]
fn with_outputs() {
    use OnDisk::{As, Gone, Other};
    let well = Asked::well;
    let edited = || well().now("c", &[input("a", "2"), input("b", "1")]);
    let table: Vec<(Asked, OnDisk, bool, &str)> = vec![
        // Nothing has changed: what stands decides.
        (well(), As, false, "fresh"),
        (well(), Gone, true, "restore [o]"),
        (well(), Gone, false, "run: gone o"),
        (well(), Other, true, "restore [o]"),
        (well(), Other, false, "run: changed o"),
        (well(), members(), true, "restore [o/g, o/x]"),
        (well(), members(), false, "run: gone o/g, changed o/x"),
        (Asked { cacheable: false, ..well() }, Gone, true, "run: gone o"),
        // What it is made from has changed.
        (edited(), As, true, "run: ~a"),
        (well().now("d", &[input("a", "1"), input("b", "1")]), As, true, "run: ~the command"),
        (well().now("c", &[input("a", "1")]), As, true, "run: -b"),
        (well().now("c", &[input("a", "1"), input("b", "1"), input("c", "1")]), As, true, "run: +c"),
        (well().now("c", &[input("b", "1"), input("a", "1")]), As, true, "run: ~a"),
        // Never made.
        (well().never_made().last(Last::Never), As, true, "run: neverran"),
        (well().never_made().last(Last::Failed), As, true, "run: failed"),
        (well().never_made().last(Last::Aborted), As, true, "run: interrupted"),
        (well().never_made().last(Last::Spoilt), As, true, "run: spoilt a"),
        (Asked { spoilt: vec![], ..well().never_made().last(Last::Spoilt) }, As, true, "run: neverran"),
        // The last good record decides, whatever came after it.
        (well().last(Last::Failed), As, false, "fresh"),
        (well().last(Last::Aborted), As, false, "fresh"),
        (well().last(Last::Spoilt), As, false, "fresh"),
        (well().last(Last::Spoilt), Other, true, "restore [o]"),
        (well().last(Last::Spoilt), Other, false, "run: spoilt a, changed o"),
        (edited().last(Last::Spoilt), Other, false, "run: spoilt a, ~a"),
        (edited().last(Last::Failed), As, true, "run: ~a"),
        // Open and nobody runs it: that decides before the disk is looked at.
        (well().last(Last::Interrupted), As, true, "run: interrupted"),
        (edited().last(Last::Interrupted), Gone, true, "run: interrupted"),
        // Orders.
        (Asked { forced: true, ..well() }, As, true, "run: forced"),
        (Asked { runs: Runs::Always, ..well() }, As, true, "run: always"),
        (Asked { runs: Runs::Manual, ..well() }, As, true, "fresh"),
        (Asked { runs: Runs::Manual, named: true, ..well() }, As, true, "run: named"),
        (Asked { runs: Runs::Manual, ..edited() }, As, true, "run: ~a"),
        (Asked { named: true, ..well() }, As, true, "fresh"),
    ];
    for (at, (asked, there, blobs, want)) in table.into_iter().enumerate() {
        assert_eq!(short(&asked.ask(&mut world(there, blobs))), want, "row {at}");
    }
}

#[test]
fn without_outputs_only_the_last_execution_counts() {
    let same = Asked::effect;
    let edited = || same().now("c", &[input("a", "2"), input("b", "1")]);
    let table: Vec<(Asked, &str)> = vec![
        (same(), "fresh"),
        (edited(), "run: ~a"),
        (same().last(Last::Failed), "run: failed"),
        (same().last(Last::Aborted), "run: interrupted"),
        (same().last(Last::Interrupted), "run: interrupted"),
        (same().last(Last::Spoilt), "run: spoilt a"),
        (Asked { spoilt: vec![], ..same().last(Last::Spoilt) }, "run: neverran"),
        (edited().last(Last::Failed), "run: failed, ~a"),
        (same().never_made().last(Last::Never), "run: neverran"),
        (Asked { forced: true, ..same() }, "run: forced"),
        (Asked { runs: Runs::Always, ..same() }, "run: always"),
    ];
    for (at, (asked, want)) in table.into_iter().enumerate() {
        // Records that others left are nothing to it: its execution belongs to its name.
        let mut world = World { others: vec![record(&asked.now, &[])], blobs: true, ..World::default() };
        assert_eq!(short(&asked.ask(&mut world)), want, "row {at}");
        assert!(world.asked.is_empty());
    }
}

#[test]
fn a_record_with_the_key_is_taken_over() {
    let old = Asked::well();
    let edited = || Asked::well().now("c", &[input("a", "2"), input("b", "1")]);
    let ask = |asked: Asked, there: OnDisk, blobs: bool| {
        let mut world = world(there, blobs);
        world.others = vec![record(&asked.now, &["o"]), record(&old.now, &["o"])];
        short(&asked.ask(&mut world))
    };
    // A renamed stage: no record of its own. Files that stand are left alone.
    assert_eq!(ask(Asked::well().never_made().last(Last::Never), OnDisk::As, false), "restore []");
    assert_eq!(ask(Asked::well().never_made().last(Last::Never), OnDisk::Gone, true), "restore [o]");
    assert_eq!(ask(Asked::well().never_made().last(Last::Never), OnDisk::Gone, false), "run: neverran");
    // An edit undone.
    assert_eq!(ask(edited(), OnDisk::Other, true), "restore [o]");
    assert_eq!(ask(edited(), OnDisk::Other, false), "run: ~a");
    // What it did elsewhere was not done with this.
    assert_eq!(ask(Asked { cacheable: false, ..edited() }, OnDisk::As, true), "run: ~a");
    // Forced is forced.
    assert_eq!(ask(Asked { forced: true, ..edited() }, OnDisk::As, true), "run: forced");
    // A record that lies about its key is no record.
    let mut wrong = (*record(&edited().now, &["o"])).clone();
    wrong.key = old.now.key().unwrap();
    let mut world = world(OnDisk::As, true);
    world.others = vec![Arc::new(wrong.clone())];
    assert_eq!(short(&edited().ask(&mut world)), "run: ~a");
    let asked = Asked { good: Some(Arc::new(wrong)), ..edited() };
    assert_eq!(short(&asked.ask(&mut world)), "run: neverran");
}

#[test]
fn what_the_command_named_itself() {
    let changed = || World { found: Some(path("h.h")), blobs: true, ..World::default() };
    assert_eq!(short(&Asked::well().ask(&mut changed())), "run: found h.h");
    // Nor is another record of the key believed whose inputs have changed.
    let mut world = changed();
    world.others = vec![record(&Asked::well().now, &["o"])];
    assert_eq!(short(&Asked::well().ask(&mut world)), "run: found h.h");
}

#[test]
fn what_waits_is_pending_and_says_what_is_its_own() {
    let wait = |inputs: &[Part]| Asked::well().now("c", inputs);
    let glob = || pending("d/*.csv", "t");
    let mut globbed = Asked::well();
    globbed.now = made_from("c", &[input("d/1.csv", "1"), input("d/2.csv", "1")]);
    globbed.good = Some(record(&globbed.now, &["o"]));
    let globbed = |command: &str, inputs: &[Part]| Asked { good: globbed.good.clone(), ..Asked::well() }.now(command, inputs);
    let mut untold = globbed("c", &[glob()]);
    untold.now.parts.remove(0);
    let unknown = Part::Tool { said: "cc".into(), automatic: false, content: Content::Unknown };
    let table: Vec<(Asked, &str)> = vec![
        // Only a changed input could make it stale: `run?`.
        (wait(&[pending("a", "t"), input("b", "1")]), "pending on t: "),
        (wait(&[pending("a", "t"), pending("b", "s")]), "pending on s, t: "),
        // Stale in any case: `run`.
        (wait(&[pending("a", "t"), input("b", "2")]), "pending on t: ~b"),
        (Asked::well().now("d", &[pending("a", "t"), input("b", "1")]), "pending on t: ~the command"),
        (wait(&[pending("a", "t")]), "pending on t: -b"),
        (wait(&[pending("a", "t"), input("b", "1"), pending("c", "t")]), "pending on t: +c"),
        (wait(&[pending("a", "t"), input("b", "1")]).never_made().last(Last::Never), "pending on t: neverran"),
        (wait(&[pending("a", "t"), input("b", "1")]).last(Last::Interrupted), "pending on t: interrupted"),
        (Asked { forced: true, ..wait(&[pending("a", "t")]) }, "pending on t: forced"),
        // A result that failed or was spoilt after a good one may still turn out to be that.
        (wait(&[pending("a", "t"), input("b", "1")]).last(Last::Failed), "pending on t: "),
        (wait(&[pending("a", "t"), input("b", "1")]).last(Last::Spoilt), "pending on t: "),
        // But not where only the last execution counts.
        (Asked::effect().now("c", &[pending("a", "t"), input("b", "1")]).last(Last::Failed), "pending on t: failed"),
        (Asked::effect().now("c", &[pending("a", "t"), input("b", "1")]), "pending on t: "),
        // What a glob will match is not known, and so is no difference.
        (globbed("c", &[glob()]), "pending on t: "),
        (globbed("d", &[glob()]), "pending on t: ~the command"),
        (globbed("c", &[glob(), input("x", "1")]), "pending on t: +x"),
        (untold, "pending on t: "),
        // What may not be asked is no difference either.
        (wait(&[pending("a", "t"), input("b", "1"), unknown.clone()]), "pending on t: "),
        (wait(&[input("a", "1"), input("b", "1"), unknown.clone()]), "unknown: cc"),
        (Asked { forced: true, ..wait(std::slice::from_ref(&unknown)) }, "run: forced"),
        (wait(&[unknown]).last(Last::Interrupted), "run: interrupted"),
    ];
    for (at, (asked, want)) in table.into_iter().enumerate() {
        let mut world = World::default();
        assert_eq!(short(&asked.ask(&mut world)), want, "row {at}");
        assert!(world.asked.is_empty(), "row {at}: the disk cannot say");
    }
}

#[test]
fn never_takes_files_as_they_are() {
    use OnDisk::{As, Gone, Other};
    let never = || Asked { runs: Runs::Never, ..Asked::well() };
    let optional = || Asked { outputs: vec![output("o", true)], ..never().never_made() };
    let table: Vec<(Asked, OnDisk, bool, &str)> = vec![
        (never(), As, false, "fresh"),
        (never(), Other, false, "fresh"),
        (never().now("d", &[]), Other, false, "fresh"),
        (never().now("d", &[pending("a", "t")]), As, false, "fresh"),
        (Asked { forced: true, ..never().last(Last::Interrupted) }, As, false, "fresh"),
        (never(), Gone, true, "restore [o]"),
        (never(), Gone, false, "missing: o"),
        (never(), members(), true, "restore [o/g]"),
        (never(), members(), false, "missing: o/g"),
        // Never made by flow: it must be there all the same.
        (never().never_made(), Other, false, "fresh"),
        (never().never_made(), Gone, true, "missing: o"),
        (optional(), Gone, false, "fresh"),
        // An output that the record does not know.
        (Asked { outputs: vec![output("o", false), output("p", false)], ..never() }, As, true, "fresh"),
    ];
    for (at, (asked, there, blobs, want)) in table.into_iter().enumerate() {
        assert_eq!(short(&asked.ask(&mut world(there, blobs))), want, "row {at}");
    }
    let mut world = World { outputs: HashMap::from([("p", Gone)]), blobs: true, ..World::default() };
    let asked = Asked { outputs: vec![output("o", false), output("p", false)], ..never() };
    assert_eq!(short(&asked.ask(&mut world)), "missing: p");
}

#[test]
fn the_cache_is_asked_only_where_it_matters() {
    let mut quiet = World::default();
    Asked::well().ask(&mut quiet);
    assert_eq!(quiet.asked, ["output"]);
    let mut forced = World::default();
    Asked { forced: true, ..Asked::well() }.ask(&mut forced);
    assert!(forced.asked.is_empty());
}
