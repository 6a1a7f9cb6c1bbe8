//! The one decision: must this task run, and why.
//!
//! `run`, `plan`, `status`, `why` and `resume` all ask [`decide`]. Pure: what is on disk and in the
//! cache is handed in. Must hold: no other place in flow decides whether something is stale.

use std::sync::Arc;

use crate::graph::Output;
use crate::hash::Stamp;
use crate::name::{RelPath, TaskName};
use crate::pattern::{Pattern, is_pattern};
use crate::pipeline::spec::Runs;
use crate::plan::reason::{Reason, compare};
use crate::record::manifest::{Key, Manifest, Part};
use crate::record::record::{Made, Record, Tree};

/// What became of a task's last attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// There was none.
    Never,
    /// It ended well.
    Well,
    /// It failed.
    Failed,
    /// It was put away by recovery: flow died while it ran.
    Aborted,
    /// It is still open and nobody runs it: flow died while it ran.
    Interrupted,
    /// It ended well, but an input changed meanwhile.
    Spoilt,
}

/// What is asked.
pub struct Question<'a> {
    /// The outputs the task declares.
    pub outputs: &'a [Output],
    /// Whether its results may come from the cache.
    pub cacheable: bool,
    /// When it runs.
    pub runs: Runs,
    /// All that can make it stale, as it is now.
    pub now: &'a Manifest,
    /// Its last good record.
    pub good: Option<&'a Arc<Record>>,
    /// Its last attempt.
    pub last: Last,
    /// Inputs that changed while the last result was made.
    pub spoilt: &'a [RelPath],
    /// `--force`, and selected.
    pub forced: bool,
    /// Named by a selector, for `runs: manual`.
    pub named: bool,
}

/// What stands where a record says an output is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OnDisk {
    /// What the record says.
    As,
    /// Nothing.
    Gone,
    /// Something else.
    Other,
    /// A folder of which only these members are not as recorded.
    Members {
        /// Missing.
        gone: Vec<RelPath>,
        /// Changed or added.
        other: Vec<RelPath>,
    },
}

/// The facts a decision rests on. Asked only where they matter.
pub trait Facts {
    /// What stands at an output's path.
    fn output(&mut self, made: &Made) -> OnDisk;
    /// Whether an input that the command itself named is as recorded.
    fn found_as(&mut self, record: &Record) -> Result<(), RelPath>;
    /// Records with a key that other tasks or other times left.
    fn with_key(&mut self, key: &Key) -> Vec<Arc<Record>>;
    /// Whether the cache has the content of these files of a record (all of them, if empty).
    fn has_blobs(&mut self, record: &Record, files: &[RelPath]) -> bool;
}

/// The answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// Nothing to do.
    UpToDate,
    /// The result is known.
    Restore {
        /// What to bring back.
        record: Arc<Record>,
        /// The outputs, or members of folder outputs, that are not there as recorded. Empty: all stand,
        /// and the record is only taken over.
        files: Vec<RelPath>,
    },
    /// The command must run.
    Run(Vec<Reason>),
    /// A task above decides.
    Pending {
        /// What of its own would make it run in any case.
        own: Vec<Reason>,
        /// The tasks that decide.
        waits_for: Vec<TaskName>,
    },
    /// The answer of a command would be needed that may not be asked here.
    Unknown(String),
    /// `runs: never`, and these are neither there nor in the cache.
    Missing(Vec<RelPath>),
}

impl Verdict {
    /// Whether the task's outputs are, or will be without running anything, those of a record.
    pub fn is_settled(&self) -> bool {
        matches!(self, Verdict::UpToDate | Verdict::Restore { .. })
    }
}

/// Decides.
pub fn decide(q: &Question<'_>, facts: &mut dyn Facts) -> Verdict {
    if q.runs == Runs::Never {
        return never(q, facts);
    }
    // An order to run needs no comparison; but what is pending is still named, so that a plan is whole.
    let ordered = ordered(q);
    let waits_for = waits_for(q.now);
    if !waits_for.is_empty() {
        let own = if ordered.is_empty() { own_reasons(q) } else { ordered };
        return Verdict::Pending { own, waits_for };
    }
    if !ordered.is_empty() {
        return Verdict::Run(ordered);
    }
    if q.last == Last::Interrupted {
        return Verdict::Run(vec![Reason::Interrupted]);
    }
    let Some(key) = q.now.key() else {
        let what = q.now.parts.iter().find(|part| part.is_unknown());
        return Verdict::Unknown(what.map_or_else(String::new, crate::plan::reason::said));
    };
    if q.outputs.is_empty() {
        return without_outputs(q, key);
    }
    with_outputs(q, key, facts)
}

