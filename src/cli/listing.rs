//! What the commands that look have in common: a pipeline opened, its tasks asked about, faults said.
//!
//! Owns how a fault of opening is said, for people and as JSON. Writes nothing and takes no lock. Must
//! hold: every listing command sees the same facts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::error::{BROKEN, BUSY, CliError, WRONG};
use crate::cli::options::{Which, split};
use crate::cli::{render, terminal};
use crate::diag::{Diagnostic, Sources};
use crate::event::{PipelineFields, ReasonFields, TaskFields, reason_fields};
use crate::graph::{Edge, Graph, Source, Tool};
use crate::name::{RelPath, TaskId};
use crate::os::clock::{Clock, SystemClock};
use crate::os::lock::LockFault;
use crate::pipeline::config::{SetFault, split_set};
use crate::pipeline::spec::{Runs, Store};
use crate::plan::decide::Verdict;
use crate::plan::reason::{Reason, compare};
use crate::plan::walk::{Selection, Walked};
use crate::record::cache::{Cache, Keep};
use crate::record::record::Record;
use crate::report::json::{CheckJson, Listing, RunsWord, VerdictWord};
use crate::report::words::{self, Again};
use crate::run::driver::place_of;
use crate::run::open::{OpenFault, Opened, Request, open};
use crate::run::session::{
    SessionFault, Wanted, ask_for_states, boot_number, cache_folder, check_missing, choose_among, look_at, prime, states_now,
};
use crate::run::survey::{Answers, wanted};

/// FILE and the other words of a command line.
pub struct Words {
    /// FILE as it was given.
    pub file: Option<String>,
    /// The rest.
    pub rest: Vec<String>,
    /// What a hint repeats.
    pub again: Again,
}

/// Takes FILE out of the words.
pub fn words(words: &[String], which: &Which, short: &Option<String>) -> Words {
    let (file, rest) = split(words, which.file.as_ref().or(short.as_ref()));
    Words { again: Again { file: file.clone(), profile: None }, file, rest }
}

/// What is asked of a pipeline file.
pub fn request(file: Option<String>, which: &Which, rehash: bool) -> Result<Request, CliError> {
    let here = std::env::current_dir().map_err(|error| CliError::broken(format!("cannot tell the current folder: {error}")))?;
    let set = which.set.iter().map(|text| split_set(text)).collect::<Result<Vec<_>, SetFault>>().map_err(|fault| set_error(&fault))?;
    Ok(Request { file, here, set, rehash })
}

/// The cache as environment variables say.
pub fn cache_options() -> Result<(Option<PathBuf>, Option<Store>), CliError> {
    let dir = std::env::var_os("FLOW_CACHE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = dir.map(|dir| std::path::absolute(&dir).unwrap_or(dir));
    let store = match std::env::var("FLOW_CACHE_STORE").ok().as_deref() {
        None | Some("") => None,
        Some("auto") => Some(Store::Auto),
        Some("all") => Some(Store::All),
        Some("off") => Some(Store::Off),
        Some(other) => return Err(CliError::wrong(format!("FLOW_CACHE_STORE is `{other}`")).hint("one of auto, all, off")),
    };
    Ok((dir, store))
}

/// How many slots there are: as given, else the cpus this process may use.
pub fn jobs(given: Option<u32>) -> u32 {
    given.unwrap_or_else(|| crate::os::process::cpus() as u32).max(1)
}

/// A pipeline and what the one decision says of its tasks.
pub struct Seen {
    /// The pipeline.
    pub opened: Opened,
    /// Its graph.
    pub graph: Arc<Graph>,
    /// Which tasks were asked about.
    pub selection: Selection,
    /// The verdicts.
    pub walked: Walked,
    /// The verdicts if nothing ran but for being stale (`runs: always` as if it were not there); `None`:
    /// not asked for, or no stage says so.
    pub calm: Option<Walked>,
    /// The run whose answers of tool commands were used.
    pub as_of: Option<u64>,
}

/// How to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Tool commands may be run.
    pub ask: bool,
    /// As if with `--force`.
    pub force: bool,
    /// As if with `--only`.
    pub only: bool,
    /// Also what is manual.
    pub all: bool,
    /// Sources that are not there are an error.
    pub strict: bool,
    /// What is selected is only looked at: naming it is no order to run it.
    pub unnamed: bool,
    /// Also ask what would run if `runs: always` were not there.
    pub calm: bool,
}

