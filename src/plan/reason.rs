//! Why a task would run, as data.
//!
//! Owns the comparison of two manifests. Pure. Must hold: for every way two manifests can differ
//! there is a reason, and `why` only words it.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::name::{RelPath, TaskName};
use crate::record::manifest::{Key, Manifest};
// What a `Reason` holds, for those who word reasons and may name `plan` only.
pub use crate::record::manifest::{Content, Part};

/// One reason to run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Reason {
    /// There is no record of it.
    NeverRan,
    /// flow died while it ran.
    Interrupted,
    /// `--force`.
    Forced,
    /// `runs: always`.
    Always,
    /// `runs: manual`, and it was named.
    Named,
    /// Its last attempt failed and nothing good is left of before.
    Failed,
    /// A part of the manifest is another.
    Part {
        /// As it was; `None`: it is new.
        was: Option<Box<Part>>,
        /// As it is; `None`: it is gone.
        is: Option<Box<Part>>,
        /// The task that makes it.
        from: Option<TaskName>,
    },
    /// An input the command itself named has changed or is gone.
    FoundChanged(RelPath),
    /// A declared output is not there and the cache does not have it.
    OutputGone(RelPath),
    /// A declared output is not what was made.
    OutputChanged(RelPath),
    /// The last result was made while this input changed.
    Spoilt(RelPath),
    /// The cache lost what it had promised.
    NotInCache(Key),
}

/// The differences between what a result was made from and what is there now, in the order of the
/// manifest. Empty only if their keys are alike.
pub fn compare(was: &Manifest, is: &Manifest) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut old: Vec<Option<&Part>> = was.parts.iter().map(Some).collect();
    let mut new: Vec<Option<&Part>> = is.parts.iter().map(Some).collect();
    // What is alike at both ends cancels out, so that the usual single change costs one pass.
    for (was, is) in old.iter_mut().zip(&mut new) {
        if !alike(*was, *is) {
            break;
        }
        (*was, *is) = (None, None);
    }
    for (was, is) in old.iter_mut().rev().zip(new.iter_mut().rev()) {
        if was.is_none() || !alike(*was, *is) {
            break;
        }
        (*was, *is) = (None, None);
    }
    // The rest pairs up by name.
    let mut by_name: HashMap<(u8, String), VecDeque<usize>> = HashMap::new();
    for (at, part) in old.iter().enumerate() {
        if let Some(part) = part {
            by_name.entry(name(part)).or_default().push_back(at);
        }
    }
    let mut moved = None;
    let mut last = None;
    for slot in &mut new {
        let Some(is) = *slot else { continue };
        let Some(at) = by_name.get_mut(&name(is)).and_then(VecDeque::pop_front) else { continue };
        let Some(was) = old[at].take() else { continue };
        *slot = None;
        if alike(Some(was), Some(is)) {
            // Alike, but not where it was: order counts, and says so if nothing else does.
            if last.is_some_and(|last| at < last) && moved.is_none() {
                moved = Some(Reason::Part { was: Some(Box::new(was.clone())), is: Some(Box::new(is.clone())), from: None });
            }
            last = Some(at);
            continue;
        }
        reasons.push(Reason::Part { was: Some(Box::new(was.clone())), is: Some(Box::new(is.clone())), from: is.waits_for().cloned() });
    }
    if reasons.is_empty() && old.iter().chain(&new).all(Option::is_none) {
        reasons.extend(moved);
    }
    reasons.extend(new.into_iter().flatten().map(|is| Reason::Part {
        was: None,
        is: Some(Box::new(is.clone())),
        from: is.waits_for().cloned(),
    }));
    reasons.extend(old.into_iter().flatten().map(|was| Reason::Part { was: Some(Box::new(was.clone())), is: None, from: None }));
    reasons
}

/// Whether two parts are one to the key: how a tool was found is not in it.
fn alike(was: Option<&Part>, is: Option<&Part>) -> bool {
    match (was, is) {
        (Some(Part::Tool { said, content, .. }), Some(Part::Tool { said: other, content: now, .. })) => said == other && content == now,
        (was, is) => was == is,
    }
}

/// What a part speaks of, for people: a path, a name, `the command`.
pub fn said(part: &Part) -> String {
    match part {
        Part::Version(_) => "flow's own rules".into(),
        Part::Machine { .. } => "the machine".into(),
        Part::Command(_) => "the command".into(),
        Part::Shell(_) => "the shell".into(),
        Part::Dir(_) => "the working folder".into(),
        Part::Env(name, _) | Part::Config(name, _) => name.clone(),
        Part::Tool { said, .. } => said.clone(),
        Part::Input { path, .. } | Part::Output { path, .. } => path.to_string(),
        Part::Stamp { task, .. } => task.to_string(),
        Part::Task(_) => "the task's file".into(),
        Part::Expansion(_) => "the list of items".into(),
    }
}