/// What makes it run whatever it was made from.
fn ordered(q: &Question<'_>) -> Vec<Reason> {
    if q.forced {
        return vec![Reason::Forced];
    }
    match q.runs {
        Runs::Always => vec![Reason::Always],
        Runs::Manual if q.named => vec![Reason::Named],
        _ => Vec::new(),
    }
}

fn waits_for(now: &Manifest) -> Vec<TaskName> {
    let mut tasks: Vec<TaskName> = now.parts.iter().filter_map(|part| part.waits_for().cloned()).collect();
    tasks.sort();
    tasks.dedup();
    tasks
}

/// The reasons of a task that would run whatever comes from above.
fn own_reasons(q: &Question<'_>) -> Vec<Reason> {
    if q.last == Last::Interrupted {
        return vec![Reason::Interrupted];
    }
    let Some(good) = q.good else { return first_reasons(q) };
    let mut reasons = Vec::new();
    if q.outputs.is_empty() && q.last != Last::Well {
        // Only the last started execution counts, and that one does not.
        reasons.extend(first_reasons(q));
    }
    let now = &q.now.parts;
    // A glob that is not answered yet stands for what it matched before, and a command that names
    // those files is not known either.
    let open: Vec<(&str, Pattern)> = now.iter().filter(|part| is_open_glob(part)).filter_map(pattern_of).collect();
    let found_before = |role: &str, path: &RelPath| open.iter().any(|(entry, pattern)| *entry == role && pattern.matches(path.as_str()));
    let untold = !now.iter().any(|part| matches!(part, Part::Command(_)));
    reasons.extend(compare(&good.manifest, q.now).into_iter().filter(|reason| match reason {
        Reason::Part { was: Some(_), is: Some(is), .. } => is.waits_for().is_none() && !is.is_unknown(),
        Reason::Part { was: None, is: Some(is), .. } => !is_open_glob(is) && !is.is_unknown(),
        Reason::Part { was: Some(was), is: None, .. } => match &**was {
            Part::Input { role, path, .. } => !found_before(role, path),
            Part::Command(_) | Part::Env(..) => !untold,
            _ => true,
        },
        _ => true,
    }));
    reasons
}

/// Whether a part stands for what a pattern will match once the tasks above are done.
fn is_open_glob(part: &Part) -> bool {
    matches!(part, Part::Input { path, .. } if part.waits_for().is_some() && is_pattern(path.as_str()))
}

/// The entry of `inputs` and the pattern of a part that is an open glob.
fn pattern_of(part: &Part) -> Option<(&str, Pattern)> {
    match part {
        Part::Input { role, path, .. } => Some((role, Pattern::parse(path.as_str()).ok()?)),
        _ => None,
    }
}

/// Why a task without a good record runs.
fn first_reasons(q: &Question<'_>) -> Vec<Reason> {
    match q.last {
        Last::Failed => vec![Reason::Failed],
        Last::Aborted | Last::Interrupted => vec![Reason::Interrupted],
        Last::Spoilt if !q.spoilt.is_empty() => q.spoilt.iter().cloned().map(Reason::Spoilt).collect(),
        Last::Spoilt | Last::Never | Last::Well => vec![Reason::NeverRan],
    }
}

/// What differs from what a record was made from. Empty only if the keys are alike.
fn differences(good: &Record, key: Key, now: &Manifest) -> Vec<Reason> {
    if good.key == key {
        return Vec::new();
    }
    let reasons = compare(&good.manifest, now);
    // A record whose key is not that of its manifest was not written by this flow: as if it were none.
    if reasons.is_empty() { vec![Reason::NeverRan] } else { reasons }
}

