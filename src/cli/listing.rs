//! What the commands that look have in common: a pipeline opened, its tasks asked about, faults said.
//!
//! Owns how a fault of opening is said, for people and as JSON. Writes nothing and takes no lock. Must
//! hold: every listing command sees the same facts.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::error::{BROKEN, BUSY, CliError, WRONG};
use crate::cli::options::{Which, split};
use crate::cli::{render, terminal};
use crate::diag::{Diagnostic, Sources};
use crate::event::{PipelineFields, ReasonFields, reason_fields};
use crate::graph::Graph;
use crate::name::TaskId;
use crate::os::lock::LockFault;
use crate::pipeline::config::{SetFault, split_set};
use crate::pipeline::spec::{Runs, Store};
use crate::plan::decide::Verdict;
use crate::plan::reason::Reason;
use crate::plan::walk::{Selection, Walked};
use crate::record::cache::{Cache, Keep};
use crate::report::json::{CheckJson, Listing, RunsWord, VerdictWord};
use crate::report::words::Again;
use crate::run::driver::place_of;
use crate::run::open::{OpenFault, Opened, Request, open};
use crate::run::session::{SessionFault, boot_number, cache_folder, check_missing, choose_among, look_at, prime};
use crate::run::survey::Answers;

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
}

/// Opens a pipeline and asks about the selected tasks.
pub fn see(request: &Request, selectors: &[String], how: How, json: bool) -> Result<Seen, CliError> {
    let mut opened = open(request).map_err(|fault| open_error(fault, json))?;
    let graph = Arc::clone(&opened.graph);
    let mut selection = choose_among(&graph, &opened.known, &opened.site.here, selectors, how.only, how.force, &[])
        .map_err(|fault| session_error(fault, json))?;
    if how.all && selectors.is_empty() {
        selection.chosen = vec![true; graph.tasks.len()];
    }
    let (dir, store) = cache_options()?;
    let keep = match store.or(opened.cache.store).unwrap_or_default() {
        Store::Auto => Keep::Auto,
        Store::All => Keep::All,
        Store::Off => Keep::Off,
    };
    let folder = cache_folder(&opened.site, &opened.cache, dir.as_ref());
    // Looking makes no folder.
    let cache = if folder.is_dir() { Cache::local(&folder, keep, boot_number(&opened.boot)) } else { Cache::off() };
    prime(&opened, &selection);
    let mut answers = Answers::new(how.ask);
    let walked = look_at(&graph, &mut opened, &cache, &mut answers, &selection);
    if how.strict {
        check_missing(&graph, &walked, &opened).map_err(|fault| session_error(fault, json))?;
    }
    Ok(Seen { opened, graph, selection, walked, as_of: answers.as_of })
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

    /// The reasons of a verdict, worded for programs.
    pub fn reasons(&self, id: TaskId, verdict: &Verdict) -> Vec<ReasonFields> {
        reasons_of(verdict).iter().map(|reason| reason_fields(reason, place_of(&self.graph, id, reason))).collect()
    }

    /// What of a manifest waits for tasks above: `if clean comes out different`.
    pub fn perhaps(&self, id: TaskId) -> Vec<ReasonFields> {
        let Some(manifest) = &self.walked.manifests[id.index()] else { return Vec::new() };
        manifest
            .parts
            .iter()
            .filter(|part| part.waits_for().is_some())
            .map(|part| {
                let reason =
                    Reason::Part { was: Some(Box::new(part.clone())), is: Some(Box::new(part.clone())), from: part.waits_for().cloned() };
                reason_fields(&reason, place_of(&self.graph, id, &reason))
            })
            .collect()
    }
}

/// The reasons in a verdict.
pub fn reasons_of(verdict: &Verdict) -> &[Reason] {
    match verdict {
        Verdict::Run(reasons) | Verdict::Pending { own: reasons, .. } => reasons,
        _ => &[],
    }
}

/// A verdict's word.
pub fn verdict_word(verdict: &Verdict) -> VerdictWord {
    match verdict {
        Verdict::UpToDate | Verdict::Missing(_) => VerdictWord::UpToDate,
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
