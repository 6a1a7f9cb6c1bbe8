//! What other pipeline files of the workspace make: one path has one maker, whichever file it is in.
//!
//! Owns the comparison with the graphs that other files left in their states. Writes nothing, takes no
//! lock. Must hold: a claim counts only while its file is there and as it was when it ran last; so a
//! stage can move from one file to another.

use std::collections::HashMap;

use crate::disk::stamp;
use crate::graph::Graph;
use crate::name::{RelPath, TaskId};
use crate::os::beneath::Beneath;
use crate::record::state::Reader;
use crate::run::open::stored_graph;
use crate::run::site::{Site, absolute};

/// Outputs that a task of another file makes too, worded for people.
pub fn conflicts(site: &Site, graph: &Graph) -> Vec<String> {
    let Ok(flow) = Beneath::open(&site.flow) else { return Vec::new() };
    let mut folders: Vec<String> = flow
        .list(".")
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| *name != site.folder && !matches!(name.as_str(), "cache" | "kept" | ".gitignore"))
        .collect();
    folders.sort_unstable();
    if folders.is_empty() {
        return Vec::new();
    }
    let mut ours: HashMap<&RelPath, TaskId> = HashMap::new();
    for (index, task) in graph.tasks.iter().enumerate() {
        ours.extend(task.outputs.iter().map(|output| (&output.path, TaskId(index as u32))));
    }
    let mut list = Vec::new();
    for folder in folders {
        let relative = folder.replace("%2F", "/");
        let Some(theirs) = claims(site, &flow, &folder, &relative) else { continue };
        for task in &theirs.tasks {
            for output in &task.outputs {
                let same = std::iter::successors(Some(output.path.clone()), RelPath::parent).find_map(|path| ours.get(&path).copied());
                let Some(mine) = same.or_else(|| around(graph, &output.path, output.folder)) else { continue };
                let (mine, stage) = (graph.task(mine), graph.stage_of(mine));
                let here = graph.show_place(stage.places.outputs);
                let there = theirs.stages.get(task.stage.index()).map(|stage| stage.places.outputs).unwrap_or_default();
                list.push(format!(
                    "`{}` ({here}) and `{}` of {relative} (line {}) both make {}",
                    mine.name, task.name, there.line, output.path
                ));
            }
        }
    }
    list
}

/// A task of ours with an output in a folder of theirs.
fn around(graph: &Graph, path: &RelPath, folder: bool) -> Option<TaskId> {
    if !folder {
        return None;
    }
    let at = graph.tasks.iter().position(|task| task.outputs.iter().any(|output| output.path.below(path).is_some()))?;
    Some(TaskId(at as u32))
}

/// The graph of another file, if its claims count.
fn claims(site: &Site, flow: &Beneath, folder: &str, relative: &str) -> Option<Graph> {
    let file = absolute(&site.workspace.join(relative));
    let now = stamp(&file)?;
    let reader = Reader::open(&flow.folder(folder).ok()?).ok()??;
    let stored = stored_graph(&reader)?;
    let then = stored.account.get(&RelPath(file.to_string_lossy().as_ref().into()))?;
    (*then == Some(now)).then_some(stored.graph)
}
