//! A pipeline file becomes a graph.
//!
//! Owns the one compile step, in three passes: every task with its outputs; then what each reads, now
//! that all outputs are known; then the edges. Pure: asks the disk through [`Look`]. Must hold: every
//! fault is found and placed; a graph is run only if no diagnostic beside it is an error.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use crate::attempt::Wants;
use crate::diag::{Diagnostic, Lines, Place, Sources, Span};
use crate::graph::fanout::{Combination, MOST_TASKS, at_words, combinations, printed};
use crate::graph::inputs::{Resolver, WrittenInput, value_of};
use crate::graph::link::{self, Outputs};
use crate::graph::{Command, Edge, Edges, Graph, Input, Late, Look, Output, Places, Source, Stage, Task, Tool};
use crate::hash::Kind;
use crate::name::{RelPath, StageId, TaskId, TaskName};
use crate::near::nearest;
use crate::pattern::{self, Pattern};
use crate::pipeline::config;
use crate::pipeline::scope::{Scope, Val, Volatile};
use crate::pipeline::shell::{self, ShellKind};
use crate::pipeline::spec::{self, Pipeline, Variable, Words};
use crate::pipeline::template::{Fault, Reads, Template};
use crate::value::{Data, Value};

/// The shell a `cmd` is handed to unless the stage says otherwise: a failing producer in a pipe is a
/// failure.
pub const DEFAULT_SHELL: [&str; 4] = ["bash", "-euo", "pipefail", "-c"];

/// Time between SIGTERM and SIGKILL unless the stage says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// What the compile step is handed besides the file.
pub struct Given<'a> {
    /// Texts of the files, for places.
    pub sources: &'a Sources,
    /// The pipeline file's number in `sources`.
    pub file: u32,
    /// The settings, after everything that may change them.
    pub config: Value,
    /// The name, where the file has none.
    pub stem: &'a str,
    /// The workspace, for `${{ root }}`: an absolute path.
    pub root: &'a str,
    /// The folder of the pipeline file as seen from the workspace, for `${{ here }}`.
    pub here: RelPath,
    /// The pipeline file as seen from the workspace.
    pub own: RelPath,
    /// The caller's environment, for `${{ env.X }}`.
    pub environment: &'a [(String, String)],
}

/// Compiles a pipeline. The graph is usable only if no diagnostic is an error.
pub fn compile(pipeline: &Pipeline, given: &Given<'_>, look: &dyn Look) -> (Graph, Vec<Diagnostic>) {
    let text = given.sources.get(given.file).map(|source| source.text.clone()).unwrap_or_default();
    let mut compiler = Compiler {
        pipeline,
        given,
        look,
        lines: Lines::new(&text),
        source: &text,
        faults: Vec::new(),
        stages: Vec::with_capacity(pipeline.stages.len()),
        tasks: Vec::with_capacity(pipeline.stages.len()),
        drafts: Vec::with_capacity(pipeline.stages.len()),
        base: base_scope(given),
        variables: BTreeSet::new(),
    };
    for (index, stage) in pipeline.stages.iter().enumerate() {
        compiler.declare(StageId(index as u32), stage);
    }
    compiler.finish()
}

/// What every template may name.
fn base_scope(given: &Given<'_>) -> Scope {
    let mut scope = Scope::default();
    scope.set("config", Val::from_value(&given.config));
    scope.set("root", Val::Text(given.root.to_string()));
    scope.set("here", Val::path(given.here.as_str()));
    scope.set("os", Val::Text(std::env::consts::OS.to_string()));
    scope.set("arch", Val::Text(std::env::consts::ARCH.to_string()));
    scope.set("profile", Val::Text(String::new()));
    scope.set("env", Val::Map(given.environment.iter().map(|(name, value)| (name.clone(), Val::Text(value.clone()))).collect()));
    scope
}

/// What is known of a task after the first pass and needed by the next.
struct Draft {
    /// The scope of its axes.
    scope: Scope,
    /// What its templates read so far.
    reads: Reads,
    /// Its inputs, templates filled in.
    inputs: Vec<WrittenInput>,
}

/// A text with its template.
struct Prepared<'a> {
    words: &'a Words,
    template: Template,
}

struct Compiler<'a> {
    pipeline: &'a Pipeline,
    given: &'a Given<'a>,
    look: &'a dyn Look,
    lines: Lines,
    source: &'a str,
    faults: Vec<Diagnostic>,
    stages: Vec<Stage>,
    tasks: Vec<Task>,
    drafts: Vec<Draft>,
    base: Scope,
    /// Variables of the caller that axes read.
    variables: BTreeSet<String>,
}

