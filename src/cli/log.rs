//! `flow log`: what a task's command wrote.
//!
//! Owns which attempt is meant and how its bytes are shown. Takes no lock. Must hold: memory does not
//! grow with a log; a pipe gets the bytes as they are, a terminal only what does it no harm; stdout has
//! the log and nothing else.

use std::fs::File;
use std::io::{self, BufReader};

use crate::attempt::Cause;
use crate::cli::error::{CliError, FINE};
use crate::cli::listing::{open_error, request, session_error, words};
use crate::cli::options::LogArgs;
use crate::cli::terminal;
use crate::event::{CauseFields, PipelineFields, TaskFields};
use crate::name::{AttemptId, RunId, TaskName};
use crate::os::beneath::Beneath;
use crate::os::lock::holder;
use crate::record::known::{Last, Memory, Open};
use crate::report::json::{Listing, LogJson};
use crate::report::runs::executions;
use crate::report::words::{Again, pad, printable};
use crate::run::driver::log_name;
use crate::run::open::{Opened, open};
use crate::run::session::{Wanted, choose_among};

mod follow;
mod hole;
mod screen;

use follow::{Over, Watch};
use hole::read_piece;
use screen::{Screen, Text};

/// Tasks that are listed when several are meant.
const LISTED: usize = 20;

/// Bytes copied at once.
const PIECE: usize = 64 << 10;

/// Runs the command.
pub fn run(args: &LogArgs) -> Result<u8, CliError> {
    let words = words(&args.words, &args.which, &None);
    let request = request(words.file, &args.which, false)?;
    let json = args.which.json;
    let opened = open(&request).map_err(|fault| open_error(fault, json))?;
    let task = one_task(&opened, &words.rest, &words.again, json)?;
    let Some(own) = &opened.own else { return Err(never_ran(&task, &words.again)) };
    let head = Head { opened: &opened, task: &task, json, again: &words.again };
    let open = opened.known.open().into_iter().find(|open| open.attempt.task == task);
    let asked_for = |run: u64, n: u16| args.run.is_none_or(|asked| asked == run) && args.attempt.is_none_or(|asked| asked == n);
    if let Some(open) = open.filter(|open| asked_for(open.attempt.run.number, open.attempt.n)) {
        return head.under_way(own, open, args.follow);
    }
    let attempt = find_attempt(own, &task, opened.known.task(&task).as_ref(), open, args, &words.again)?;
    if args.follow && holder(own).is_some() {
        say(&format!("{} is not running now: this is its log of run {}", printable(task.as_str()), attempt.run));
    }
    head.over(own, &attempt)
}

fn say(text: &str) {
    terminal::say(&format!(" {text}\n"));
}

/// The one task that is meant.
fn one_task(opened: &Opened, words: &[String], again: &Again, json: bool) -> Result<TaskName, CliError> {
    let graph = &opened.graph;
    let chosen = match choose_among(graph, &opened.known, &Wanted::only(&opened.site.here, words)) {
        Ok(selection) => selection.chosen,
        // A task that is gone from the file is still remembered.
        Err(fault) => match words {
            [word] if opened.known.task(&word.as_str().into()).is_some() => return Ok(word.as_str().into()),
            _ => return Err(session_error(fault, json)),
        },
    };
    let tasks: Vec<&TaskName> = graph.tasks.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(task, _)| &task.name).collect();
    match tasks.as_slice() {
        [task] => Ok((*task).clone()),
        [] => Err(CliError::wrong("no task is meant by that")),
        _ => Err(several(opened, &tasks, words, again)),
    }
}

/// Several tasks: each with how it ended, those that did not end well first.
fn several(opened: &Opened, tasks: &[&TaskName], words: &[String], again: &Again) -> CliError {
    let mut list: Vec<(u8, String, String)> = tasks.iter().map(|task| state_of(opened, task)).collect();
    list.sort_by_key(|(rank, _, _)| *rank);
    let more = list.len().saturating_sub(LISTED);
    list.truncate(LISTED);
    let width = list.iter().map(|(_, name, _)| crate::report::words::columns(name)).max().unwrap_or(0).min(60);
    let first = list.first().map(|(_, name, _)| name.clone()).unwrap_or_default();
    let message = match words.is_empty() {
        true => "which task?".to_owned(),
        false => format!("`{}` is {} tasks: name one", words.join(" "), tasks.len()),
    };
    let mut error = CliError::wrong(message);
    for (_, name, state) in &list {
        error = error.hint(format!("  {}  {state}", pad(name, width)));
    }
    if more > 0 {
        error = error.hint(format!("  and {more} more"));
    }
    error.hint(again.command("log", &[&first]))
}

