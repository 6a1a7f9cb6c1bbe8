//! A run as lines of text, on a terminal or a pipe.
//!
//! Owns what gets a line and what is only counted. Never touches the terminal itself. Must hold:
//! each take costs a few lookups however many tasks there are; a closed stderr stops nothing.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::words::{self, Again};
use super::{Paint, Style, failure};
use crate::event::{Counts, Event, How, Recovered, RunEnded, RunState, Sink, TaskDone, TaskEnded, TaskFailed, Warning};

/// Ended tasks of one stage that have a line each.
const LINES_A_STAGE: u64 = 5;
/// Failures, retries, and warnings of one kind that have a line each.
const LINES_OF_TROUBLE: u64 = 10;
/// Time between two countings of a stage on a pipe.
const COUNT_EVERY: i64 = 30_000_000_000;
/// Columns of the first word with the space behind it.
const VERB_COLUMNS: usize = 10;
/// Columns of the name with the spaces behind it: at first, and at most as names get longer.
const NAME_COLUMNS: (usize, usize) = (26, 44);

/// A place for text that is given up when a write fails.
pub(super) struct Out(Option<Box<dyn Write + Send>>);

impl Out {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Out {
        Out(Some(out))
    }

    /// Writes text as it is, at once.
    pub(super) fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(out) = &mut self.0
            && out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err()
        {
            self.0 = None;
        }
    }
}

/// Writes a run as lines.
pub struct Plain {
    out: Out,
    style: Style,
    again: Again,
    zone: fn() -> TimeZone,
    page: String,
    name_columns: usize,
    pipeline: String,
    open: HashMap<String, Open>,
    stages: HashMap<String, Stage>,
    counting: Vec<String>,
    counted_at: i64,
    failures: Failures,
    retries: u64,
    cancelled: u64,
    warnings: HashMap<String, u64>,
}

/// A task that has started and is not done.
#[derive(Default)]
struct Open {
    command: String,
    wall: Option<Duration>,
    log: bool,
}

/// What became of the tasks of a stage.
#[derive(Default)]
struct Stage {
    ended: u64,
    failed: u64,
    blocked: u64,
    todo: Option<u64>,
    said: u64,
}

#[derive(Default)]
struct Failures {
    /// The first one's message.
    first: Option<(String, String)>,
    lines: u64,
    more: u64,
    more_alike: u64,
}

impl Plain {
    /// Lines go to `out`; the first write that fails is the last.
    pub fn new(out: Box<dyn Write + Send>, style: Style, again: Again) -> Plain {
        Plain {
            out: Out::new(out),
            style,
            again,
            zone: TimeZone::system,
            page: String::new(),
            name_columns: NAME_COLUMNS.0,
            pipeline: String::new(),
            open: HashMap::new(),
            stages: HashMap::new(),
            counting: Vec::new(),
            counted_at: i64::MIN,
            failures: Failures::default(),
            retries: 0,
            cancelled: 0,
            warnings: HashMap::new(),
        }
    }

    /// With another time zone than the system's.
    pub fn zone(mut self, zone: fn() -> TimeZone) -> Plain {
        self.zone = zone;
        self
    }

    /// A line: the first word in its colour, a name, and what is said of it.
    fn line(&mut self, paint: Paint, verb: &str, name: &str, value: &str) {
        let name = words::printable(name);
        let most = match self.style.width {
            0 => 0,
            width => (width - 1).saturating_sub(VERB_COLUMNS + 2 + words::columns(value).min(width / 2)).max(12),
        };
        let name = words::cut(&name, most);
        let columns = words::columns(&name) + 2;
        if columns > self.name_columns && columns <= NAME_COLUMNS.1 {
            self.name_columns = columns;
        }
        let room = if most == 0 { self.name_columns } else { self.name_columns.min(most + 2) };
        let name = words::pad(&name, room.max(columns));
        let value = match self.style.width {
            0 => value.into(),
            width => words::cut(value, (width - 1).saturating_sub(VERB_COLUMNS + words::columns(&name)).max(1)),
        };
        let verb_padded = words::pad(verb, VERB_COLUMNS);
        let painted = self.style.paint(paint, verb) + verb_padded.get(verb.len()..).unwrap_or_default();
        let line = format!(" {painted}{name}{value}");
        self.page.push_str(line.trim_end());
        self.page.push('\n');
    }

