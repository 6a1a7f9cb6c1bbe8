//! Lookups: what a name with its fields and indexes means in a scope.
//!
//! Owns the answer, the faults of names and fields that are not there, and what an answer counts as
//! read. Never computes.

use std::borrow::Cow;
use std::ops::Range;

use super::scan::{Lookup, Step};
use super::{Fault, Reads, nearest};
use crate::pipeline::scope::{RESERVED, Scope, VOLATILE, Val, Volatiles};

/// All names that mean nothing, also in branches that are not taken.
pub(super) fn unknown_names<'a>(lookups: impl Iterator<Item = &'a Lookup>, scope: &Scope) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    for lookup in lookups {
        let name = lookup.name.as_str();
        if lookup.guarded || VOLATILE.contains(&name) || scope.get(name).is_some() {
            continue;
        }
        let fault = Fault::new("unknown_name", lookup.name_at.clone(), format!("`{name}` is not defined"));
        faults.push(match name {
            "secrets" => Fault { message: "`secrets` may stand only in `env:` values".into(), ..fault }
                .label("visible in process lists and logs here")
                .hint("give it to the command as a variable: `env: {NAME: \"${{ secrets.x }}\"}`"),
            "item" => Fault { message: "`item` is for stages with `take`".into(), ..fault }.label("no queue here"),
            name if RESERVED.contains(&name) => {
                Fault { message: format!("`{name}` has no value here"), ..fault }.label("not known at this place")
            }
            name => {
                let known: Vec<&str> = scope.names.iter().map(|(name, _)| name.as_str()).chain(VOLATILE.iter().copied()).collect();
                let setting = matches!(scope.get("config"), Some(config) if config.field(name).is_some());
                match (setting, nearest(name, known.iter().copied())) {
                    (true, _) => fault.label(format!("write `config.{name}`")),
                    (false, Some(near)) => fault.label(format!("did you mean `{near}`?")),
                    (false, None) if name.contains('-') => {
                        fault.label("no such name").hint(format!("a difference needs spaces: `{}`", name.replace('-', " - ")))
                    }
                    (false, None) => fault.label("no such name").hint(format!("known here: {}", sorted(known).join(", "))),
                }
            }
        });
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names.dedup();
    names
}

/// What is read below which root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    Config,
    Env,
    Other,
}

/// An answered lookup.
pub(super) struct Found<'a> {
    pub val: Cow<'a, Val>,
    pub root: Root,
    /// Dotted, below the root; stops at a list.
    pub path: String,
}

/// A lookup without an answer.
pub(super) struct Absent {
    pub fault: Fault,
    pub root: Root,
    /// What was read in vain.
    pub path: String,
}

/// Answers a lookup; the fault of a missing one comes with the path that was read in vain.
pub(super) fn look<'a>(lookup: &Lookup, scope: &'a Scope, volatiles: Option<&Volatiles>) -> Result<Found<'a>, Box<Absent>> {
    let name = lookup.name.as_str();
    let root = match name {
        "config" => Root::Config,
        "env" => Root::Env,
        _ => Root::Other,
    };
    let start = match volatiles.and_then(|volatiles| volatiles.get(name, scope)) {
        Some(val) => Some(Cow::Owned(val)),
        None => scope.get(name).map(Cow::Borrowed),
    };
    let Some(mut val) = start else {
        let fault = Fault::new("unknown_name", lookup.name_at.clone(), format!("`{name}` is not defined")).label("no such name");
        return Err(Box::new(Absent { fault, root, path: String::new() }));
    };
    let mut path = String::new();
    let mut below = true;
    let mut said = name.to_string();
    for (step, at) in &lookup.steps {
        let next = match (&val, step) {
            (Cow::Borrowed(val), step) => take_step(val, step),
            (Cow::Owned(val), step) => take_step(val, step).map(|val| Cow::Owned(val.into_owned())),
        };
        below &= matches!(*val, Val::Map(_));
        if below {
            if !path.is_empty() {
                path.push('.');
            }
            match step {
                Step::Field(name) => path.push_str(name),
                Step::Index(index) => path.push_str(&index.to_string()),
            }
        }
        val = match next {
            Some(next) => next,
            None => return Err(Box::new(Absent { fault: missing(&said, &val, step, at), root, path })),
        };
        match step {
            Step::Field(name) => said.push_str(&format!(".{name}")),
            Step::Index(index) => said.push_str(&format!("[{index}]")),
        }
    }
    Ok(Found { val, root, path })
}