fn state_of(opened: &Opened, task: &TaskName) -> (u8, String, String) {
    let name = task.to_string();
    if opened.known.open().iter().any(|open| open.attempt.task == *task) {
        let lives = opened.own.as_ref().is_some_and(|own| holder(own).is_some());
        return (1, name, if lives { "running".into() } else { "interrupted".into() });
    }
    let memory = opened.known.task(task);
    let (last, end) = memory.map(|memory| (memory.last, memory.end)).unwrap_or_default();
    match (Some(last), end) {
        (Some(Last::Failed), Some(end)) => (0, name, format!("{}, run {}", CauseFields::of(&end.ended.cause).text, end.run)),
        (Some(Last::Aborted | Last::Started), Some(end)) => (2, name, format!("interrupted, run {}", end.run)),
        (Some(Last::Well | Last::Spoilt), Some(end)) => (3, name, format!("fine, run {}", end.run)),
        _ => (4, name, "never ran".into()),
    }
}

fn never_ran(task: &TaskName, again: &Again) -> CliError {
    CliError::wrong(format!("`{task}` never ran")).hint(again.command("run", &[task.as_str()]))
}

/// An attempt that is over.
struct Attempt {
    run: u64,
    n: u16,
    result: Option<CauseFields>,
}

fn id(task: &TaskName, run: u64, n: u16) -> AttemptId {
    AttemptId { run: RunId { number: run, nonce: 0 }, task: task.clone(), n }
}

/// The attempt that is meant among those that are over.
fn find_attempt(
    own: &Beneath,
    task: &TaskName,
    memory: Option<&Memory>,
    open: Option<&Open>,
    args: &LogArgs,
    again: &Again,
) -> Result<Attempt, CliError> {
    let end = memory.and_then(|memory| memory.end.as_ref());
    let last = end.map(|end| Attempt { run: end.run, n: end.n, result: Some(CauseFields::of(&end.ended.cause)) });
    if let (None, None) = (args.run, args.attempt) {
        let Some(last) = last else { return Err(never_ran(task, again)) };
        return Ok(last);
    }
    let run = match (args.run, open, &last) {
        (Some(run), _, _) => run,
        (None, Some(open), _) => open.attempt.run.number,
        (None, None, Some(last)) => last.run,
        (None, None, None) => return Err(never_ran(task, again)),
    };
    let mut found = attempts(own, task, run);
    if let Some(last) = last.filter(|last| last.run == run) {
        found.retain(|attempt| attempt.n != last.n);
        found.push(last);
    }
    found.sort_by_key(|attempt| attempt.n);
    let attempt = match args.attempt {
        Some(n) => found.into_iter().find(|attempt| attempt.n == n),
        None => found.pop(),
    };
    attempt.ok_or_else(|| {
        let what = match args.attempt {
            Some(n) => format!("`{task}` has no attempt {n} in run {run}"),
            None => format!("`{task}` did not run in run {run}"),
        };
        let mut runs: Vec<u64> = kept(own, task).into_iter().map(|(run, _)| run).collect();
        runs.sort_unstable();
        runs.dedup();
        let shown: Vec<String> = runs.iter().rev().take(10).map(u64::to_string).collect();
        let error = CliError::wrong(what);
        if shown.is_empty() { error } else { error.hint(format!("there are logs of it of run {}", shown.join(", "))) }
    })
}

/// The attempts of a task in a run, as far as logs and events tell.
fn attempts(own: &Beneath, task: &TaskName, run: u64) -> Vec<Attempt> {
    let events = own.read(&format!("runs/{run}/events.jsonl")).ok();
    let told = events.map(|file| executions(BufReader::new(file), Some(task.as_str()))).unwrap_or_default();
    let mut found: Vec<Attempt> =
        told.into_iter().map(|told| Attempt { run, n: told.attempt.try_into().unwrap_or(u16::MAX), result: told.result }).collect();
    for (_, n) in kept(own, task).into_iter().filter(|(of, _)| *of == run) {
        if !found.iter().any(|attempt| attempt.n == n) {
            found.push(Attempt { run, n, result: None });
        }
    }
    found
}