    fn retry(&mut self, ended: &TaskEnded, wait: Duration) {
        self.retries += 1;
        if self.retries <= LINES_OF_TROUBLE {
            let (text, _) = failure::ended(&ended.result, Some(ended.usage.wall_s.0));
            self.line(Paint::Odd, "retry", &ended.task.task, &format!("{text}, again in {}", words::duration(wait)));
        }
    }

    fn done(&mut self, done: &TaskDone) {
        let open = self.open.remove(&done.task.task).unwrap_or_default();
        let stage = self.stages.entry(done.task.stage.clone()).or_default();
        stage.ended += 1;
        let ended = stage.ended;
        if ended <= LINES_A_STAGE {
            let bytes = || words::size(done.outputs.iter().map(|output| output.bytes).sum());
            let (paint, verb, mut value) = match done.how {
                How::Ran | How::Unknown => (Paint::Good, "ran", open.wall.map(words::duration).unwrap_or_default()),
                How::Restored => (Paint::Free, "restored", bytes()),
                How::TakenOver => (Paint::Free, "same", bytes()),
            };
            if !done.recorded {
                value.push_str(", runs again next time");
            }
            self.line(paint, verb, &done.task.task, value.trim_start_matches(", "));
        }
        self.count(&done.task.stage, ended);
    }

    fn failed(&mut self, at: i64, failed: &TaskFailed) {
        let open = self.open.remove(&failed.task.task).unwrap_or_default();
        if failed.result.cause == "cancelled" {
            return self.cancelled(failed, open.wall);
        }
        let message = failure::message(failed);
        let first = self.failures.first.is_none() && !failed.allowed;
        let alike = self.failures.first.as_ref() == Some(&message);
        if first {
            self.failures.first = Some(message);
        }
        if first || self.failures.lines < LINES_OF_TROUBLE {
            self.failures.lines += 1;
            let (mut text, hint) = failure::ended(&failed.result, open.wall);
            if failed.allowed {
                text.push_str(" (allowed)");
            }
            if first {
                match hint {
                    Some(hint) if self.style.width == 0 => {
                        self.line(Paint::Bad, "failed", &failed.task.task, &format!("{text} {hint}"));
                    }
                    Some(hint) => {
                        self.line(Paint::Bad, "failed", &failed.task.task, &text);
                        failure::prose(&hint, &self.style, &mut self.page);
                    }
                    None => self.whole_line(&failed.task.task, &text),
                }
                let known = failure::Known { command: &open.command, log: open.log, now: at };
                failure::block(failed, &known, &self.style, &self.again, &(self.zone)(), &mut self.page);
            } else {
                match (alike, failure::last_line(failed)) {
                    (true, _) => text.push_str(", the same message"),
                    (false, line) if line.is_empty() => {}
                    (false, line) => text.push_str(&format!(": {}", line.trim_start())),
                }
                self.line(Paint::Bad, "failed", &failed.task.task, &text);
            }
        } else {
            self.failures.more += 1;
            self.failures.more_alike += u64::from(alike);
        }
        let stage = self.stages.entry(failed.task.stage.clone()).or_default();
        stage.ended += 1;
        stage.failed += 1;
        let ended = stage.ended;
        self.count(&failed.task.stage, ended);
    }

    /// It did not fail by itself: a line, and nothing of its log.
    fn cancelled(&mut self, failed: &TaskFailed, wall: Option<Duration>) {
        self.cancelled += 1;
        if self.cancelled <= LINES_OF_TROUBLE {
            let after = wall.map(|wall| format!("after {}", words::duration(wall))).unwrap_or_default();
            self.line(Paint::Odd, "cancelled", &failed.task.task, &after);
        }
        let stage = self.stages.entry(failed.task.stage.clone()).or_default();
        stage.ended += 1;
        let ended = stage.ended;
        self.count(&failed.task.stage, ended);
    }

    /// The line of the first failure: a text that does not fit stands below it, not cut.
    fn whole_line(&mut self, name: &str, text: &str) {
        let fits = self.style.width == 0
            || 1 + VERB_COLUMNS + self.name_columns.max(words::columns(name) + 2) + words::columns(text) <= self.style.width;
        if fits {
            self.line(Paint::Bad, "failed", name, text);
        } else {
            self.line(Paint::Bad, "failed", name, "");
            failure::prose(text, &self.style, &mut self.page);
        }
    }