/// Opens a pipeline and asks about the selected tasks.
pub fn see(request: &Request, selectors: &[String], how: How, json: bool) -> Result<Seen, CliError> {
    let mut opened = open(request).map_err(|fault| open_error(fault, json))?;
    let graph = Arc::clone(&opened.graph);
    let (dir, store) = cache_options()?;
    let keep = match store.or(opened.cache.store).unwrap_or_default() {
        Store::Auto => Keep::Auto,
        Store::All => Keep::All,
        Store::Off => Keep::Off,
    };
    let folder = cache_folder(&opened.site, &opened.cache, dir.as_ref());
    // Looking makes no folder.
    let cache = if folder.is_dir() { Cache::local(&folder, keep, boot_number(&opened.boot)) } else { Cache::off() };
    let mut answers = Answers::new(how.ask);
    let states = ask_for_states(selectors).then(|| states_now(&graph, &mut opened, &cache, &mut answers));
    let here = opened.site.here.clone();
    let wanted =
        Wanted { states: states.as_deref(), only: how.only, force: how.force, to_run: !how.unnamed, ..Wanted::only(&here, selectors) };
    let mut selection = choose_among(&graph, &opened.known, &wanted).map_err(|fault| session_error(fault, json))?;
    selection.keep_manifests = true;
    if how.all && selectors.is_empty() {
        selection.chosen = vec![true; graph.tasks.len()];
    }
    if how.unnamed {
        selection.named = vec![false; graph.tasks.len()];
    }
    prime(&opened, &selection);
    let walked = look_at(&graph, &mut opened, &cache, &mut answers, &selection);
    if how.strict {
        check_missing(&graph, &walked, &opened).map_err(|fault| session_error(fault, json))?;
    }
    let always = how.calm && graph.stages.iter().any(|stage| stage.runs == Runs::Always);
    let calm = always.then(|| {
        let mut calm = (*graph).clone();
        calm.stages.iter_mut().filter(|stage| stage.runs == Runs::Always).for_each(|stage| stage.runs = Runs::Auto);
        look_at(&calm, &mut opened, &cache, &mut answers, &selection)
    });
    Ok(Seen { opened, graph, selection, walked, calm, as_of: answers.as_of })
}

impl Seen {
    /// The head of a listing.
    pub fn pipeline(&self) -> PipelineFields {
        let site = &self.opened.site;
        PipelineFields {
            file: site.file.shown.clone(),
            name: self.graph.name.clone(),
            workspace: site.workspace.to_string_lossy().into_owned(),
        }
    }