/// The logs of a task that are kept: run and attempt.
fn kept(own: &Beneath, task: &TaskName) -> Vec<(u64, u16)> {
    let names = own.list(&format!("logs/{}", task.folder())).unwrap_or_default();
    let number = |name: &str| {
        let (run, n) = name.strip_suffix(".log")?.split_once('.')?;
        Some((run.parse().ok()?, n.parse().ok()?))
    };
    names.iter().filter_map(|name| number(name.to_str()?)).collect()
}

/// What is shown of which task.
struct Head<'a> {
    opened: &'a Opened,
    task: &'a TaskName,
    json: bool,
    again: &'a Again,
}

impl Head<'_> {
    /// An attempt that is open: it runs, or flow died.
    fn under_way(&self, own: &Beneath, open: &Open, follow: bool) -> Result<u8, CliError> {
        let (task, run) = (printable(self.task.as_str()), open.attempt.run.number);
        let broken = |fault: &dyn std::fmt::Display| CliError::broken(format!("cannot read the log of `{task}`: {fault}"));
        let Some(mut watch) = Watch::new(own, open).map_err(|fault| broken(&fault))? else {
            return Err(never_ran(self.task, self.again));
        };
        if open.executor == "restore" {
            say(&format!("{task} is being restored: no command of it runs"));
        }
        let mut out = self.out(run, open.attempt.n, None, follow);
        // How many bytes there are stands before them.
        let mut most = u64::MAX;
        if self.json && !follow {
            most = 0;
            let counted = watch.copy(false, &mut |piece| {
                most += piece.len() as u64;
                Ok(true)
            });
            counted.map_err(|fault| broken(&fault))?;
        }
        out.begin(most).map_err(|error| broken(&error))?;
        let mut bytes = 0u64;
        let over = watch.copy(follow, &mut |piece| {
            let room = usize::try_from(most - bytes).unwrap_or(usize::MAX).min(piece.len());
            bytes += room as u64;
            out.put(piece.get(..room).unwrap_or_default())
        });
        let over = over.map_err(|fault| broken(&fault))?;
        let cause = match &over {
            Some(Over::Ended(cause)) => Some(CauseFields::of(cause)),
            Some(Over::Again) => {
                attempts(own, self.task, run).into_iter().find(|attempt| attempt.n == open.attempt.n).and_then(|attempt| attempt.result)
            }
            Some(Over::Died) => Some(CauseFields::of(&Cause::Lost("flow was killed while it ran".into()))),
            None => None,
        };
        if bytes == 0 && open.executor != "restore" {
            say(&format!("{task} {}", if over.is_some() { "printed nothing" } else { "has printed nothing yet" }));
        }
        match (&cause, follow) {
            (None, _) if over.is_none() => {
                say(&format!("{task} is running: to go on, {}", self.again.command("log", &["-f", self.task.as_str()])));
            }
            (Some(cause), _) if matches!(over, Some(Over::Died)) => say(&format!("{task}: {}", printable(&cause.text))),
            (Some(cause), true) => say(&format!("{task}: {}", printable(&cause.text))),
            _ => {}
        }
        out.end(cause).map_err(|error| broken(&error))?;
        Ok(FINE)
    }

    /// An attempt that is over.
    fn over(&self, own: &Beneath, attempt: &Attempt) -> Result<u8, CliError> {
        let task = printable(self.task.as_str());
        let mut from = Attempt { result: attempt.result.clone(), ..*attempt };
        if let Some(made_by) = self.made_by(attempt) {
            // No command ran: the log is that of the run that made the result.
            say(&format!("{task} was not run by run {}: its result is that of run {made_by}", attempt.run));
            let n = attempts(own, self.task, made_by).into_iter().map(|attempt| attempt.n).max();
            (from.run, from.n) = (made_by, n.unwrap_or(1));
        }
        let broken = |error: io::Error| CliError::broken(format!("cannot print the log of `{task}`: {error}"));
        let name = log_name(&id(self.task, from.run, from.n));
        let log: Option<File> = match own.read(&name) {
            Ok(log) => Some(log),
            Err(error) if crate::os::beneath::is_gone(&error) => None,
            Err(error) => return Err(broken(error)),
        };
        // What is written while it is printed is not waited for.
        let bytes = match &log {
            Some(log) => log.metadata().map_err(broken)?.len(),
            None => 0,
        };
        let mut out = self.out(from.run, from.n, from.result.clone(), false);
        out.begin(bytes).map_err(broken)?;
        if let Some(log) = &log {
            let (mut piece, mut at) = (vec![0; PIECE], 0);
            while at < bytes {
                let (count, next) = read_piece(log, at, &mut piece).map_err(broken)?;
                if count == 0 || !out.put(piece.get(..count).unwrap_or_default()).map_err(broken)? {
                    break;
                }
                at = next;
            }
        }
        out.end(from.result.clone()).map_err(broken)?;
        if bytes == 0 {
            match (&from.result, from.n) {
                (Some(result), 0) => say(&format!("{task} was not started in run {}: {}", from.run, printable(&result.text))),
                (Some(result), _) if !result.is_success() => {
                    say(&format!("{task} printed nothing in run {}: {}", from.run, printable(&result.text)));
                }
                _ => say(&format!("{task} printed nothing in run {}", from.run)),
            }
        }
        Ok(FINE)
    }

    /// The run that made the result of an attempt in which no command ran.
    fn made_by(&self, attempt: &Attempt) -> Option<u64> {
        let memory = self.opened.known.task(self.task)?;
        let end = memory.end.as_ref().filter(|end| (end.run, end.n) == (attempt.run, attempt.n) && memory.last == Last::Well)?;
        let record = self.opened.known.read(memory.good?).ok()?;
        (record.run.number != end.run).then_some(record.run.number)
    }

    fn out(&self, run: u64, n: u16, result: Option<CauseFields>, follow: bool) -> Out {
        if !self.json {
            return match terminal::is_terminal() {
                true => Out::Screen(Screen::new(terminal::stdout().colour)),
                false => Out::Bytes,
            };
        }
        let site = &self.opened.site;
        let pipeline = PipelineFields {
            file: site.file.shown.clone(),
            name: self.opened.graph.name.clone(),
            workspace: site.workspace.to_string_lossy().into_owned(),
        };
        let log = LogJson {
            task: TaskFields::of(self.task),
            run,
            attempt: u32::from(n),
            result,
            path: format!(".flow/{}/{}", site.folder, log_name(&id(self.task, run, n))),
            bytes: 0,
            text: String::new(),
        };
        let json = Box::new(Json { pipeline, log, text: Text::default() });
        if follow { Out::Lines(json) } else { Out::Object(json) }
    }
}