/// Only the last started execution counts, and only if it ended well.
fn without_outputs(q: &Question<'_>, key: Key) -> Verdict {
    let Some(good) = q.good else { return Verdict::Run(first_reasons(q)) };
    let differences = differences(good, key, q.now);
    match q.last {
        Last::Well if differences.is_empty() => Verdict::UpToDate,
        Last::Well => Verdict::Run(differences),
        _ => {
            let mut reasons = first_reasons(q);
            reasons.extend(differences);
            Verdict::Run(reasons)
        }
    }
}

fn with_outputs(q: &Question<'_>, key: Key, facts: &mut dyn Facts) -> Verdict {
    let mut reasons = Vec::new();
    if q.last == Last::Spoilt {
        reasons.extend(q.spoilt.iter().cloned().map(Reason::Spoilt));
    }
    if let Some(good) = q.good.filter(|good| good.key == key) {
        match facts.found_as(good) {
            Err(path) => reasons.push(Reason::FoundChanged(path)),
            Ok(()) => {
                let standing = standing(good, facts);
                if standing.files.is_empty() {
                    return Verdict::UpToDate;
                }
                if q.cacheable && facts.has_blobs(good, &standing.files) {
                    return Verdict::Restore { record: Arc::clone(good), files: standing.files };
                }
                reasons.extend(standing.reasons);
                return Verdict::Run(reasons);
            }
        }
    }
    if q.cacheable {
        // Whoever left a result with this key: a renamed stage, an item under another name, an edit undone.
        for record in facts.with_key(&key) {
            if record.key != key || facts.found_as(&record).is_err() {
                continue;
            }
            let files = standing(&record, facts).files;
            if files.is_empty() || facts.has_blobs(&record, &files) {
                return Verdict::Restore { record, files };
            }
        }
    }
    match q.good {
        Some(good) => reasons.extend(differences(good, key, q.now)),
        None if reasons.is_empty() => reasons.extend(first_reasons(q)),
        None => {}
    }
    Verdict::Run(reasons)
}

/// Files count as they are; missing ones come from the cache or are an error.
fn never(q: &Question<'_>, facts: &mut dyn Facts) -> Verdict {
    let mut gone = Vec::new();
    let mut unknown = Vec::new();
    for output in q.outputs {
        match q.good.and_then(|good| good.outputs.iter().find(|made| made.path == output.path)) {
            Some(made) => match facts.output(made) {
                OnDisk::Gone => gone.push(made.path.clone()),
                OnDisk::Members { gone: members, .. } => gone.extend(members),
                OnDisk::As | OnDisk::Other => {}
            },
            // Nobody knows what it should be; it must be there.
            None if output.optional => {}
            None => {
                let absent = Made { path: output.path.clone(), what: Tree::Absent, stamp: Stamp::default() };
                if facts.output(&absent) == OnDisk::As {
                    unknown.push(output.path.clone());
                }
            }
        }
    }
    match q.good {
        _ if gone.is_empty() && unknown.is_empty() => Verdict::UpToDate,
        Some(good) if unknown.is_empty() && facts.has_blobs(good, &gone) => Verdict::Restore { record: Arc::clone(good), files: gone },
        _ => {
            gone.extend(unknown);
            Verdict::Missing(gone)
        }
    }
}

/// What of a record's outputs does not stand.
struct Standing {
    files: Vec<RelPath>,
    reasons: Vec<Reason>,
}

fn standing(record: &Record, facts: &mut dyn Facts) -> Standing {
    let mut standing = Standing { files: Vec::new(), reasons: Vec::new() };
    for made in &record.outputs {
        match facts.output(made) {
            OnDisk::As => {}
            OnDisk::Gone => {
                standing.files.push(made.path.clone());
                standing.reasons.push(Reason::OutputGone(made.path.clone()));
            }
            OnDisk::Other => {
                standing.files.push(made.path.clone());
                standing.reasons.push(Reason::OutputChanged(made.path.clone()));
            }
            OnDisk::Members { gone, other } => {
                standing.reasons.extend(gone.iter().cloned().map(Reason::OutputGone));
                standing.reasons.extend(other.iter().cloned().map(Reason::OutputChanged));
                standing.files.extend(gone);
                standing.files.extend(other);
            }
        }
    }
    standing
}

#[cfg(test)]
mod tests;