/// What a part speaks of, so that of two with one name one is the other changed.
fn name(part: &Part) -> (u8, String) {
    let (kind, name) = match part {
        Part::Version(_) => (0, String::new()),
        Part::Machine { .. } => (1, String::new()),
        Part::Command(_) => (2, String::new()),
        Part::Shell(_) => (3, String::new()),
        Part::Dir(_) => (4, String::new()),
        Part::Env(name, _) => (5, name.clone()),
        Part::Config(name, _) => (6, name.clone()),
        Part::Tool { said, .. } => (7, said.clone()),
        Part::Input { role, path, .. } => (8, format!("{role}\0{path}")),
        Part::Stamp { task, .. } => (9, task.to_string()),
        Part::Output { path, .. } => (10, path.to_string()),
        Part::Task(_) => (11, String::new()),
        Part::Expansion(_) => (12, String::new()),
    };
    (kind, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Digest;
    use crate::record::manifest::Content;

    fn input(path: &str, text: &str) -> Part {
        Part::Input { role: String::new(), path: RelPath::normal(path).unwrap(), content: Content::Is(Digest::of(text.as_bytes())) }
    }

    fn manifest(parts: &[Part]) -> Manifest {
        Manifest { parts: parts.to_vec() }
    }

    #[test]
    fn alike_has_no_reason() {
        let parts = [Part::Command("x".into()), input("a", "1"), input("b", "2")];
        assert_eq!(compare(&manifest(&parts), &manifest(&parts)), []);
    }

    #[test]
    fn changed_added_and_removed() {
        let was = manifest(&[Part::Command("x".into()), input("a", "1"), input("b", "2")]);
        let is = manifest(&[Part::Command("y".into()), input("b", "3"), input("c", "4")]);
        let kinds: Vec<(bool, bool)> = compare(&was, &is)
            .iter()
            .map(|reason| match reason {
                Reason::Part { was, is, .. } => (was.is_some(), is.is_some()),
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(kinds, [(true, true), (true, true), (false, true), (true, false)]);
    }

    #[test]
    fn another_order_is_a_reason() {
        let was = manifest(&[input("a", "1"), input("b", "2")]);
        let is = manifest(&[input("b", "2"), input("a", "1")]);
        assert_ne!(was.key(), is.key());
        assert!(!compare(&was, &is).is_empty());
    }

    fn any_part(random: &mut fastrand::Rng) -> Part {
        let name = ["a", "b", "c"][random.usize(..3)].to_string();
        let content = match random.u8(..3) {
            0 => Content::Absent,
            n => Content::Is(Digest::of(&[n])),
        };
        let path = RelPath::normal(&name).unwrap();
        let kind = if random.bool() { crate::hash::Kind::File } else { crate::hash::Kind::Folder };
        match random.u8(..12) {
            0 => Part::Command(name),
            1 => Part::Shell(vec![name; random.usize(..3)]),
            2 => Part::Dir(path),
            3 => Part::Env(name, [None, Some(String::new()), Some("v".into())][random.usize(..3)].clone()),
            4 => Part::Config(name, random.u8(..2).to_string()),
            5 => Part::Tool { said: name, automatic: random.bool(), content },
            6 => Part::Stamp { task: name.as_str().into(), nonce: Some(random.u64(..2)) },
            7 => Part::Output { role: random.u8(..2).to_string(), path, kind },
            8 => Part::Task(Digest::of(&[random.u8(..2)])),
            9 => Part::Expansion(Digest::of(&[random.u8(..2)])),
            _ => Part::Input { role: random.u8(..2).to_string(), path, content },
        }
    }

    /// One that is another in few places: swapped, removed, added, changed.
    fn edited(parts: &[Part], random: &mut fastrand::Rng) -> Vec<Part> {
        let mut parts = parts.to_vec();
        for _ in 0..random.usize(..3) {
            let at = random.usize(..=parts.len());
            match random.u8(..4) {
                0 => parts.insert(at, any_part(random)),
                1 if at < parts.len() => drop(parts.remove(at)),
                2 if at < parts.len() => parts[at] = any_part(random),
                _ if !parts.is_empty() => {
                    let other = random.usize(..parts.len());
                    parts.swap(at.min(other), other);
                }
                _ => {}
            }
        }
        parts
    }

    #[test]
    fn there_is_a_reason_exactly_if_the_keys_differ() {
        let mut random = fastrand::Rng::with_seed(17);
        let (mut same, mut other) = (0, 0);
        for _ in 0..30_000 {
            let count = random.usize(..7);
            let was: Vec<Part> = (0..count).map(|_| any_part(&mut random)).collect();
            let is = if random.bool() { edited(&was, &mut random) } else { was.iter().map(|_| any_part(&mut random)).collect() };
            let (was, is) = (manifest(&was), manifest(&is));
            let reasons = compare(&was, &is);
            let alike = was.key().unwrap() == is.key().unwrap();
            assert_eq!(reasons.is_empty(), alike, "{was:?} {is:?}");
            for reason in &reasons {
                let Reason::Part { was: old, is: new, .. } = reason else { panic!("{reason:?}") };
                assert!(old.as_ref().is_none_or(|old| was.parts.contains(old)) && new.as_ref().is_none_or(|new| is.parts.contains(new)));
                assert!(old.is_some() || new.is_some());
            }
            same += usize::from(alike);
            other += usize::from(!alike);
        }
        assert!(same > 3_000 && other > 3_000, "{same} {other}");
    }

    #[test]
    fn how_a_tool_was_found_is_no_reason() {
        let tool = |automatic| Part::Tool { said: "fit.py".into(), automatic, content: Content::Is(Digest::of(b"x")) };
        assert_eq!(compare(&manifest(&[tool(true)]), &manifest(&[tool(false)])), []);
        assert_eq!(compare(&manifest(&[tool(true), input("a", "1")]), &manifest(&[tool(false), input("a", "2")])).len(), 1);
    }

    /// A hundred thousand inputs, all of them elsewhere than they were: a comparison of each with each
    /// would not end.
    #[test]
    fn many_inputs_are_compared_in_one_pass() {
        let names: Vec<String> = (0..100_000).map(|n| format!("in/{n}")).collect();
        let was: Vec<Part> = names.iter().map(|name| input(name, "1")).collect();
        let mut is: Vec<Part> = was.iter().rev().cloned().collect();
        assert_eq!(compare(&manifest(&was), &manifest(&is)).len(), 1, "the order");
        is[50] = input("in/50", "2");
        is.push(input("more", "1"));
        let reasons = compare(&manifest(&was), &manifest(&is));
        assert_eq!(reasons.len(), 4, "one is another, two were added, one is gone");
    }
}