/// Where the bytes go.
enum Out {
    /// As they are.
    Bytes,
    /// To a terminal.
    Screen(Screen),
    /// One object, its text written piece by piece.
    Object(Box<Json>),
    /// An object a piece, and one for the end.
    Lines(Box<Json>),
}

struct Json {
    pipeline: PipelineFields,
    log: LogJson,
    text: Text,
}

/// What closes an object after its text, which is its last field.
const CLOSING: &str = "\"}";

impl Out {
    /// Before the first byte; `bytes` is how many there will be, where that is known.
    fn begin(&mut self, bytes: u64) -> io::Result<bool> {
        let Out::Object(json) = self else { return Ok(true) };
        json.log.bytes = bytes;
        let object = json.log.text(&json.pipeline);
        terminal::write(object.strip_suffix(CLOSING).unwrap_or(&object).as_bytes())
    }

    /// False: the reader went away.
    fn put(&mut self, piece: &[u8]) -> io::Result<bool> {
        match self {
            Out::Bytes => terminal::write(piece),
            Out::Screen(screen) => terminal::write(screen.pass(piece, false).as_bytes()),
            Out::Object(json) => {
                let text = json.text.pass(piece, false);
                terminal::write(within_quotes(&text).as_bytes())
            }
            Out::Lines(json) => {
                json.log.text = json.text.pass(piece, false);
                json.log.bytes += piece.len() as u64;
                terminal::write(format!("{}\n", json.log.text(&json.pipeline)).as_bytes())
            }
        }
    }

    /// After the last byte.
    fn end(&mut self, result: Option<CauseFields>) -> io::Result<bool> {
        match self {
            Out::Bytes => Ok(true),
            Out::Screen(screen) => terminal::write(screen.pass(&[], true).as_bytes()),
            Out::Object(json) => {
                let text = json.text.pass(&[], true);
                terminal::write(format!("{}{CLOSING}\n", within_quotes(&text)).as_bytes())
            }
            Out::Lines(json) => {
                json.log.text = json.text.pass(&[], true);
                json.log.result = result;
                terminal::write(format!("{}\n", json.log.text(&json.pipeline)).as_bytes())
            }
        }
    }
}

/// Text as it stands between the quotes of JSON.
fn within_quotes(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}
