//! What a task reads: entries of `inputs` into paths and edges.
//!
//! Owns the rules of globs among declared outputs and of `{from, where}`. Pure. Must hold: the cost is
//! that of what is found, never all stages for each task; a path another task makes is always an edge.

use std::collections::{HashMap, HashSet};

use crate::diag::{Diagnostic, Span};
use crate::graph::globs::Globs;
use crate::graph::link::Outputs;
use crate::graph::{Edge, Input, Look, Source, Stage, Task};
use crate::name::{RelPath, StageId, TaskId};
use crate::near::nearest;
use crate::pattern::Pattern;
use crate::pipeline::scope::Val;
use crate::pipeline::spec;

/// An entry of `inputs`, templates filled in.
pub enum WrittenInput {
    /// A file or folder.
    Path {
        /// Index of the entry.
        entry: u32,
        /// As written.
        path: String,
        /// Patterns of a folder that are left out.
        exclude: Vec<String>,
        /// May be missing.
        optional: bool,
        /// Where.
        at: Span,
    },
    /// A glob.
    Glob {
        /// Index of the entry.
        entry: u32,
        /// The pattern.
        pattern: String,
        /// Patterns that are left out.
        exclude: Vec<String>,
        /// May match nothing.
        optional: bool,
        /// Where.
        at: Span,
    },
    /// What another stage makes.
    From {
        /// Index of the entry.
        entry: u32,
        /// The stage's name.
        stage: String,
        /// Named outputs; empty: all.
        output: Vec<String>,
        /// Axis, its place, any of these item keys.
        filter: Vec<(String, Span, Vec<String>)>,
        /// May be none.
        optional: bool,
        /// Where.
        at: Span,
    },
}

/// The paths of one entry of `inputs` or `outputs`, and its name in a map.
pub type Named = (Option<String>, Vec<RelPath>);

/// What a task's inputs came to.
#[derive(Default)]
pub struct Resolved {
    /// What it reads.
    pub inputs: Vec<Input>,
    /// The paths of each entry, for templates.
    pub values: Vec<Named>,
    /// What it waits for.
    pub edges: Vec<(TaskId, Edge)>,
    /// Some paths are known only when the tasks above are done.
    pub late: bool,
    /// Globs of its tools, each with what it found.
    pub tool_globs: Vec<(String, Vec<RelPath>)>,
}

/// Answers for all tasks of one graph.
pub struct Resolver<'a> {
    look: &'a dyn Look,
    by_name: HashMap<String, StageId>,
    names: Vec<String>,
    ranges: Vec<(u32, u32)>,
    axes: Vec<Vec<String>>,
    /// Tasks of a stage by the item keys of some of its axes.
    groups: HashMap<(StageId, Vec<String>), ByKeys>,
    gates: Vec<StageId>,
    gate_of: HashMap<StageId, TaskId>,
    tasks: usize,
    gone: Option<HashSet<RelPath>>,
    /// The globs that were answered.
    pub globs: Globs,
}

/// Tasks by the item keys of some axes.
type ByKeys = HashMap<Vec<String>, Vec<TaskId>>;

/// Which tasks a `{from, where}` names.
enum Chosen {
    /// All of a stage.
    Whole(StageId),
    /// These.
    Some(StageId, Vec<TaskId>),
}