    /// Looks whether a stage is to be counted now.
    fn count(&mut self, name: &str, ended: u64) {
        if ended == LINES_A_STAGE + 1 {
            self.counting.push(name.to_owned());
        }
        if ended <= LINES_A_STAGE {
            return;
        }
        let Some(stage) = self.stages.get_mut(name) else { return };
        if stage.todo.is_some_and(|todo| stage.ended + stage.blocked >= todo) && stage.said != stage.ended {
            self.say_count(name);
        }
    }

    /// The line that counts a stage: `daily  812 of 1000, 2 failed`.
    fn say_count(&mut self, name: &str) {
        let Some(stage) = self.stages.get_mut(name) else { return };
        stage.said = stage.ended;
        let mut text = match stage.todo {
            Some(todo) if todo >= stage.ended => format!("{} of {todo}", stage.ended),
            _ => stage.ended.to_string(),
        };
        let failed = stage.failed;
        if failed > 0 {
            text.push_str(", ");
            text.push_str(&self.style.paint(Paint::Bad, &format!("{failed} failed")));
        }
        let name = words::printable(name);
        let name = words::cut(&name, self.style.width.saturating_sub(30));
        self.page.push_str(&format!(" {name}  {text}\n"));
    }

    /// On a pipe, stages that go on for long are counted now and then.
    fn count_by_time(&mut self, at: i64) {
        if self.style.live || self.counting.is_empty() {
            return;
        }
        if self.counted_at == i64::MIN {
            self.counted_at = at;
        }
        if at.saturating_sub(self.counted_at) >= COUNT_EVERY {
            self.counted_at = at;
            self.say_counts();
        }
    }

    /// Counts every stage that has something new to count.
    fn say_counts(&mut self) {
        for name in self.counting.clone() {
            if self.stages.get(&name).is_some_and(|stage| stage.said != stage.ended) {
                self.say_count(&name);
            }
        }
    }

    fn warning(&mut self, warning: &Warning) {
        let count = self.warnings.entry(warning.code.clone()).or_default();
        *count += 1;
        if *count > LINES_OF_TROUBLE {
            return;
        }
        let message = words::printable(&warning.message).into_owned();
        let text = match &warning.place {
            Some(place) => format!("{message} ({})", words::printable(place)),
            None => message,
        };
        let verb = words::pad("warning", VERB_COLUMNS);
        let rest = verb.get("warning".len()..).unwrap_or_default();
        let most = if self.style.width == 0 { usize::MAX } else { self.style.width.saturating_sub(VERB_COLUMNS + 1).max(20) };
        for (n, line) in words::wrap(&text, most).iter().enumerate() {
            match n {
                0 => self.page.push_str(&format!(" {}{rest}{line}\n", self.style.paint(Paint::Odd, "warning"))),
                _ => self.page.push_str(&format!(" {}{line}\n", " ".repeat(VERB_COLUMNS))),
            }
        }
    }

    fn recovered(&mut self, recovered: &Recovered) {
        let did: Vec<&str> = recovered
            .did
            .iter()
            .map(|did| match did.as_str() {
                "stopped_children" => "what was left of it is stopped",
                "kept_partial" => "what it wrote is kept",
                "put_back" => "its last result is back",
                other => other,
            })
            .collect();
        let text = format!("run {} died while it ran{}{}", recovered.of_run, if did.is_empty() { "" } else { "; " }, did.join(", "));
        self.line(Paint::Odd, "recovered", &recovered.task.task, &words::printable(&text));
    }