impl<'a> Compiler<'a> {
    fn place(&self, at: Span) -> Place {
        self.lines.place(self.source, at)
    }

    fn blame(&mut self, words: &Words, faults: Vec<Fault>) {
        self.faults.extend(faults.iter().map(|fault| at_words(fault, words, self.source)));
    }

    fn prepare(&mut self, words: &'a Words) -> Option<Prepared<'a>> {
        match Template::parse(&words.text) {
            Ok(template) => Some(Prepared { words, template }),
            Err(faults) => {
                self.blame(words, faults);
                None
            }
        }
    }

    fn prepare_all(&mut self, list: impl IntoIterator<Item = &'a Words>) -> Vec<Prepared<'a>> {
        list.into_iter().filter_map(|words| self.prepare(words)).collect()
    }

    /// A text with its template filled in.
    fn text(&mut self, prepared: &Prepared<'_>, scope: &Scope, reads: &mut Reads) -> Option<String> {
        if prepared.template.is_plain() {
            return Some(prepared.words.text.clone());
        }
        match prepared.template.text(scope, Volatile::ByName) {
            Ok((text, read)) => {
                reads.add(read);
                Some(text)
            }
            Err(faults) => {
                self.blame(prepared.words, faults);
                None
            }
        }
    }

    /// An entry of a list: a hole alone may yield several texts (a list splices) or none (null drops).
    fn texts(&mut self, prepared: &Prepared<'_>, scope: &Scope, reads: &mut Reads) -> Option<Vec<String>> {
        if prepared.template.is_plain() || !prepared.template.single() {
            return self.text(prepared, scope, reads).map(|text| vec![text]);
        }
        match prepared.template.value(scope, Volatile::ByName) {
            Ok((value, read)) => {
                reads.add(read);
                let list = match value {
                    Val::Null => Vec::new(),
                    Val::List(list) => list,
                    Val::Entries(list) => list.into_iter().map(|(_, item)| item).collect(),
                    other => vec![other],
                };
                let texts: Option<Vec<String>> = list.iter().map(printed).collect();
                if texts.is_none() {
                    self.faults.push(
                        Diagnostic::error("not_text", prepared.words.at, "this yields a list in a list, or a map")
                            .label("each entry must be one text"),
                    );
                }
                texts
            }
            Err(faults) => {
                self.blame(prepared.words, faults);
                None
            }
        }
    }

    /// First pass: a stage's tasks with their outputs, their inputs as written.
    fn declare(&mut self, id: StageId, stage: &'a spec::Stage) {
        let first = self.tasks.len() as u32;
        let shared = self.shared(stage);
        self.stages.push(shared);
        let mut scope = self.base.clone();
        scope.set("stage", Val::Map(vec![("name".into(), Val::Text(stage.name.text.clone()))]));
        let combinations = if stage.foreach.is_empty() {
            vec![Combination::default()]
        } else {
            combinations(stage, &scope, self.source, &mut self.variables, &mut self.faults)
        };
        if self.tasks.len() + combinations.len() > MOST_TASKS {
            self.faults.push(Diagnostic::error(
                "too_many_tasks",
                stage.name.at,
                format!("with stage `{}` the pipeline has more than {MOST_TASKS} tasks", stage.name.text),
            ));
            return;
        }
        let outputs: Vec<Option<Prepared<'a>>> = stage.outputs.list.iter().map(|(_, output)| self.prepare(&output.path)).collect();
        let dir = stage.dir.as_ref().and_then(|words| self.prepare(words));
        let inputs = self.prepare_inputs(stage);
        let before = self.faults.len();
        for combination in combinations {
            let mut scope = scope.clone();
            for (name, item) in &combination.items {
                scope.set(name, item.clone());
            }
            let mut reads = Reads::default();
            let dir = match &dir {
                None => RelPath::workspace(),
                Some(prepared) => match self.text(prepared, &scope, &mut reads) {
                    Some(text) => self.path(&text, prepared.words.at).unwrap_or_else(RelPath::workspace),
                    None => RelPath::workspace(),
                },
            };
            let mut made = Vec::with_capacity(outputs.len());
            for (entry, ((name, output), prepared)) in stage.outputs.list.iter().zip(&outputs).enumerate() {
                let Some(prepared) = prepared else { continue };
                for text in self.texts(prepared, &scope, &mut reads).unwrap_or_default() {
                    if let Some((path, folder)) = self.output(&text, prepared.words.at) {
                        made.push(Output {
                            role: name.as_ref().map(|key| key.text.clone()).unwrap_or_default(),
                            path,
                            folder,
                            optional: output.optional,
                            entry: entry as u32,
                        });
                    }
                }
            }
            let written = self.written(stage, &inputs, &combination, &scope, &mut reads);
            self.tasks.push(Task {
                name: TaskName::new(&stage.name.text, &combination.axes),
                stage: id,
                axes: combination.axes,
                command: Command::Argv(Vec::new()),
                dir,
                env: Vec::new(),
                read_env: Vec::new(),
                roles: stage.inputs.list.iter().map(|(name, _)| name.as_ref().map(|key| key.text.clone()).unwrap_or_default()).collect(),
                inputs: Vec::new(),
                outputs: made,
                tools: Vec::new(),
                settings: Vec::new(),
                late: None,
            });
            self.drafts.push(Draft { scope, reads, inputs: written });
            // One item's faults are every item's: said once.
            if self.faults[before..].iter().any(Diagnostic::is_error) {
                break;
            }
        }
        self.stages[id.index()].tasks = (first, self.tasks.len() as u32);
    }

    /// What all tasks of a stage share.
    fn shared(&mut self, stage: &'a spec::Stage) -> Stage {
        let shell = match (&stage.command, &stage.shell) {
            (spec::Command::Argv(_), _) => Vec::new(),
            (_, Some((words, _))) => words.clone(),
            (_, None) => DEFAULT_SHELL.map(str::to_string).to_vec(),
        };
        let wants = self.wants(stage);
        for words in &stage.params {
            if self.given.config.at_path(&words.text).is_none() {
                let label = nearest(&words.text, &config::names(&self.given.config))
                    .map(|name| format!("did you mean `{name}`?"))
                    .unwrap_or_default();
                self.faults
                    .push(Diagnostic::error("unknown_setting", words.at, format!("no setting `{}` in `config`", words.text)).label(label));
            }
        }
        let env = merged_env(&self.pipeline.env, &stage.env);
        Stage {
            name: stage.name.text.clone(),
            description: stage.description.as_ref().map(|words| words.text.clone()),
            tags: stage.tags.iter().map(|words| words.text.clone()).collect(),
            runs: stage.runs,
            wants,
            timeout: stage.timeout,
            grace: stage.grace.unwrap_or(DEFAULT_GRACE),
            retries: stage.retries,
            cache: stage.cache,
            shell,
            default_shell: stage.shell.is_none(),
            axes: stage.foreach.iter().map(|axis| axis.name.text.clone()).collect(),
            tasks: (0, 0),
            params: stage.params.iter().map(|words| words.text.clone()).collect(),
            places: Places {
                name: self.place(stage.name.at),
                command: self.place(stage.command_at),
                inputs: self.place(stage.inputs.at),
                outputs: self.place(stage.outputs.at),
                env: env.iter().map(|variable| (variable.name.text.clone(), self.place(variable.name.at))).collect(),
            },
        }
    }

    fn wants(&mut self, stage: &spec::Stage) -> Wants {
        let mut wants = Wants { slots: 1, memory: 0, pools: Vec::new() };
        for (name, amount) in &stage.resources {
            match name.text.as_str() {
                "cpus" => wants.slots = u32::try_from(amount.amount).unwrap_or(u32::MAX).max(1),
                "memory" => wants.memory = amount.amount,
                pool => match self.pipeline.pools.iter().position(|(key, _)| key.text == pool) {
                    Some(index) => {
                        let has = self.pipeline.pools[index].1;
                        if amount.amount > u64::from(has) {
                            self.faults.push(
                                Diagnostic::error(
                                    "pool_too_small",
                                    amount.at,
                                    format!("stage `{}` wants {} of pool `{pool}`, which has {has}", stage.name.text, amount.amount),
                                )
                                .also(self.pipeline.pools[index].0.at, "the pool"),
                            );
                        }
                        wants.pools.push((index as u16, amount.amount as u32));
                    }
                    None => {
                        let mut names: Vec<String> = vec!["cpus".into(), "memory".into()];
                        names.extend(self.pipeline.pools.iter().map(|(key, _)| key.text.clone()));
                        let label = match nearest(pool, &names) {
                            Some(name) => format!("did you mean `{name}`?"),
                            None => "declare it under `pools`, as `pools: {gpu: 1}`".into(),
                        };
                        self.faults.push(Diagnostic::error("unknown_pool", name.at, format!("no pool `{pool}`")).label(label));
                    }
                },
            }
        }
        wants
    }

    /// A path of the pipeline, normalised.
    fn path(&mut self, text: &str, at: Span) -> Option<RelPath> {
        match RelPath::normal(text) {
            Ok(path) => Some(path),
            Err(fault) => {
                self.faults.push(Diagnostic::error("bad_path", at, fault.to_string()));
                None
            }
        }
    }

    /// An output's path, and whether it is a folder.
    fn output(&mut self, text: &str, at: Span) -> Option<(RelPath, bool)> {
        let path = self.path(text, at)?;
        let folder = text.ends_with('/');
        let fault = if path.is_outside() {
            Diagnostic::error("output_outside", at, format!("output `{path}` lies outside the workspace"))
                .label("flow moves, caches and restores outputs, so they must lie in the workspace")
        } else if path.as_str() == "." {
            Diagnostic::error("output_workspace", at, "the workspace itself can't be an output").label("name a folder in it")
        } else if path.as_str() == ".flow" || path.as_str().starts_with(".flow/") {
            Diagnostic::error("output_in_flow", at, "`.flow` is flow's own folder").label("put the output elsewhere")
        } else if path == self.given.own || self.given.own.below(&path).is_some() {
            Diagnostic::error("output_pipeline", at, format!("the pipeline file lies at or below the output `{path}`"))
                .label("flow would move it out of the way: put the output elsewhere")
        } else if pattern::is_pattern(text) && !self.literal_brackets(text) {
            Diagnostic::error("output_glob", at, format!("output `{text}` is a glob"))
                .label("name each file, or a folder with `/` at the end")
        } else {
            return Some((path, folder));
        };
        self.faults.push(fault);
        None
    }

    /// Whether the only odd characters are brackets, as in a file's name.
    fn literal_brackets(&self, text: &str) -> bool {
        !text.contains(['*', '?'])
    }

    fn prepare_inputs(&mut self, stage: &'a spec::Stage) -> Vec<PreparedInput<'a>> {
        stage
            .inputs
            .list
            .iter()
            .map(|(_, input)| match input {
                spec::Input::Text(words) => PreparedInput { main: self.prepare(words), rest: Vec::new(), input },
                spec::Input::Path { path, exclude, .. } => {
                    PreparedInput { main: self.prepare(path), rest: self.prepare_all(exclude), input }
                }
                spec::Input::Glob { glob, exclude, .. } => {
                    PreparedInput { main: self.prepare(glob), rest: self.prepare_all(exclude), input }
                }
                spec::Input::From(_) => PreparedInput { main: None, rest: Vec::new(), input },
            })
            .collect()
    }

    /// A task's inputs, templates filled in.
    fn written(
        &mut self,
        stage: &'a spec::Stage,
        inputs: &[PreparedInput<'a>],
        combination: &Combination,
        scope: &Scope,
        reads: &mut Reads,
    ) -> Vec<WrittenInput> {
        let mut written = Vec::with_capacity(inputs.len());
        for (entry, prepared) in inputs.iter().enumerate() {
            let entry = entry as u32;
            match prepared.input {
                spec::Input::Text(words) => {
                    let Some(main) = &prepared.main else { continue };
                    let glob = pattern::is_pattern(&outside_holes(&main.words.text));
                    for text in self.texts(main, scope, reads).unwrap_or_default() {
                        written.push(match glob {
                            true => WrittenInput::Glob { entry, pattern: text, exclude: Vec::new(), optional: false, at: words.at },
                            false => WrittenInput::Path { entry, path: text, exclude: Vec::new(), optional: false, at: words.at },
                        });
                    }
                }
                spec::Input::Path { path, optional, .. } => {
                    let Some(main) = &prepared.main else { continue };
                    let exclude = prepared.rest.iter().filter_map(|rest| self.text(rest, scope, reads)).collect::<Vec<_>>();
                    for text in self.texts(main, scope, reads).unwrap_or_default() {
                        written.push(WrittenInput::Path { entry, path: text, exclude: exclude.clone(), optional: *optional, at: path.at });
                    }
                }
                spec::Input::Glob { glob, optional, .. } => {
                    let Some(main) = &prepared.main else { continue };
                    let exclude = prepared.rest.iter().filter_map(|rest| self.text(rest, scope, reads)).collect::<Vec<_>>();
                    for text in self.texts(main, scope, reads).unwrap_or_default() {
                        written.push(WrittenInput::Glob {
                            entry,
                            pattern: text,
                            exclude: exclude.clone(),
                            optional: *optional,
                            at: glob.at,
                        });
                    }
                }
                spec::Input::From(from) => written.extend(self.from(from, entry, stage, combination, scope, reads)),
            }
        }
        written
    }

    /// `{from: stage, …}` with its filter's values filled in.
    fn from(
        &mut self,
        from: &'a spec::From,
        entry: u32,
        stage: &spec::Stage,
        combination: &Combination,
        scope: &Scope,
        reads: &mut Reads,
    ) -> Option<WrittenInput> {
        let prepared = self.prepare(&from.stage)?;
        let name = self.text(&prepared, scope, reads)?;
        let mut output = Vec::new();
        for words in &from.output {
            let prepared = self.prepare(words)?;
            output.extend(self.texts(&prepared, scope, reads)?);
        }
        let mut filter = Vec::with_capacity(from.filter.len());
        for rule in &from.filter {
            let values = match &rule.values {
                Some(list) => {
                    let mut values = Vec::with_capacity(list.len());
                    for words in list {
                        let prepared = self.prepare(words)?;
                        values.extend(self.texts(&prepared, scope, reads)?);
                    }
                    values
                }
                None => match combination.axes.iter().find(|(axis, _)| *axis == rule.axis.text) {
                    Some((_, key)) => vec![key.clone()],
                    None => {
                        self.faults.push(
                            Diagnostic::error(
                                "unknown_axis",
                                rule.axis.at,
                                format!("stage `{}` has no axis `{}`", stage.name.text, rule.axis.text),
                            )
                            .label(format!("to choose by value write `where: {{{}: value}}`", rule.axis.text)),
                        );
                        return None;
                    }
                },
            };
            filter.push((rule.axis.text.clone(), rule.axis.at, values));
        }
        Some(WrittenInput::From { entry, stage: name, output, filter, optional: from.optional, at: from.at })
    }

    /// Second and third pass.
    fn finish(mut self) -> (Graph, Vec<Diagnostic>) {
        let outputs = Outputs::new(&self.tasks);
        let pipeline = self.pipeline;
        let conflicts = outputs.conflicts(&self.tasks, |task, output| {
            output_span(&pipeline.stages[self.tasks[task.index()].stage.index()], output.entry as usize)
        });
        self.faults.extend(conflicts);
        let mut resolver = Resolver::new(&self.stages, self.tasks.len(), self.look);
        let mut above: Vec<Vec<(TaskId, Edge)>> = Vec::with_capacity(self.tasks.len());
        let drafts = std::mem::take(&mut self.drafts);
        let mut finished = Vec::with_capacity(drafts.len());
        let mut commands = CommandTemplates::default();
        let mut failed_stage = None;
        for (index, draft) in drafts.into_iter().enumerate() {
            let id = TaskId(index as u32);
            let stage_id = self.tasks[index].stage;
            let stage: &'a spec::Stage = &self.pipeline.stages[stage_id.index()];
            if failed_stage == Some(stage_id) {
                above.push(Vec::new());
                finished.push(None);
                continue;
            }
            let before = self.faults.len();
            let mut resolved = resolver.resolve(id, stage, &draft.inputs, &self.tasks, &outputs, &mut self.faults);
            for need in &stage.needs {
                let axes = Combination { axes: self.tasks[index].axes.clone(), ..Combination::default() };
                let mut reads = Reads::default();
                if let Some(written) = self.from(need, 0, stage, &axes, &draft.scope, &mut reads) {
                    resolver.order(id, &written, &self.tasks, &mut resolved.edges, &mut self.faults);
                }
            }
            let done = self.second(id, stage, draft, &mut resolved, &outputs, &mut commands);
            for (pattern, found) in &resolved.tool_globs {
                resolver.globs.answered(id, pattern, || found.iter().filter(|path| outputs.maker(path).is_none()));
            }
            above.push(resolved.edges);
            finished.push(Some(done));
            if self.faults[before..].iter().any(Diagnostic::is_error) {
                failed_stage = Some(stage_id);
            }
        }
        let (gates, globs) = resolver.end();
        let (globs, globs_of) = globs.end();
        for (task, done) in self.tasks.iter_mut().zip(finished) {
            let Some(done) = done else { continue };
            task.command = done.command;
            task.env = done.env;
            task.read_env = done.read_env;
            task.inputs = done.inputs;
            task.tools = done.tools;
            task.settings = done.settings;
            task.late = done.late;
        }
        for list in &mut above {
            link::tidy(list);
        }
        for gate in &gates {
            let (from, to) = self.stages[gate.index()].tasks;
            above.push((from..to).map(|task| (TaskId(task), Edge::File)).collect());
        }
        let order = match link::order(&above) {
            Ok(order) => order,
            Err(cycle) => {
                self.faults.push(link::cycle_fault(&cycle, &self.tasks, &gates, |stage: StageId| pipeline.stages[stage.index()].inputs.at));
                Vec::new()
            }
        };
        let config_places = config::places(&self.given.config).into_iter().map(|(name, at)| (name, self.place(at))).collect();
        let graph = Graph {
            name: self.pipeline.name.as_ref().map_or_else(|| self.given.stem.to_string(), |words| words.text.clone()),
            description: self.pipeline.description.as_ref().map(|words| words.text.clone()),
            pools: self.pipeline.pools.iter().map(|(key, size)| (key.text.clone(), *size)).collect(),
            keep_going: self.pipeline.keep_going,
            files: self.given.sources.files().iter().map(|source| source.path.clone()).collect(),
            stages: self.stages,
            tasks: self.tasks,
            gates,
            above: Edges::new(&above),
            order,
            config: self.given.config.clone(),
            config_places,
            variables: self.variables.into_iter().collect(),
            globs,
            globs_of,
        };
        (graph, self.faults)
    }

    /// Second pass for one task: its command, variables, tools and settings.
    fn second(
        &mut self,
        id: TaskId,
        stage: &'a spec::Stage,
        draft: Draft,
        resolved: &mut crate::graph::inputs::Resolved,
        outputs: &Outputs,
        commands: &mut CommandTemplates<'a>,
    ) -> Finished {
        let Draft { mut scope, mut reads, .. } = draft;
        let task = &self.tasks[id.index()];
        let dir = task.dir.clone();
        let name = task.name.clone();
        let output_value = value_of(
            task.outputs
                .iter()
                .map(|output| (Some(output.role.clone()).filter(|role| !role.is_empty()), vec![output.path.clone()]))
                .collect(),
            stage.outputs.single,
            &dir,
        );
        scope.set("outputs", output_value);
        if !resolved.late {
            scope.set("inputs", value_of(std::mem::take(&mut resolved.values), stage.inputs.single, &dir));
        }
        commands.of(self, stage);
        let mut volatile = false;
        let mut needs_inputs = false;
        let shell = &self.stages[self.tasks[id.index()].stage.index()].shell;
        let kind = if shell.is_empty() { ShellKind::Posix } else { shell::kind(shell) };
        let mut note = |template: &Template| {
            volatile |= template.uses_volatile();
            needs_inputs |= resolved.late && template.uses("inputs");
        };
        let mut env = Vec::with_capacity(commands.env.len());
        let mut env_texts = Vec::new();
        for (variable, prepared) in &commands.env {
            let value = match prepared {
                None => None,
                Some(prepared) => {
                    note(&prepared.template);
                    env_texts.push(prepared);
                    Some(prepared)
                }
            };
            env.push((variable.name.text.clone(), value));
        }
        for prepared in &commands.command {
            note(&prepared.template);
        }
        let mut faults: Vec<Diagnostic> = Vec::new();
        let command = if needs_inputs {
            // Known when the tasks above are done; until then the text stands as it was written.
            as_written(&stage.command)
        } else {
            render_command(commands, &scope, kind, &mut reads, &mut faults, self.source).unwrap_or_else(|| as_written(&stage.command))
        };
        let mut variables: Vec<(String, Option<String>)> = Vec::with_capacity(env.len());
        for (name, prepared) in env {
            let value = match prepared {
                None => None,
                Some(prepared) if needs_inputs && prepared.template.uses("inputs") => Some(prepared.words.text.clone()),
                Some(prepared) if prepared.template.is_plain() => Some(prepared.words.text.clone()),
                Some(prepared) => match prepared.template.text(&scope, Volatile::ByName) {
                    Ok((text, read)) => {
                        reads.add(read);
                        Some(text)
                    }
                    Err(list) => {
                        faults.extend(list.iter().map(|fault| at_words(fault, prepared.words, self.source)));
                        None
                    }
                },
            };
            variables.push((name, value));
        }
        let late = (volatile || needs_inputs).then(|| {
            Box::new(Late {
                command: as_written(&stage.command),
                env: commands
                    .env
                    .iter()
                    .map(|(variable, prepared)| (variable.name.text.clone(), prepared.as_ref().map(|prepared| prepared.words.text.clone())))
                    .collect(),
                scope: scope.clone(),
                inputs: needs_inputs,
            })
        });
        self.faults.append(&mut faults);
        let tools = self.tools(id, stage, &scope, &command, &dir, outputs, resolved, kind, &mut reads);
        let mut settings: BTreeSet<String> = reads.config.clone();
        settings.extend(stage.params.iter().map(|words| words.text.clone()));
        let mut used = Vec::new();
        for path in settings {
            if let Some(value) = self.given.config.at_path(&path) {
                leaves(&path, value, &mut used);
            }
        }
        used.sort();
        used.dedup();
        let _ = name;
        Finished {
            command,
            env: variables,
            read_env: reads.env.iter().cloned().collect(),
            inputs: std::mem::take(&mut resolved.inputs),
            tools,
            settings: used,
            late,
        }
    }

    /// Declared tools, then scripts found in the command's text.
    #[expect(clippy::too_many_arguments, reason = "one caller; a struct for these would only rename them")]
    fn tools(
        &mut self,
        id: TaskId,
        stage: &'a spec::Stage,
        scope: &Scope,
        command: &Command,
        dir: &RelPath,
        outputs: &Outputs,
        resolved: &mut crate::graph::inputs::Resolved,
        kind: ShellKind,
        reads: &mut Reads,
    ) -> Vec<Tool> {
        let mut tools = Vec::new();
        let mut seen: HashSet<RelPath> = resolved
            .inputs
            .iter()
            .filter_map(|input: &Input| match &input.source {
                Source::Path { path, .. } => Some(path.clone()),
                _ => None,
            })
            .collect();
        for tool in &stage.tools {
            match tool {
                spec::Tool::Asked { name, command } => {
                    if let Some(prepared) = self.prepare(command)
                        && let Some(text) = self.text(&prepared, scope, reads)
                    {
                        tools.push(Tool::Asked { name: name.text.clone(), command: text });
                    }
                }
                spec::Tool::Named(words) => {
                    let Some(prepared) = self.prepare(words) else { continue };
                    for text in self.texts(&prepared, scope, reads).unwrap_or_default() {
                        self.named_tool(&text, words.at, outputs, &mut seen, resolved, &mut tools);
                    }
                }
            }
        }
        let found = match command {
            Command::Shell(text) if kind == ShellKind::Posix => shell::scripts(text),
            Command::Shell(_) => Vec::new(),
            Command::Argv(words) => shell::scripts(&words.iter().map(|word| shell::word(word)).collect::<Vec<_>>().join(" ")),
        };
        for word in found {
            let Ok(path) = dir.join(&word) else { continue };
            if path.is_outside() || seen.contains(&path) || self.tasks[id.index()].outputs.iter().any(|output| output.path == path) {
                continue;
            }
            let from = outputs.maker(&path).map(|made| made.task);
            if from.is_none() && self.look.kind(&path) != Some(Kind::File) {
                continue;
            }
            if let Some(from) = from {
                resolved.edges.push((from, Edge::File));
            }
            seen.insert(path.clone());
            tools.push(Tool::File { path, automatic: true, from });
        }
        tools
    }

    fn named_tool(
        &mut self,
        text: &str,
        at: Span,
        outputs: &Outputs,
        seen: &mut HashSet<RelPath>,
        resolved: &mut crate::graph::inputs::Resolved,
        tools: &mut Vec<Tool>,
    ) {
        if pattern::is_pattern(text) {
            let pattern = match Pattern::parse(text) {
                Ok(pattern) => pattern,
                Err(fault) => {
                    self.faults.push(Diagnostic::error("bad_glob", at, fault.to_string()));
                    return;
                }
            };
            match self.look.glob(&pattern) {
                Ok(paths) if paths.is_empty() => {
                    self.faults.push(Diagnostic::error("tool_missing", at, format!("tool `{text}` matches no file")))
                }
                Ok(paths) => {
                    resolved.tool_globs.push((text.to_string(), paths.clone()));
                    for path in paths {
                        if seen.insert(path.clone()) {
                            tools.push(Tool::File { path, automatic: false, from: None });
                        }
                    }
                }
                Err(message) => self.faults.push(Diagnostic::error("bad_glob", at, message)),
            }
            return;
        }
        if !text.contains('/') && self.look.program(text).is_some() {
            tools.push(Tool::Program { name: text.to_string() });
            return;
        }
        let Some(path) = self.path(text, at) else { return };
        let from = outputs.maker(&path).map(|made| made.task);
        if let Some(from) = from {
            resolved.edges.push((from, Edge::File));
        } else if self.look.kind(&path).is_none() {
            let what = if text.contains('/') {
                format!("tool `{text}` is not there")
            } else {
                format!("no program `{text}` in PATH, and no such file in the workspace")
            };
            self.faults.push(Diagnostic::error("tool_missing", at, what));
            return;
        }
        if seen.insert(path.clone()) {
            tools.push(Tool::File { path, automatic: false, from });
        }
    }
}

/// What the second pass found of a task.
struct Finished {
    command: Command,
    env: Vec<(String, Option<String>)>,
    read_env: Vec<String>,
    inputs: Vec<Input>,
    tools: Vec<Tool>,
    settings: Vec<(String, String)>,
    late: Option<Box<Late>>,
}

struct PreparedInput<'a> {
    main: Option<Prepared<'a>>,
    rest: Vec<Prepared<'a>>,
    input: &'a spec::Input,
}

/// Templates of the stage that was compiled last: all its tasks share them.
#[derive(Default)]
struct CommandTemplates<'a> {
    stage: Option<*const spec::Stage>,
    argv: bool,
    command: Vec<Prepared<'a>>,
    env: Vec<(&'a Variable, Option<Prepared<'a>>)>,
}

impl<'a> CommandTemplates<'a> {
    fn of(&mut self, compiler: &mut Compiler<'a>, stage: &'a spec::Stage) {
        let identity: *const spec::Stage = stage;
        if self.stage == Some(identity) {
            return;
        }
        self.stage = Some(identity);
        self.argv = matches!(stage.command, spec::Command::Argv(_));
        self.command = match &stage.command {
            spec::Command::Shell(words) => compiler.prepare(words).into_iter().collect(),
            spec::Command::Argv(list) => compiler.prepare_all(list),
        };
        self.env = merged_env(&compiler.pipeline.env, &stage.env)
            .into_iter()
            .map(|variable| (variable, variable.value.as_ref().and_then(|words| compiler.prepare(words))))
            .collect();
    }
}

/// A stage's variables over the pipeline's, by name.
fn merged_env<'a>(pipeline: &'a [Variable], stage: &'a [Variable]) -> Vec<&'a Variable> {
    let mut merged: Vec<&Variable> =
        pipeline.iter().filter(|variable| !stage.iter().any(|other| other.name.text == variable.name.text)).collect();
    merged.extend(stage);
    merged
}

fn as_written(command: &spec::Command) -> Command {
    match command {
        spec::Command::Shell(words) => Command::Shell(words.text.clone()),
        spec::Command::Argv(list) => Command::Argv(list.iter().map(|words| words.text.clone()).collect()),
    }
}

fn render_command(
    commands: &CommandTemplates<'_>,
    scope: &Scope,
    kind: ShellKind,
    reads: &mut Reads,
    faults: &mut Vec<Diagnostic>,
    source: &str,
) -> Option<Command> {
    let mut words = Vec::new();
    for prepared in &commands.command {
        if prepared.template.is_plain() && (commands.argv || kind != ShellKind::Posix) {
            words.push(prepared.words.text.clone());
            continue;
        }
        let result = if commands.argv {
            argv_words(&prepared.template, scope)
        } else {
            prepared.template.command(scope, Volatile::ByName, kind).map(|(text, reads)| (vec![text], reads))
        };
        match result {
            Ok((list, read)) => {
                reads.add(read);
                words.extend(list);
            }
            Err(list) => {
                faults.extend(list.iter().map(|fault| at_words(fault, prepared.words, source)));
                return None;
            }
        }
    }
    Some(if commands.argv { Command::Argv(words) } else { Command::Shell(words.pop().unwrap_or_default()) })
}

/// A word of `argv`: a hole alone may yield several words.
pub fn argv_words(template: &Template, scope: &Scope) -> Result<(Vec<String>, Reads), Vec<Fault>> {
    argv_words_with(template, scope, Volatile::ByName)
}

/// The same, with values for what is volatile.
pub fn argv_words_with(template: &Template, scope: &Scope, volatile: Volatile<'_>) -> Result<(Vec<String>, Reads), Vec<Fault>> {
    if !template.single() {
        return template.text(scope, volatile).map(|(text, reads)| (vec![text], reads));
    }
    let (value, reads) = template.value(scope, volatile)?;
    let list = match value {
        Val::List(list) => list,
        Val::Entries(list) => list.into_iter().map(|(_, item)| item).collect(),
        Val::Null => Vec::new(),
        other => vec![other],
    };
    let mut words = Vec::with_capacity(list.len());
    for item in list {
        match item {
            Val::List(inner) => words.extend(inner.iter().filter_map(printed)),
            other => words.extend(printed(&other)),
        }
    }
    Ok((words, reads))
}

/// Where the n-th output of a stage stands.
fn output_span(stage: &spec::Stage, index: usize) -> Span {
    match stage.outputs.list.get(index) {
        Some((_, output)) => output.path.at,
        None => stage.outputs.list.last().map_or(stage.outputs.at, |(_, output)| output.path.at),
    }
}

/// Every leaf under a setting, by dotted name, as JSON. An empty map is a leaf.
fn leaves(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match &value.data {
        Data::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                leaves(&format!("{name}.{}", key.text), value, out);
            }
        }
        _ => out.push((name.to_string(), value.canonical())),
    }
}

/// A text without its templates: what was written by hand.
fn outside_holes(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${{") {
        out.push_str(&rest[..start]);
        match rest[start..].find("}}") {
            Some(end) => rest = &rest[start + end + 2..],
            None => return out,
        }
    }
    out.push_str(rest);
    out
}