impl<'a> Resolver<'a> {
    /// For these stages and tasks.
    pub fn new(stages: &[Stage], tasks: usize, look: &'a dyn Look) -> Resolver<'a> {
        Resolver {
            look,
            by_name: stages.iter().enumerate().map(|(index, stage)| (stage.name.clone(), StageId(index as u32))).collect(),
            names: stages.iter().map(|stage| stage.name.clone()).collect(),
            ranges: stages.iter().map(|stage| stage.tasks).collect(),
            axes: stages.iter().map(|stage| stage.axes.clone()).collect(),
            groups: HashMap::new(),
            gates: Vec::new(),
            gate_of: HashMap::new(),
            tasks,
            gone: None,
            globs: Globs::default(),
        }
    }

    /// The stages that need a gate, in the order of the gates' ids; and the globs that were answered.
    pub fn end(self) -> (Vec<StageId>, Globs) {
        (self.gates, self.globs)
    }

    /// A task's inputs and the edges they make.
    pub fn resolve(
        &mut self,
        id: TaskId,
        stage: &spec::Stage,
        written: &[WrittenInput],
        tasks: &[Task],
        outputs: &Outputs,
        faults: &mut Vec<Diagnostic>,
    ) -> Resolved {
        let mut resolved = Resolved {
            values: stage.inputs.list.iter().map(|(name, _)| (name.as_ref().map(|key| key.text.clone()), Vec::new())).collect(),
            ..Resolved::default()
        };
        for input in written {
            match input {
                WrittenInput::Path { entry, path, exclude, optional, at } => {
                    self.path(id, *entry, path, exclude, *optional, *at, tasks, outputs, &mut resolved, faults)
                }
                WrittenInput::Glob { entry, pattern, exclude, optional, at } => {
                    self.glob(id, *entry, pattern, exclude, *optional, *at, tasks, outputs, &mut resolved, faults);
                }
                WrittenInput::From { entry, output, optional, at, .. } => {
                    if let Some(chosen) = self.choose(input, tasks, faults) {
                        self.from(id, *entry, &chosen, output, *optional, *at, tasks, &mut resolved, faults);
                    }
                }
            }
        }
        resolved
    }

    /// An entry of `needs`: edges for order only.
    pub fn order(
        &mut self,
        id: TaskId,
        written: &WrittenInput,
        tasks: &[Task],
        edges: &mut Vec<(TaskId, Edge)>,
        faults: &mut Vec<Diagnostic>,
    ) {
        match self.choose(written, tasks, faults) {
            Some(Chosen::Whole(stage)) => self.whole(stage, Edge::Order, edges),
            Some(Chosen::Some(_, list)) => edges.extend(list.into_iter().filter(|other| *other != id).map(|other| (other, Edge::Order))),
            None => {}
        }
    }

    /// Whether a path was made by a stage or item that is gone.
    fn is_gone(&mut self, path: &RelPath, tasks: &[Task]) -> bool {
        let look = self.look;
        let gone = self.gone.get_or_insert_with(|| {
            let names: HashSet<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
            look.left_by_gone(&|name| names.contains(name))
        });
        gone.contains(path)
    }

    /// Edges to all tasks of a stage: through its gate if there are several.
    fn whole(&mut self, stage: StageId, edge: Edge, edges: &mut Vec<(TaskId, Edge)>) {
        let (from, to) = self.ranges[stage.index()];
        if to - from <= 1 {
            edges.extend((from..to).map(|task| (TaskId(task), edge)));
            return;
        }
        let gates = &mut self.gates;
        let next = TaskId((self.tasks + gates.len()) as u32);
        let gate = *self.gate_of.entry(stage).or_insert_with(|| {
            gates.push(stage);
            next
        });
        edges.push((gate, edge));
    }

    fn choose(&mut self, written: &WrittenInput, tasks: &[Task], faults: &mut Vec<Diagnostic>) -> Option<Chosen> {
        let WrittenInput::From { stage: name, filter, optional, at, .. } = written else { return None };
        let Some(&stage) = self.by_name.get(name) else {
            let label = nearest(name, &self.names).map(|near| format!("did you mean `{near}`?")).unwrap_or_default();
            faults.push(Diagnostic::error("unknown_stage", *at, format!("no stage `{name}`")).label(label));
            return None;
        };
        if filter.is_empty() {
            return Some(Chosen::Whole(stage));
        }
        for (axis, place, _) in filter {
            if !self.axes[stage.index()].contains(axis) {
                let label = nearest(axis, &self.axes[stage.index()]).map(|near| format!("did you mean `{near}`?")).unwrap_or_else(|| {
                    match self.axes[stage.index()].as_slice() {
                        [] => format!("`{name}` has no `foreach`"),
                        axes => format!("its axes: {}", axes.join(", ")),
                    }
                });
                faults.push(Diagnostic::error("unknown_axis", *place, format!("stage `{name}` has no axis `{axis}`")).label(label));
                return None;
            }
        }
        let wanted: Vec<String> = filter.iter().map(|(axis, _, _)| axis.clone()).collect();
        let (from, to) = self.ranges[stage.index()];
        let group = self.groups.entry((stage, wanted.clone())).or_insert_with(|| {
            let mut group = ByKeys::new();
            for task in (from..to).map(TaskId) {
                let axes = &tasks[task.index()].axes;
                let keys =
                    wanted.iter().filter_map(|axis| axes.iter().find(|(name, _)| name == axis).map(|(_, key)| key.clone())).collect();
                group.entry(keys).or_default().push(task);
            }
            group
        });
        // Every combination of the wanted keys is one look-up.
        let mut keys: Vec<Vec<String>> = vec![Vec::new()];
        for (_, _, values) in filter {
            keys = keys
                .into_iter()
                .flat_map(|key| values.iter().map(move |value| key.iter().cloned().chain([value.clone()]).collect()))
                .collect();
        }
        let mut chosen: Vec<TaskId> = keys.iter().filter_map(|key| group.get(key)).flatten().copied().collect();
        chosen.sort_unstable();
        chosen.dedup();
        if chosen.is_empty() && !optional {
            let shown: Vec<String> = filter.iter().map(|(axis, _, values)| format!("{axis}={}", values.join("|"))).collect();
            faults.push(
                Diagnostic::error("from_nothing", *at, format!("no task of `{name}` with {}", shown.join(", ")))
                    .label("`optional: true` allows that"),
            );
            return None;
        }
        Some(Chosen::Some(stage, chosen))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one entry and where its answers go")]
    fn from(
        &mut self,
        id: TaskId,
        entry: u32,
        chosen: &Chosen,
        output: &[String],
        optional: bool,
        at: Span,
        tasks: &[Task],
        resolved: &mut Resolved,
        faults: &mut Vec<Diagnostic>,
    ) {
        let stage = match chosen {
            Chosen::Whole(stage) | Chosen::Some(stage, _) => *stage,
        };
        let (from, to) = self.ranges[stage.index()];
        let all = (from..to).map(TaskId);
        // What a stage without outputs gives is which execution of it counts.
        let edge = if all.clone().any(|task| !tasks[task.index()].outputs.is_empty()) { Edge::File } else { Edge::Stamp };
        let list: Vec<TaskId> = match chosen {
            Chosen::Whole(_) => {
                self.whole(stage, edge, &mut resolved.edges);
                all.collect()
            }
            Chosen::Some(_, list) => {
                resolved.edges.extend(list.iter().map(|task| (*task, edge)));
                list.clone()
            }
        };
        if list.contains(&id) {
            faults.push(Diagnostic::error("cycle", at, format!("stage `{}` reads its own results", self.names[stage.index()])));
            return;
        }
        if list.is_empty() && !optional {
            faults.push(
                Diagnostic::error("from_nothing", at, format!("stage `{}` has no tasks", self.names[stage.index()]))
                    .label("`optional: true` allows that"),
            );
        }
        for name in output {
            let known = list.first().is_none_or(|task| tasks[task.index()].outputs.iter().any(|made| made.role == *name));
            if !known {
                let roles: Vec<String> = list
                    .first()
                    .map(|task| tasks[task.index()].outputs.iter().map(|made| made.role.clone()).filter(|role| !role.is_empty()).collect())
                    .unwrap_or_default();
                let label = nearest(name, &roles)
                    .map(|near| format!("did you mean `{near}`?"))
                    .unwrap_or_else(|| "its outputs are not named so".into());
                faults.push(
                    Diagnostic::error("unknown_output", at, format!("stage `{}` has no output `{name}`", self.names[stage.index()]))
                        .label(label),
                );
                return;
            }
        }
        for task in list {
            let made = &tasks[task.index()].outputs;
            if made.is_empty() {
                resolved.inputs.push(Input { entry, source: Source::Stamp(task), optional: false });
            }
            for made in made.iter().filter(|made| output.is_empty() || output.contains(&made.role)) {
                resolved.values[entry as usize].1.push(made.path.clone());
                resolved.inputs.push(Input {
                    entry,
                    source: Source::Path { path: made.path.clone(), folder: made.folder, from: Some(task) },
                    optional: optional || made.optional,
                });
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one entry and where its answers go")]
    fn path(
        &mut self,
        id: TaskId,
        entry: u32,
        text: &str,
        exclude: &[String],
        optional: bool,
        at: Span,
        tasks: &[Task],
        outputs: &Outputs,
        resolved: &mut Resolved,
        faults: &mut Vec<Diagnostic>,
    ) {
        let path = match RelPath::normal(text) {
            Ok(path) => path,
            Err(fault) => {
                faults.push(Diagnostic::error("bad_path", at, fault.to_string()));
                return;
            }
        };
        if path.as_str() == ".flow" || path.as_str().starts_with(".flow/") {
            faults.push(
                Diagnostic::error("input_in_flow", at, "`.flow` is flow's own folder")
                    .label("it changes with every run, so it can't be an input"),
            );
            return;
        }
        let mut folder = text.ends_with('/');
        let maker = outputs.maker(&path);
        if let Some(made) = &maker {
            if made.task == id {
                faults.push(
                    Diagnostic::error("own_output", at, format!("`{}` reads `{path}`, which it makes itself", tasks[id.index()].name))
                        .label("a stage that changes a file in place can't be told apart from one that is stale"),
                );
                return;
            }
            resolved.edges.push((made.task, Edge::File));
            folder |= made.exact && made.folder;
        }
        if maker.is_none() {
            // A folder that other tasks write into: whatever they make in it is read.
            let mut inside = false;
            for made in outputs.below(&path) {
                inside = true;
                if made != id {
                    resolved.edges.push((made, Edge::File));
                }
            }
            folder |= inside;
        }
        let from = maker.map(|made| made.task);
        resolved.values[entry as usize].1.push(path.clone());
        if folder && !exclude.is_empty() {
            faults.push(
                Diagnostic::error("exclude_folder", at, "`exclude` needs a glob")
                    .label(format!("write `{{glob: \"{path}/**\", exclude: …}}`")),
            );
        }
        resolved.inputs.push(Input { entry, source: Source::Path { path, folder, from }, optional });
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one entry and where its answers go")]
    fn glob(
        &mut self,
        id: TaskId,
        entry: u32,
        text: &str,
        exclude: &[String],
        optional: bool,
        at: Span,
        tasks: &[Task],
        outputs: &Outputs,
        resolved: &mut Resolved,
        faults: &mut Vec<Diagnostic>,
    ) {
        let parse = |text: &str, faults: &mut Vec<Diagnostic>| match Pattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(fault) => {
                faults.push(Diagnostic::error("bad_glob", at, fault.to_string()));
                None
            }
        };
        let Some(pattern) = parse(text, faults) else { return };
        let excluded: Vec<Pattern> = exclude.iter().filter_map(|text| parse(text, faults)).collect();
        let base = RelPath(pattern.literal_prefix().into());
        // A glob that looks into another task's folder output is answered when that task is up to date.
        let makers = outputs.folders_around(&base);
        if !makers.is_empty() {
            if makers.contains(&id) {
                faults.push(Diagnostic::error(
                    "own_output",
                    at,
                    format!("`{text}` looks into a folder that `{}` makes itself", tasks[id.index()].name),
                ));
                return;
            }
            resolved.edges.extend(makers.iter().map(|task| (*task, Edge::File)));
            resolved.late = true;
            resolved.inputs.push(Input {
                entry,
                source: Source::LateGlob { pattern: text.to_string(), exclude: exclude.to_vec(), from: makers },
                optional,
            });
            return;
        }
        let on_disk = match self.look.glob(&pattern) {
            Ok(paths) => paths,
            Err(message) => {
                faults.push(Diagnostic::error("bad_glob", at, message));
                return;
            }
        };
        self.globs.answered(id, text, || on_disk.iter().filter(|path| outputs.maker(path).is_none()));
        let mut found: std::collections::BTreeMap<RelPath, Option<TaskId>> = std::collections::BTreeMap::new();
        let mut own = None;
        let mut gone = 0;
        for path in on_disk {
            match outputs.maker(&path) {
                Some(made) if made.exact && made.task == id => own = Some(path),
                Some(made) if made.exact && !made.folder => {
                    found.insert(path, Some(made.task));
                }
                // Inside another task's folder, though the glob does not begin there.
                Some(_) => {}
                None if self.is_gone(&path, tasks) => gone += 1,
                None => {
                    found.insert(path, None);
                }
            }
        }
        for (path, task, folder) in outputs.below_with_paths(&base) {
            if folder != pattern.folders_only() || !pattern.finds(path.as_str()) {
                continue;
            }
            if task == id {
                own = Some(path.clone());
            } else {
                found.insert(path.clone(), Some(task));
            }
        }
        found.retain(|path, _| !excluded.iter().any(|pattern| pattern.finds(path.as_str())));
        if let Some(own) = own {
            faults.push(
                Diagnostic::warning(
                    "own_output_in_glob",
                    at,
                    format!("`{text}` matches `{own}`, which `{}` makes itself", tasks[id.index()].name),
                )
                .label("left out of its inputs; an `exclude` says so in the file"),
            );
        }
        if gone > 0 {
            faults.push(
                Diagnostic::warning("gone_in_glob", at, format!("`{text}` matches {gone} outputs of stages or items that are gone"))
                    .label("left out"),
            );
        }
        if found.is_empty() && !optional {
            faults.push(
                Diagnostic::error("glob_nothing", at, format!("`{text}` matches nothing")).label("`{glob: …, optional: true}` allows that"),
            );
            return;
        }
        for (path, from) in found {
            if let Some(task) = from {
                resolved.edges.push((task, Edge::File));
            }
            resolved.values[entry as usize].1.push(path.clone());
            resolved.inputs.push(Input { entry, source: Source::Path { path, folder: pattern.folders_only(), from }, optional: false });
        }
    }
}

/// What templates see of `inputs` or `outputs`: paths as seen from the command's folder. Written as
/// one path it is that path; else a list, whose entries may have names.
pub fn value_of(entries: Vec<Named>, single: bool, dir: &RelPath) -> Val {
    let item = |path: &RelPath| Val::path(&path.seen_from(dir));
    if single
        && let [(None, paths)] = entries.as_slice()
        && let [path] = paths.as_slice()
    {
        return item(path);
    }
    let mut list = Vec::new();
    for (name, paths) in entries {
        match (&name, paths.as_slice()) {
            (None, paths) => list.extend(paths.iter().map(|path| (None, item(path)))),
            (Some(_), [path]) => list.push((name, item(path))),
            (Some(_), paths) => list.push((name, Val::List(paths.iter().map(item).collect()))),
        }
    }
    Val::Entries(list)
}