    fn run_ended(&mut self, ended: &RunEnded) {
        self.say_counts();
        let Failures { more, more_alike, .. } = self.failures;
        if more > 0 {
            let alike = match more_alike {
                0 => String::new(),
                alike if alike == more => ", all with the same message as the first".into(),
                alike => format!(", {alike} of them with the same message as the first"),
            };
            self.page.push_str(&format!(" and {more} more failed{alike}: {}\n", self.again.command("status", &[])));
        }
        let mut kinds: Vec<(&String, &u64)> = self.warnings.iter().filter(|(_, count)| **count > LINES_OF_TROUBLE).collect();
        kinds.sort();
        for (code, count) in kinds {
            let more = words::count(count - LINES_OF_TROUBLE, "more warning");
            self.page.push_str(&format!(" and {more} of the kind {}\n", words::printable(code)));
        }
        if let Some(more) = self.cancelled.checked_sub(LINES_OF_TROUBLE).filter(|more| *more > 0) {
            self.page.push_str(&format!(" and {more} more cancelled\n"));
        }
        // What was cancelled is on record as failed; people are told apart what failed by itself.
        let counts = &Counts { failed: ended.counts.failed.saturating_sub(self.cancelled), ..ended.counts };
        let mut text = String::new();
        if ended.state == RunState::Interrupted {
            text.push_str("interrupted, ");
        }
        match self.cancelled {
            0 => text.push_str(&words::counts(counts)),
            cancelled => {
                text.push_str(&format!("{cancelled} cancelled"));
                let others = words::counts(counts);
                if others != words::counts(&Counts::default()) {
                    text.push_str(&format!(", {others}"));
                }
            }
        }
        text.push_str(&format!(" in {}", words::duration(ended.wall_s.0)));
        if ended.saved_s.0 >= Duration::from_millis(100) {
            text.push_str(&format!(" (saved {})", words::duration(ended.saved_s.0)));
        }
        let paint = if matches!(ended.state, RunState::Fine) { Paint::Good } else { Paint::Bad };
        let name = self.style.paint(paint, &words::printable(&self.pipeline));
        self.page.push_str(&format!(" {name}: {text}\n"));
        let next = match (ended.state, counts.failed) {
            (RunState::Fine | RunState::Running | RunState::Unknown, _) => return,
            (RunState::Failed, 1) => "after mending it",
            (RunState::Failed, 2..) => "after mending them",
            _ => "to go on",
        };
        let resume = self.again.command("resume", &[]);
        self.page.push_str(&format!(" {next}: {}\n", self.style.paint(Paint::Bold, &resume)));
    }

    /// Hands over what is to be written, instead of writing it: for those who draw below the lines.
    pub(super) fn lines(&mut self, at: i64, event: &Event) -> String {
        self.note(at, event);
        std::mem::take(&mut self.page)
    }

    fn note(&mut self, at: i64, event: &Event) {
        match event {
            Event::RunStarted(started) => self.pipeline.clone_from(&started.pipeline.name),
            Event::TaskStarted(started) => {
                let open = Open { command: started.command.clone(), ..Open::default() };
                self.open.insert(started.task.task.clone(), open);
            }
            Event::TaskEnded(ended) => {
                if let Some(open) = self.open.get_mut(&ended.task.task) {
                    open.wall = Some(ended.usage.wall_s.0);
                    open.log = ended.log.is_some();
                }
                if let Some(wait) = ended.retry_in_s {
                    self.retry(ended, wait.0);
                }
            }
            Event::TaskDone(done) => self.done(done),
            Event::TaskFailed(failed) => self.failed(at, failed),
            Event::TaskBlocked(blocked) => {
                let stage = self.stages.entry(blocked.task.stage.clone()).or_default();
                stage.blocked += 1;
                let ended = stage.ended;
                self.count(&blocked.task.stage, ended);
            }
            Event::Warning(warning) => self.warning(warning),
            Event::Recovered(recovered) => self.recovered(recovered),
            Event::Adopted(adopted) => {
                let text = format!("still running since run {}", adopted.of_run);
                self.line(Paint::Free, "adopted", &adopted.task.task, &text);
            }
            Event::Progress(progress) => {
                for changed in &progress.stages {
                    let stage = self.stages.entry(changed.stage.clone()).or_default();
                    stage.todo = Some(changed.todo);
                    let ended = stage.ended;
                    if ended > LINES_A_STAGE && ended + stage.blocked >= changed.todo && stage.said != ended {
                        self.say_count(&changed.stage);
                    }
                }
            }
            Event::RunEnded(ended) => self.run_ended(ended),
            Event::TaskAdded(_) | Event::ItemMoved(_) => {}
        }
        self.count_by_time(at);
    }
}

impl Sink for Plain {
    fn take(&mut self, at: i64, event: &Event) {
        self.note(at, event);
        self.out.write(&self.page);
        self.page.clear();
    }
}

#[cfg(test)]
pub(super) mod tests;
