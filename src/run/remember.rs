//! The end of a run: everything for a new `state`.
//!
//! Owns which stamps are kept under which flags. Decides nothing: a flag is the answer of the one
//! decision, asked again with what stands now. Must hold: only final stamps are kept; what was not
//! looked at keeps what was known of it.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, View};
use crate::graph::globs::Declared;
use crate::graph::select::{everything, with_ancestors};
use crate::graph::{Source, Tool};
use crate::hash::Stamp;
use crate::name::{RelPath, TaskId};
use crate::os::beneath::Beneath;
use crate::os::process::find_program;
use crate::pattern::Pattern;
use crate::plan::decide::Verdict;
use crate::plan::walk::Selection;
use crate::record::cache::Cache;
use crate::record::record::Tree;
use crate::record::state::{Reader, Section};
use crate::run::fresh::{Builder, FRESH, USUAL, section};
use crate::run::look::candidates;
use crate::run::open::{KeptDigest, Opened, StoredCache, StoringGraph, untouched};
use crate::run::session::look_at;
use crate::run::survey::Answers;

/// The sections of a new `state`.
pub fn remember(opened: &mut Opened, selection: &Selection, answers: &mut Answers, cache: &Cache) -> io::Result<Vec<Section>> {
    let graph = Arc::clone(&opened.graph);
    let disk = Arc::clone(&opened.disk);
    disk.settle_all();
    // What was not touched since its stamps were compared needs no second look.
    let touched = opened.known.touched();
    opened.unchanged = untouched(&opened.unchanged, &graph, &touched);
    let plain = Selection {
        chosen: selection.chosen.clone(),
        named: vec![false; graph.tasks.len()],
        forced: vec![false; graph.tasks.len()],
        keep_manifests: false,
    };
    let walked = look_at(&graph, opened, cache, answers, &plain);
    // What a run without selectors looks at, and what that needs.
    let usual = with_ancestors(&graph, &everything(&graph).into_iter().map(|(task, _)| task).collect::<Vec<_>>());
    let mut builder = Builder::new(opened.guard.clone());
    let account = account_now(opened);
    for (path, stamp) in &account {
        builder.path(path.as_str(), false, stamp.as_ref());
    }
    builder.graph();
    for (index, verdict) in walked.verdicts.iter().enumerate() {
        let id = TaskId(index as u32);
        let usual = if usual[index] { USUAL } else { 0 };
        let carried = opened.unchanged[index];
        match (verdict, &opened.fresh) {
            (Some(Verdict::UpToDate) | None, Some(old)) if carried => builder.carry(old, id, FRESH | usual),
            (Some(Verdict::UpToDate), _) => {
                let known = paths(&mut builder, opened, &disk, id);
                builder.task(if known { FRESH | usual } else { usual });
            }
            _ => builder.task(usual),
        }
    }
    let fresh = builder.finish();
    let mut sections = fresh.sections();
    let stored = StoringGraph { graph: &graph, account: &account, cache: StoredCache::from(&opened.cache) };
    sections.push((section::GRAPH, postcard::to_stdvec(&stored).map_err(io::Error::other)?));
    sections.push((section::DIGESTS, digests(opened)?));
    for (task, verdict) in graph.tasks.iter().zip(&walked.verdicts) {
        if *verdict == Some(Verdict::UpToDate) {
            opened.known.believe(&task.name);
        }
    }
    let mut sections: Vec<Section> = sections.into_iter().map(Section::from).collect();
    sections.extend(opened.known.sections()?);
    Ok(sections)
}

/// What the graph rests on, as it stands now: of the pipeline file and of what was looked up the stamps
/// from then, of folders that globs walked the stamps now, if the same paths match; else none that can
/// ever be.
fn account_now(opened: &Opened) -> crate::run::look::Account {
    let mut account = opened.account.clone();
    if let Some(glob) = moved_glob(opened) {
        let never = Stamp { size: u64::MAX, ..Stamp::default() };
        account.insert(RelPath(glob.into()), Some(never));
        return account;
    }
    for (path, stamp) in &mut account {
        let is_folder = stamp.is_some_and(|stamp| stamp.kind() == crate::hash::Kind::Folder);
        if !is_folder {
            continue;
        }
        // flow's own outputs move the stamps of folders that globs walk: the listing is taken between
        // two equal stamps, last.
        if let Ok(Some(listing)) = opened.disk.list(path) {
            *stamp = Some(listing.stamp);
        }
    }
    account
}

