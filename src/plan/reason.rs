//! Why a task would run, as data.
//!
//! Owns the comparison of two manifests. Pure. Must hold: for every way two manifests can differ
//! there is a reason, and `why` only words it.

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
    // Parts that are alike and in the same order cancel out; then those of one name pair up.
    let mut from = 0;
    for slot in &mut new {
        if let Some(at) = old[from..].iter().position(|part| part.is_some() && *part == *slot) {
            old[from + at] = None;
            *slot = None;
            from += at + 1;
        }
    }
    for slot in &mut new {
        let Some(is) = *slot else { continue };
        let Some(was) = old.iter_mut().find(|was| was.is_some_and(|was| same_name(was, is))) else { continue };
        reasons.push(Reason::Part {
            was: was.take().cloned().map(Box::new),
            is: Some(Box::new(is.clone())),
            from: is.waits_for().cloned(),
        });
        *slot = None;
    }
    reasons.extend(new.into_iter().flatten().map(|is| Reason::Part {
        was: None,
        is: Some(Box::new(is.clone())),
        from: is.waits_for().cloned(),
    }));
    reasons.extend(old.into_iter().flatten().map(|was| Reason::Part { was: Some(Box::new(was.clone())), is: None, from: None }));
    reasons
}

/// Whether two parts speak of the same thing, so that one is the other changed.
fn same_name(a: &Part, b: &Part) -> bool {
    match (a, b) {
        (Part::Version(_), Part::Version(_))
        | (Part::Machine { .. }, Part::Machine { .. })
        | (Part::Command(_), Part::Command(_))
        | (Part::Shell(_), Part::Shell(_))
        | (Part::Dir(_), Part::Dir(_))
        | (Part::Task(_), Part::Task(_))
        | (Part::Expansion(_), Part::Expansion(_)) => true,
        (Part::Env(a, _), Part::Env(b, _)) | (Part::Config(a, _), Part::Config(b, _)) => a == b,
        (Part::Tool { said: a, .. }, Part::Tool { said: b, .. }) => a == b,
        (Part::Input { role: r, path: a, .. }, Part::Input { role: s, path: b, .. }) => a == b && r == s,
        (Part::Stamp { task: a, .. }, Part::Stamp { task: b, .. }) => a == b,
        (Part::Output { path: a, .. }, Part::Output { path: b, .. }) => a == b,
        _ => false,
    }
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
}
