//! `flow status`: what is up to date, stale, failed and running.
//!
//! Owns the state of a task as people think of it, put together from the one decision and from what became
//! of its last attempt. Writes nothing; runs no command of the pipeline but the tool commands that `--fresh`
//! and `--check` ask. Must hold: everything in the text is in the JSON too.

use std::io::BufReader;

use crate::cli::error::{CliError, FINE, STALE};
use crate::cli::listing::{How, Seen, print, print_json, request, runs_word, see, session_error, task_fields, words};
use crate::cli::options::StatusArgs;
use crate::cli::terminal;
use crate::event::{CauseFields, Run, RunState, Secs, SetPair, TaskFields, Time, UsageFields};
use crate::graph::Tool;
use crate::graph::select::{everything, with_ancestors};
use crate::name::{TaskId, TaskName};
use crate::os::lock::{Holder, holder};
use crate::pipeline::spec::Runs;
use crate::plan::decide::Verdict;
use crate::record::known::{Last, Memory, RunMemory};
use crate::record::record::Tree;
use crate::record::state::frame::RunEnd;
use crate::report::json::{CheckWord, GoneOutput, GoneTask, LastAttempt, StateWord, StatusCounts, StatusJson, StatusTask, VerdictWord};
use crate::report::runs::read;
use crate::report::words::Again;
use crate::run::open::Opened;
use crate::run::session::{MissingInput, SessionFault, check_missing};

mod text;

/// Runs the command.
pub fn run(args: &StatusArgs) -> Result<u8, CliError> {
    let words = words(&args.words, &args.which, &args.short_file);
    let request = request(words.file, &args.which, args.rehash)?;
    let set = !request.set.is_empty();
    let how = How { ask: args.fresh || args.check, all: true, unnamed: true, calm: true, ..How::default() };
    let seen = see(&request, &words.rest, how, args.which.json)?;
    let listed: Vec<TaskId> = match words.rest.is_empty() {
        true => (0..seen.graph.tasks.len() as u32).map(TaskId).collect(),
        false => seen.meant(&words.rest)?,
    };
    let status = Status::of(&seen, listed, set, words.again)?;
    let check = status.json.check;
    if args.which.json {
        print_json(&status.json, &seen.pipeline())?;
    } else {
        print(&status.text(&terminal::stdout()))?;
    }
    Ok(if args.check && check == CheckWord::Stale { STALE } else { FINE })
}

/// How everything stands.
struct Status<'a> {
    seen: &'a Seen,
    /// The tasks that were asked about, in the order of the file.
    listed: Vec<TaskId>,
    json: StatusJson,
    /// For each task the failed one it is below.
    below: Vec<Option<TaskId>>,
    /// For each task whether a usual run looks at it.
    usual: Vec<bool>,
    /// Sources that are not there.
    missing: Vec<MissingInput>,
    /// Whether the newest run can be gone on with.
    resumable: bool,
    again: Again,
}