/// A pattern that would find something else now than when the graph was made.
fn moved_glob(opened: &Opened) -> Option<&str> {
    let graph = &opened.graph;
    if graph.globs.is_empty() {
        return None;
    }
    let declared = Declared::of(graph);
    let moved = graph.globs.iter().find(|glob| {
        let now = Pattern::parse(&glob.pattern).ok().and_then(|pattern| opened.disk.glob(&pattern, &[]).ok());
        now.is_none_or(|now| !declared.same(glob, &now.paths))
    });
    moved.map(|glob| glob.pattern.as_str())
}

/// The paths a task rests on. False: one cannot be told.
fn paths(builder: &mut Builder, opened: &Opened, disk: &Disk, id: TaskId) -> bool {
    let task = opened.graph.task(id);
    let mut known = true;
    for input in &task.inputs {
        match &input.source {
            Source::Path { path, .. } => known &= see(builder, disk, path, View::Input),
            Source::LateGlob { pattern, exclude, .. } => known &= glob(builder, disk, pattern, exclude),
            Source::Stamp(_) => {}
        }
    }
    for tool in &task.tools {
        match tool {
            Tool::File { path, .. } => known &= see(builder, disk, path, View::Input),
            Tool::Program { name } => {
                let path = opened.surroundings.path();
                let found = find_program(std::ffi::OsStr::new(name), path);
                for candidate in candidates(name, path, found.as_deref()) {
                    builder.path(candidate.as_str(), false, disk.stamp(&candidate, true).ok().flatten().as_ref());
                }
            }
            // No stamp tells what a command will answer.
            Tool::Asked { .. } => known = false,
        }
    }
    for output in &task.outputs {
        known &= see(builder, disk, &output.path, View::Output);
    }
    known
}

/// What stands at a path, with all its members. False: it is not settled.
fn see(builder: &mut Builder, disk: &Disk, path: &RelPath, view: View) -> bool {
    match disk.see(path, view) {
        Ok(Some(seen)) => {
            builder.path(path.as_str(), view == View::Output, Some(&seen.stamp));
            if let Tree::Folder(members) = &seen.tree {
                for member in members {
                    let link = matches!(member.what, Tree::Link(_));
                    let Ok(path) = path.join(&member.name) else { return false };
                    builder.path(path.as_str(), link, Some(&member.stamp));
                }
            }
            seen.settled
        }
        Ok(None) => {
            builder.path(path.as_str(), view == View::Output, None);
            true
        }
        Err(_) => false,
    }
}

fn glob(builder: &mut Builder, disk: &Disk, pattern: &str, exclude: &[String]) -> bool {
    let parsed = Pattern::parse(pattern).ok().zip(exclude.iter().map(|text| Pattern::parse(text).ok()).collect::<Option<Vec<_>>>());
    let Some((pattern, exclude)) = parsed else { return false };
    let Ok(found) = disk.glob(&pattern, &exclude) else { return false };
    for (path, stamp) in &found.walked {
        builder.path(path.as_str(), false, stamp.as_ref());
    }
    found.paths.iter().all(|path| see(builder, disk, path, View::Input)) && found.settled
}

/// Digests of files by path and stamp, as far as they are final. In another boot those are believed
/// that stood in the last `state` too and were synced since.
fn digests(opened: &Opened) -> io::Result<Vec<u8>> {
    let synced = synced_before(opened);
    let mut kept: Vec<KeptDigest> = Vec::new();
    opened.disk.memo().each(|path, known| {
        if known.settled {
            let before = synced.binary_search_by(|(has, ..)| has.cmp(path)).ok().and_then(|at| synced.get(at));
            let before = before.is_some_and(|(_, stamp, digest, _)| (*stamp, *digest) == (known.stamp, known.digest));
            kept.push((path.clone(), known.stamp, known.digest, before));
        }
    });
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    postcard::to_stdvec(&kept).map_err(io::Error::other)
}

/// What the `state` that is about to be replaced holds and is on the disk for sure, sorted by path. A
/// state that cannot be read has nothing.
fn synced_before(opened: &Opened) -> Vec<KeptDigest> {
    let whole = opened.known.is_block_synced();
    let read = || Reader::open(&Beneath::open(&opened.site.own()).ok()?).ok()??.section(section::DIGESTS).ok()?;
    let mut kept: Vec<KeptDigest> = read().and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default();
    kept.retain(|(.., synced)| whole || *synced);
    kept
}