    /// The tasks that were asked about, in the order they would start.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Verdict)> {
        let verdicts = &self.walked.verdicts;
        self.graph.order.iter().filter(|id| !self.graph.is_gate(**id)).filter_map(move |id| Some((*id, verdicts[id.index()].as_ref()?)))
    }

    /// The tasks that selectors mean themselves, without what they need, in the order of the file.
    pub fn meant(&self, selectors: &[String]) -> Result<Vec<TaskId>, CliError> {
        let chosen = choose_among(&self.graph, &self.opened.known, &Wanted::only(&self.opened.site.here, selectors))
            .map_err(|fault| session_error(fault, false))?;
        Ok((0..self.graph.tasks.len() as u32).map(TaskId).filter(|id| chosen.chosen[id.index()]).collect())
    }

    /// The verdict of a task; what was not looked at counts as it is.
    pub fn verdict(&self, id: TaskId) -> &Verdict {
        self.walked.verdicts.get(id.index()).and_then(Option::as_ref).unwrap_or(&Verdict::UpToDate)
    }

    /// What would be done with each task, by task. Beyond [`verdict_word`]: a task that builds on the
    /// execution of one that will run will run too, since a new execution is always another.
    pub fn words(&self) -> Vec<VerdictWord> {
        let mut words = vec![VerdictWord::UpToDate; self.graph.tasks.len()];
        for &id in &self.graph.order {
            if self.graph.is_gate(id) {
                continue;
            }
            let word = verdict_word(self.verdict(id));
            let certain = word == VerdictWord::Pending
                && self
                    .graph
                    .tasks_above(id)
                    .into_iter()
                    .any(|(above, edge)| edge == Edge::Stamp && words[above.index()] == VerdictWord::Run);
            words[id.index()] = if certain { VerdictWord::Run } else { word };
        }
        words
    }

    /// Why a task would not stay as it is, worded for programs.
    pub fn reasons(&self, id: TaskId) -> Vec<ReasonFields> {
        let list: Vec<Reason> = match self.verdict(id) {
            Verdict::UpToDate | Verdict::Unknown(_) => Vec::new(),
            Verdict::Run(reasons) => reasons.clone(),
            Verdict::Pending { own, .. } if !own.is_empty() => own.clone(),
            Verdict::Pending { .. } => self.perhaps(id),
            Verdict::Restore { record, files } => self.restored(id, record, files),
            Verdict::Missing(paths) => paths.iter().cloned().map(Reason::OutputGone).collect(),
        };
        let makers = if list.iter().any(|reason| matches!(reason, Reason::Part { .. })) { self.makers(id) } else { HashMap::new() };
        list.iter()
            .map(|reason| {
                let mut fields = reason_fields(reason, place_of(&self.graph, id, reason));
                if let (None, Some(what)) = (&fields.task, &fields.what) {
                    fields.task = makers.get(what.as_str()).map(|maker| self.graph.task(*maker).name.to_string());
                }
                fields
            })
            .collect()
    }

    /// The tasks that make what a task reads, by path.
    fn makers(&self, id: TaskId) -> HashMap<&str, TaskId> {
        let task = self.graph.task(id);
        let inputs = task.inputs.iter().filter_map(|input| match &input.source {
            Source::Path { path, from: Some(from), .. } => Some((path.as_str(), *from)),
            _ => None,
        });
        let tools = task.tools.iter().filter_map(|tool| match tool {
            Tool::File { path, from: Some(from), .. } => Some((path.as_str(), *from)),
            _ => None,
        });
        inputs.chain(tools).collect()
    }

    /// What of a manifest waits for tasks above: `if clean comes out different`.
    fn perhaps(&self, id: TaskId) -> Vec<Reason> {
        let Some(manifest) = self.walked.manifests.get(id.index()).and_then(Option::as_ref) else { return Vec::new() };
        manifest
            .parts
            .iter()
            .filter(|part| part.waits_for().is_some())
            .map(|part| Reason::Part {
                was: Some(Box::new(part.clone())),
                is: Some(Box::new(part.clone())),
                from: part.waits_for().cloned(),
            })
            .collect()
    }

    /// Why a result has to be brought back: it is not there, or the last one was made from something else.
    fn restored(&self, id: TaskId, record: &Record, files: &[RelPath]) -> Vec<Reason> {
        let good = self.good(id).filter(|good| good.key != record.key);
        let now = self.walked.manifests.get(id.index()).and_then(Option::as_ref);
        match (good, now) {
            (Some(good), Some(now)) => compare(&good.manifest, now),
            _ => files
                .iter()
                .map(|path| match self.opened.disk.stamp(path, false) {
                    Ok(Some(_)) => Reason::OutputChanged(path.clone()),
                    _ => Reason::OutputGone(path.clone()),
                })
                .collect(),
        }
    }

    /// A task's last good record.
    pub fn good(&self, id: TaskId) -> Option<Record> {
        let memory = self.opened.known.task(&self.graph.task(id).name)?;
        self.opened.known.read(memory.good?).ok()
    }
}

/// Bytes that a restore brings back.
pub fn restore_bytes(record: &Record, files: &[RelPath]) -> u64 {
    if files.is_empty() { 0 } else { wanted(record, files).iter().map(|(_, tree)| tree.bytes()).sum() }
}

/// A verdict's word.
pub fn verdict_word(verdict: &Verdict) -> VerdictWord {
    match verdict {
        Verdict::UpToDate => VerdictWord::UpToDate,
        Verdict::Missing(_) => VerdictWord::Missing,
        // All stands already: no work, only a record to be taken over.
        Verdict::Restore { files, .. } if files.is_empty() => VerdictWord::UpToDate,
        Verdict::Restore { .. } => VerdictWord::Restore,
        Verdict::Pending { own, .. } if own.is_empty() => VerdictWord::Pending,
        Verdict::Run(_) | Verdict::Pending { .. } => VerdictWord::Run,
        Verdict::Unknown(_) => VerdictWord::Pending,
    }
}

/// The word of `runs`.
pub fn runs_word(runs: Runs) -> RunsWord {
    match runs {
        Runs::Auto => RunsWord::Auto,
        Runs::Always => RunsWord::Always,
        Runs::Manual => RunsWord::Manual,
        Runs::Never => RunsWord::Never,
    }
}

/// TASK of a task.
pub fn task_fields(graph: &Graph, id: TaskId) -> TaskFields {
    let task = graph.task(id);
    let mut fields = TaskFields::of(&task.name);
    fields.axes.0 = task.axes.clone();
    fields
}

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    SystemClock::new().wall()
}

/// How many of each kind of reason, as `input changed 9, config changed 3`; each counts once a task.
#[derive(Default)]
pub struct Tally(Vec<(String, u64)>);

impl Tally {
    /// Counts the reasons of one task.
    pub fn add(&mut self, reasons: &[ReasonFields]) {
        let mut seen: Vec<&str> = Vec::new();
        for reason in reasons {
            if !seen.contains(&reason.reason.as_str()) {
                seen.push(&reason.reason);
                self.one(&kind(&reason.reason));
            }
        }
    }