impl<'a> Status<'a> {
    fn of(seen: &'a Seen, listed: Vec<TaskId>, set: bool, again: Again) -> Result<Status<'a>, CliError> {
        let graph = &seen.graph;
        let opened = &seen.opened;
        let holder = opened.own.as_ref().and_then(holder);
        let words = seen.words();
        let (states, below) = states(seen, &words, holder.is_some());
        let usual_ids: Vec<TaskId> = everything(graph).into_iter().map(|(id, _)| id).collect();
        let usual = with_ancestors(graph, &usual_ids);
        let mut counts = StatusCounts::default();
        let mut check = CheckWord::Fine;
        let mut tasks = Vec::with_capacity(listed.len());
        for &id in &listed {
            let task = graph.task(id);
            let stage = graph.stage_of(id);
            let (state, verdict) = (states[id.index()], words[id.index()]);
            let memory = opened.known.task(&task.name);
            counts.add(state);
            if !is_fine(seen, id, state, memory.as_ref()) {
                check = CheckWord::Stale;
            }
            let asks = task.tools.iter().any(|tool| matches!(tool, Tool::Asked { .. }));
            tasks.push(StatusTask {
                task: task_fields(graph, id),
                state,
                verdict,
                reasons: if verdict == VerdictWord::UpToDate { Vec::new() } else { seen.reasons(id) },
                runs: runs_word(stage.runs),
                description: stage.description.clone(),
                last: memory.as_ref().and_then(|memory| last(opened, memory)),
                as_of: seen.as_of.filter(|_| asks),
            });
        }
        let missing = match check_missing(graph, &seen.walked, opened) {
            Err(SessionFault::Missing(list)) => list,
            // What could not be read is said of the tasks it concerns.
            Ok(()) | Err(SessionFault::Facts(_)) => Vec::new(),
            Err(other) => return Err(session_error(other, false)),
        };
        let (last_run, running) = runs(opened, holder.as_ref());
        let ended_well = last_run.as_ref().is_none_or(|run| run.state == RunState::Fine);
        let gone = if set { Vec::new() } else { gone(seen) };
        let json = StatusJson { last_run, running, check, counts, tasks, gone };
        Ok(Status { seen, listed, json, below, usual, missing, resumable: !ended_well, again })
    }
}

/// The state of each task, and for each the failed one it is below.
fn states(seen: &Seen, words: &[VerdictWord], running: bool) -> (Vec<StateWord>, Vec<Option<TaskId>>) {
    let graph = &seen.graph;
    let mut states = vec![StateWord::UpToDate; graph.tasks.len()];
    let mut below: Vec<Option<TaskId>> = vec![None; graph.nodes()];
    for &id in &graph.order {
        let above = graph.above.of(id).find_map(|(above, _)| below[above.index()]);
        if graph.is_gate(id) {
            below[id.index()] = above;
            continue;
        }
        let memory = seen.opened.known.task(&graph.task(id).name);
        let last = memory.as_ref().map_or(Last::Never, |memory| memory.last);
        let state = match (seen.verdict(id), last) {
            (_, Last::Started) if running => StateWord::Running,
            _ if words[id.index()] == VerdictWord::UpToDate => StateWord::UpToDate,
            (Verdict::Unknown(_), _) => StateWord::Unknown,
            (_, Last::Failed) => StateWord::Failed,
            (_, Last::Started | Last::Aborted) => StateWord::Interrupted,
            _ if above.is_some() => StateWord::Blocked,
            (_, Last::Never) if memory.as_ref().is_none_or(|memory| memory.good.is_none()) => StateWord::NeverRan,
            _ => StateWord::Stale,
        };
        states[id.index()] = state;
        below[id.index()] = match state {
            StateWord::Failed => Some(id),
            StateWord::Blocked => above,
            _ => None,
        };
    }
    below.truncate(graph.tasks.len());
    (states, below)
}

/// Whether nothing but `runs: always`, here or above, would run it again.
fn is_calm(seen: &Seen, id: TaskId) -> bool {
    let calm = seen.calm.as_ref().and_then(|calm| calm.verdicts.get(id.index())).and_then(Option::as_ref);
    calm == Some(&Verdict::UpToDate)
}

/// Whether a task is as `--check` wants it.
fn is_fine(seen: &Seen, id: TaskId, state: StateWord, memory: Option<&Memory>) -> bool {
    match seen.graph.stage_of(id).runs {
        Runs::Manual | Runs::Never => true,
        _ if state == StateWord::UpToDate => true,
        Runs::Always => is_calm(seen, id) && memory.is_some_and(|memory| memory.last == Last::Well),
        Runs::Auto => state == StateWord::Stale && is_calm(seen, id),
    }
}

/// The last attempt of a task.
fn last(opened: &Opened, memory: &Memory) -> Option<LastAttempt> {
    let end = memory.end.as_ref()?;
    Some(LastAttempt {
        run: end.run,
        attempt: u32::from(end.n),
        ended: Time(end.at),
        result: CauseFields::of(&end.ended.cause),
        usage: UsageFields::of(&end.ended.usage),
        log: end.log.as_ref().map(|log| format!(".flow/{}/{log}", opened.site.folder)),
    })
}

/// The newest run that is over, and the one that goes on.
fn runs(opened: &Opened, holder: Option<&Holder>) -> (Option<Run>, Option<Run>) {
    let events = |number: u64, alive: bool| {
        let file = opened.own.as_ref()?.read(&format!("runs/{number}/events.jsonl")).ok()?;
        read(BufReader::new(file), alive)
    };
    let newest = opened.known.last_run();
    let running = holder.map(|holder| {
        events(holder.run, true).unwrap_or_else(|| Run {
            run: Some(holder.run),
            state: RunState::Running,
            started: Some(Time(holder.since)),
            ..Run::default()
        })
    });
    let over = match newest {
        None => None,
        Some(newest) if holder.is_none_or(|holder| holder.run != newest.run.number) => {
            Some(ended(events(newest.run.number, false), newest))
        }
        Some(newest) => (1..newest.run.number).rev().take(1000).find_map(|number| events(number, false)),
    };
    (over, running)
}

/// A run as its events tell it; where they lack an end, or are gone, as it is remembered.
fn ended(events: Option<Run>, memory: &RunMemory) -> Run {
    let mut run = events.unwrap_or_else(|| Run {
        run: Some(memory.run.number),
        resumes: memory.asked.resumes,
        state: RunState::Killed,
        started: Some(Time(memory.at)),
        args: memory.asked.args.clone(),
        selectors: memory.asked.selectors.clone(),
        profiles: memory.asked.profiles.clone(),
        set: memory.asked.set.iter().map(|(key, value)| SetPair { key: key.clone(), value: value.clone() }).collect(),
        jobs: memory.asked.jobs,
        ..Run::default()
    });
    if let (None, Some((end, exit, at))) = (run.exit, memory.end) {
        run.state = match end {
            RunEnd::Fine => RunState::Fine,
            RunEnd::Failed | RunEnd::Broken => RunState::Failed,
            RunEnd::Interrupted => RunState::Interrupted,
        };
        run.exit = Some(exit);
        run.ended = Some(Time(at));
        run.wall_s = Some(Secs(std::time::Duration::from_nanos(at.saturating_sub(memory.at).max(0) as u64)));
    }
    run
}

/// Tasks that are remembered and no longer there, with what still stands of them.
fn gone(seen: &Seen) -> Vec<GoneTask> {
    let graph = &seen.graph;
    let opened = &seen.opened;
    let there: std::collections::HashSet<&str> = graph.tasks.iter().map(|task| task.name.as_str()).collect();
    let names: Vec<&str> = opened.known.names().filter(|name| !there.contains(name)).collect();
    if names.is_empty() {
        return Vec::new();
    }
    // What another task makes now is taken over.
    let made: std::collections::HashSet<&str> =
        graph.tasks.iter().flat_map(|task| task.outputs.iter().map(|output| output.path.as_str())).collect();
    let mut list = Vec::new();
    for name in names {
        let name = TaskName::from(name);
        let memory = opened.known.task(&name);
        let Some(record) = memory.and_then(|memory| opened.known.read(memory.good?).ok()) else { continue };
        let outputs: Vec<GoneOutput> = record
            .outputs
            .iter()
            .filter(|output| !made.contains(output.path.as_str()))
            .filter(|output| matches!(opened.disk.stamp(&output.path, false), Ok(Some(_))))
            .map(|output| GoneOutput {
                path: format!("{}{}", output.path, if matches!(output.what, Tree::Folder(_)) { "/" } else { "" }),
                bytes: output.what.bytes(),
            })
            .collect();
        if !outputs.is_empty() {
            list.push(GoneTask { task: TaskFields::of(&name), outputs });
        }
    }
    list
}