fn take_step<'a>(val: &'a Val, step: &Step) -> Option<Cow<'a, Val>> {
    match step {
        Step::Field(name) => val.field(name),
        Step::Index(index) => match val {
            Val::Map(_) => val.field(&index.to_string()),
            val => val.index(*index).map(Cow::Borrowed),
        },
    }
}

fn missing(said: &str, val: &Val, step: &Step, at: &Range<usize>) -> Fault {
    let fault = |message: String| Fault::new("missing_field", at.clone(), message);
    let one_path = |fault: Fault| match said {
        "inputs" | "outputs" => fault.hint(format!("`{said}` is written as one path here, so it is that path: write `{said}`")),
        _ => fault,
    };
    match (val, step) {
        (Val::List(_) | Val::Entries(_), Step::Index(index)) => {
            let count = val.members().map_or(0, |all| all.len());
            let entries = if count == 1 { "1 entry".to_string() } else { format!("{count} entries") };
            fault(format!("`{said}` has {entries}, there is no `[{index}]`")).label("out of range")
        }
        (Val::List(_), Step::Field(name)) => fault(format!("`{said}` is a list, it has no `{name}`"))
            .label("a list")
            .hint(format!("name an entry first, as `{said}[0].{name}`, or write `{said} | map(attribute='{name}')`")),
        (Val::Map(_) | Val::Entries(_) | Val::Item { .. }, step) => {
            let name = match step {
                Step::Field(name) => name.clone(),
                Step::Index(index) => index.to_string(),
            };
            let names = val.field_names();
            let fault = match (val, step) {
                (Val::Item { .. }, Step::Index(_)) => one_path(fault(format!("`{said}` is an item, no list")).label("not a list")),
                (Val::Item { .. }, _) => one_path(fault(format!("`{said}` has no field `{name}`"))),
                (Val::Entries(_), _) => fault(format!("`{said}` has no entry named `{name}`")),
                _ => fault(format!("`{said}` has no `{name}`")),
            };
            match nearest(&name, names.iter().copied()) {
                _ if !fault.label.is_empty() => fault,
                Some(near) => fault.label(format!("did you mean `{near}`?")),
                None if names.is_empty() => fault.label("not there"),
                None => {
                    Fault { hint: fault.hint.clone().or_else(|| Some(format!("there are: {}", shown(&names)))), ..fault }.label("not there")
                }
            }
        }
        (Val::Null, _) => fault(format!("`{said}` is nothing (`null`)")).label("nothing to look into"),
        (val, _) => fault(format!("`{said}` is {}, it has no fields", val.kind())).label("not there"),
    }
}

fn shown(names: &[&str]) -> String {
    const MOST: usize = 12;
    let mut text = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST {
        text.push_str(", …");
    }
    text
}

pub(super) fn note(found: &Found<'_>, reads: &mut Reads) {
    let all = match found.root {
        Root::Config => &mut reads.config,
        Root::Env => &mut reads.env,
        Root::Other => return,
    };
    match found.path.as_str() {
        "" => all.extend(found.val.field_names().into_iter().map(str::to_string)),
        path => {
            all.insert(path.to_string());
        }
    }
}

pub(super) fn note_path(root: Root, path: String, reads: &mut Reads) {
    match root {
        Root::Config if !path.is_empty() => reads.config.insert(path),
        Root::Env if !path.is_empty() => reads.env.insert(path),
        _ => false,
    };
}

/// A path noted by the engine's side: `` is the whole root.
pub(super) fn note_whole(root: Root, path: String, scope: &Scope, reads: &mut Reads) {
    let path = path.trim_start_matches('.');
    let name = if root == Root::Config { "config" } else { "env" };
    match (path, scope.get(name)) {
        ("", Some(val)) => val.field_names().into_iter().for_each(|key| note_path(root, key.to_string(), reads)),
        (path, _) => note_path(root, path.to_string(), reads),
    }
}