    /// Counts something else.
    pub fn one(&mut self, what: &str) {
        match self.0.iter_mut().find(|(has, _)| has == what) {
            Some((_, count)) => *count += 1,
            None => self.0.push((what.to_string(), 1)),
        }
    }

    /// The most frequent first.
    pub fn said(mut self) -> String {
        self.0.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.0.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
    }
}

/// A reason's word for people.
fn kind(word: &str) -> String {
    match word {
        "input_perhaps" => "perhaps changed above".into(),
        "spoilt" => "input changed while it ran".into(),
        "always" => "runs always".into(),
        "failed" => "failed before".into(),
        "stamp_changed" => "runs anew above".into(),
        other => words::printable(other).replace('_', " "),
    }
}

/// Prints JSON and a newline.
pub fn print_json(listing: &impl Listing, pipeline: &PipelineFields) -> Result<(), CliError> {
    print(&format!("{}\n", listing.text(pipeline)))
}

/// Prints a result.
pub fn print(text: &str) -> Result<(), CliError> {
    terminal::print(text).map_err(|error| CliError::broken(format!("cannot write to stdout: {error}")))
}

fn set_error(fault: &SetFault) -> CliError {
    let error = CliError::wrong(fault.to_string());
    match fault {
        SetFault::Unknown { near: Some(near), .. } => error.hint(format!("did you mean `{near}`?")),
        SetFault::Unknown { .. } => error.hint("declare it in the pipeline's `config`"),
        _ => error,
    }
}

/// An error of opening a pipeline. With `json` the faults of its file go to stdout.
pub fn open_error(fault: OpenFault, json: bool) -> CliError {
    match fault {
        OpenFault::Mistakes(faults, sources) => mistakes(&faults, &sources, json),
        OpenFault::Set(fault) => set_error(&fault),
        OpenFault::State(fault) => CliError::broken(fault.to_string()),
        OpenFault::Site(fault @ crate::run::site::SiteFault::NoFile) => CliError::wrong(fault.to_string()).hint("name one: flow run FILE"),
        OpenFault::Site(fault) => CliError::wrong(fault.to_string()),
        OpenFault::File(fault) => CliError::wrong(fault.to_string()),
        OpenFault::Workspace(words) => CliError::wrong(words),
    }
}

/// Mistakes in the file, said with their places.
pub fn mistakes(faults: &[Diagnostic], sources: &Sources, json: bool) -> CliError {
    if json {
        let file = sources.files().first().map(|source| source.path.clone()).unwrap_or_default();
        let pipeline = PipelineFields { file, ..PipelineFields::default() };
        let _ = print_json(&CheckJson::of(faults, sources), &pipeline);
    } else {
        terminal::say(&frames(faults, sources));
        if let Some(closing) = render::closing(faults, sources) {
            terminal::say(&closing);
            terminal::say("\n");
        }
    }
    CliError { code: WRONG, message: String::new(), hints: Vec::new(), many: false }
}

/// Code frames as they look on stderr.
pub fn frames(faults: &[Diagnostic], sources: &Sources) -> String {
    let style = terminal::stderr();
    let width = if style.width == 0 { render::Look::default().width } else { style.width };
    render::diagnostics(faults, sources, render::Look { colour: style.colour, width })
}

/// An error of a run.
pub fn session_error(fault: SessionFault, json: bool) -> CliError {
    match fault {
        SessionFault::Open(fault) => open_error(fault, json),
        SessionFault::Lock(fault @ LockFault::Held(_)) => {
            CliError { code: BUSY, ..CliError::busy(fault.to_string()) }.hint("`--wait` waits for its end; `flow status` shows it")
        }
        SessionFault::Lock(fault) => CliError::broken(fault.to_string()),
        SessionFault::Select(fault) => {
            let error = CliError::wrong(fault.message);
            match fault.hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        SessionFault::Missing(list) => {
            let lines: Vec<String> = list
                .iter()
                .map(|missing| format!("`{}` needs {}, which is not there ({})", missing.task, missing.path, missing.place))
                .collect();
            let mut error = CliError { many: true, ..CliError::wrong(lines.join("\n")) };
            for missing in &list {
                if let Some(near) = &missing.near {
                    error = error.hint(format!("{}: {near}", missing.path));
                }
            }
            error.hint("nothing was run")
        }
        SessionFault::Facts(lines) => CliError { many: true, ..CliError::wrong(lines.join("\n")) },
        SessionFault::Own(words) => CliError { code: BROKEN, ..CliError::broken(words) },
        SessionFault::Run(fault) => CliError::broken(fault.to_string()).hint("what had finished is recorded; nothing more was started"),
    }
}
