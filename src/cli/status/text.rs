//! The status as people read it: a head, a line for each state, and the next thing to type.
//!
//! Owns the layout. Must hold: nothing wraps by accident; what needs no care has no line but a count.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::{Status, is_calm};
use crate::cli::listing::{Tally, now};
use crate::event::{Run, RunState};
use crate::name::TaskId;
use crate::plan::decide::Verdict;
use crate::record::known::Last;
use crate::report::json::{StateWord, StatusTask, VerdictWord};
use crate::report::words as say;
use crate::report::{Paint, Style};

/// Columns of the words, and of the gaps beside the number.
const WORD_COLUMNS: usize = 12;

/// Stages, or failed tasks, that are named.
const MOST_NAMED: usize = 5;

/// Missing sources that are named.
const MOST_MISSING: usize = 5;

/// One line of the table; a line without a word goes on with the one above.
#[derive(Default)]
struct Row {
    paint: Option<Paint>,
    word: &'static str,
    count: Option<u64>,
    who: String,
    note: String,
}

/// What a line counts, in the order of the lines.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Line {
    Running,
    UpToDate,
    Stale,
    NeverRan,
    Failed,
    Interrupted,
    Blocked,
    Unknown,
    Always,
    Manual,
}

const LINES: [Line; 10] = [
    Line::Running,
    Line::UpToDate,
    Line::Stale,
    Line::NeverRan,
    Line::Failed,
    Line::Interrupted,
    Line::Blocked,
    Line::Unknown,
    Line::Always,
    Line::Manual,
];

type Group<'a> = Vec<(TaskId, &'a StatusTask)>;

impl Status<'_> {
    /// The whole text.
    pub(super) fn text(&self, style: &Style) -> String {
        let mut out = self.head(style);
        let mut groups: HashMap<Line, Group<'_>> = HashMap::new();
        for (&id, task) in self.listed.iter().zip(&self.json.tasks) {
            groups.entry(self.line(id, task)).or_default().push((id, task));
        }
        let mut rows = Vec::new();
        for line in LINES {
            if let Some(group) = groups.get(&line) {
                self.rows(line, group, &mut rows);
            }
        }
        self.gone(&mut rows);
        table(&rows, style, &mut out);
        for note in self.notes() {
            prose(&note, style, &mut out);
        }
        if let Some(next) = self.next() {
            out.push_str(&format!("next: {}\n", style.paint(Paint::Bold, &next)));
        }
        out
    }

    /// `etl  ·  last run 24 Nov 18:02, failed after 41 s  ·  412 tasks`
    fn head(&self, style: &Style) -> String {
        let (now, zone) = (now(), TimeZone::system());
        let name = say::printable(&self.seen.graph.name).into_owned();
        let run = match (&self.json.running, &self.json.last_run) {
            (Some(running), _) => {
                let since = running.started.map(|at| format!(" since {}", say::local_clock(at.0, now, &zone))).unwrap_or_default();
                let counts = &running.counts;
                let done = if counts.total > 0 { format!(", {} of {}", counts.done(), counts.total) } else { String::new() };
                format!("running{since}{done}")
            }
            (None, Some(run)) => last_run(run, now, &zone),
            (None, None) => "never run".into(),
        };
        let (listed, all) = (self.listed.len() as u64, self.seen.graph.tasks.len() as u64);
        let tasks = if listed == all { say::count(all, "task") } else { format!("{listed} of {}", say::count(all, "task")) };
        let rest = format!("  ·  {run}  ·  {tasks}");
        let room = style.width.saturating_sub(1);
        if style.width > 0 && say::columns(&name) + say::columns(&rest) > room {
            let name = say::cut(&name, room.max(8)).into_owned();
            let rest = format!("  {run}  ·  {tasks}");
            return format!("{}\n{}\n", style.paint(Paint::Bold, &name), say::cut(&rest, room));
        }
        format!("{}{rest}\n", style.paint(Paint::Bold, &name))
    }

    /// Which line a task counts in.
    fn line(&self, id: TaskId, task: &StatusTask) -> Line {
        let apart = matches!(task.state, StateWord::Stale | StateWord::NeverRan | StateWord::Blocked | StateWord::Unknown);
        match task.state {
            _ if apart && !self.usual[id.index()] => Line::Manual,
            StateWord::Stale if is_calm(self.seen, id) => Line::Always,
            StateWord::UpToDate | StateWord::Off => Line::UpToDate,
            StateWord::Stale => Line::Stale,
            StateWord::Failed => Line::Failed,
            StateWord::Interrupted => Line::Interrupted,
            StateWord::Blocked => Line::Blocked,
            StateWord::NeverRan => Line::NeverRan,
            StateWord::Running => Line::Running,
            StateWord::Unknown => Line::Unknown,
        }
    }

    fn rows(&self, line: Line, group: &Group<'_>, rows: &mut Vec<Row>) {
        let count = Some(group.len() as u64);
        let row = |paint: Paint, word: &'static str, who: String, note: String| Row { paint: Some(paint), word, count, who, note };
        match line {
            Line::UpToDate => rows.push(row(Paint::Good, "up to date", String::new(), self.failed_before(group))),
            Line::Running => rows.push(row(Paint::Bold, "running", self.who(group), String::new())),
            Line::Stale => rows.push(row(Paint::Odd, "stale", self.who(group), why(group))),
            Line::NeverRan => rows.push(row(Paint::Odd, "never ran", self.who(group), String::new())),
            Line::Interrupted => rows.push(row(Paint::Odd, "interrupted", self.who(group), "flow ended while it ran".into())),
            Line::Blocked => rows.push(row(Paint::Odd, "not run", self.below(group), String::new())),
            Line::Unknown => rows.push(row(Paint::Odd, "unknown", self.who(group), self.unknown(group))),
            Line::Always => rows.push(row(Paint::Dim, "always", self.who(group), why(group))),
            Line::Manual => rows.push(row(Paint::Dim, "manual", self.who(group), "when it is named".into())),
            Line::Failed => {
                for (n, (id, task)) in group.iter().enumerate().take(MOST_NAMED) {
                    let (who, note) = (self.name(*id), self.cause(task));
                    rows.push(if n == 0 { row(Paint::Bad, "failed", who, note) } else { Row { who, note, ..Row::default() } });
                }
                if group.len() > MOST_NAMED {
                    rows.push(Row { who: format!("and {} more", group.len() - MOST_NAMED), ..Row::default() });
                }
            }
        }
    }

    fn name(&self, id: TaskId) -> String {
        say::printable(self.seen.graph.task(id).name.as_str()).into_owned()
    }

    /// `clean 4 of 80   report 8 of 80`
    fn who(&self, group: &Group<'_>) -> String {
        let mut stages: Vec<(usize, u64)> = Vec::new();
        for (id, _) in group {
            let stage = self.seen.graph.task(*id).stage.index();
            match stages.last_mut() {
                Some((last, count)) if *last == stage => *count += 1,
                _ => stages.push((stage, 1)),
            }
        }
        let mut said: Vec<String> = stages
            .iter()
            .take(MOST_NAMED)
            .map(|(stage, count)| {
                let stage = &self.seen.graph.stages[*stage];
                let all = stage.tasks.1 - stage.tasks.0;
                let name = say::printable(&stage.name);
                if all == 1 { name.into_owned() } else { format!("{name} {count} of {all}") }
            })
            .collect();
        if stages.len() > MOST_NAMED {
            said.push(format!("and {} more stages", stages.len() - MOST_NAMED));
        }
        said.join("   ")
    }

    /// `below train`
    fn below(&self, group: &Group<'_>) -> String {
        let mut roots: Vec<TaskId> = group.iter().filter_map(|(id, _)| self.below[id.index()]).collect();
        roots.sort_unstable();
        roots.dedup();
        let names: Vec<String> = roots.iter().map(|id| self.name(*id)).collect();
        format!("below {}", say::some(&names, 3))
    }

    /// `exit status 1: flow log train`
    fn cause(&self, task: &StatusTask) -> String {
        let Some(last) = &task.last else { return String::new() };
        let text = say::printable(&last.result.text);
        match last.log {
            Some(_) => format!("{text}: {}", self.again.command("log", &[&task.task.task])),
            None => text.into_owned(),
        }
    }

    /// Tasks that are up to date although their last attempt failed.
    fn failed_before(&self, group: &Group<'_>) -> String {
        let failed: Vec<&(TaskId, &StatusTask)> = group
            .iter()
            .filter(|(id, _)| {
                let memory = self.seen.opened.known.task(&self.seen.graph.task(*id).name);
                memory.is_some_and(|memory| memory.last == Last::Failed)
            })
            .collect();
        match failed.as_slice() {
            [] => String::new(),
            [(_, task)] => format!("last attempt failed of {}", self.named_cause(task)),
            [(_, first), rest @ ..] => format!("last attempt failed of {} and {} more", self.named_cause(first), rest.len()),
        }
    }

    fn named_cause(&self, task: &StatusTask) -> String {
        format!("{}: {}", say::printable(&task.task.task), self.cause(task))
    }

    fn unknown(&self, group: &Group<'_>) -> String {
        let Some((id, _)) = group.first() else { return String::new() };
        if let Some((_, words)) = self.seen.walked.faults.iter().find(|(task, _)| task == id) {
            return say::printable(words).into_owned();
        }
        match self.seen.verdict(*id) {
            Verdict::Unknown(what) => {
                format!("`{}` was never asked: {}", say::printable(what), self.again.command("status", &["--fresh"]))
            }
            _ => String::new(),
        }
    }

    /// What is gone from the file and still on disk.
    fn gone(&self, rows: &mut Vec<Row>) {
        let gone = &self.json.gone;
        if gone.is_empty() || self.listed.len() != self.seen.graph.tasks.len() {
            return;
        }
        let names: Vec<String> = gone.iter().map(|gone| say::printable(&gone.task.task).into_owned()).collect();
        let (outputs, bytes) =
            gone.iter().flat_map(|gone| &gone.outputs).fold((0, 0), |(count, bytes): (u64, u64), output| (count + 1, bytes + output.bytes));
        let note = format!("{}, {} on disk", say::count(outputs, "output"), say::size(bytes));
        rows.push(Row { paint: Some(Paint::Dim), word: "gone", count: Some(gone.len() as u64), who: say::some(&names, 2), note });
    }

    /// What has a sentence of its own below the table.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for missing in self.missing.iter().take(MOST_MISSING) {
            let near = missing.near.as_ref().map(|near| format!("; {}", say::printable(near))).unwrap_or_default();
            notes.push(format!(
                "{} is not there, and {} needs it ({}){near}",
                say::printable(missing.path.as_str()),
                say::printable(missing.task.as_str()),
                say::printable(&missing.place)
            ));
        }
        if self.missing.len() > MOST_MISSING {
            notes.push(format!("and {} more sources are not there", self.missing.len() - MOST_MISSING));
        }
        let spoilt: Vec<(&StatusTask, &str)> = self
            .json
            .tasks
            .iter()
            .filter_map(|task| {
                let reason = task.reasons.iter().find(|reason| reason.reason == "spoilt")?;
                Some((task, reason.what.as_deref()?))
            })
            .collect();
        if let Some(((task, what), rest)) = spoilt.split_first() {
            let more = if rest.is_empty() { String::new() } else { format!(", and {} more likewise", rest.len()) };
            notes.push(format!(
                "{} will run again: {} changed while {} ran{more}",
                spoilt.len(),
                say::printable(what),
                say::printable(&task.task.task)
            ));
        }
        if let Some(run) = self.seen.as_of {
            notes.push(format!("tools as of run {run}; {} asks again", self.again.command("status", &["--fresh"])));
        }
        if let Some(damage) = &self.seen.opened.damage {
            notes.push(format!("{}: the next run reads everything again", say::printable(&damage.to_string())));
        }
        notes
    }

    /// The next thing to type.
    fn next(&self) -> Option<String> {
        if self.json.running.is_some() {
            return None;
        }
        let usual = |wanted: fn(Line) -> bool| {
            self.listed.iter().zip(&self.json.tasks).any(|(id, task)| self.usual[id.index()] && wanted(self.line(*id, task)))
        };
        let to_do = usual(|line| !matches!(line, Line::UpToDate | Line::Always | Line::Unknown));
        match (to_do, self.resumable) {
            (true, true) => Some(self.again.command("resume", &[])),
            (true, false) => Some(self.again.command("run", &[])),
            (false, _) if usual(|line| line == Line::Unknown) => Some(self.again.command("status", &["--fresh"])),
            (false, _) => None,
        }
    }
}

/// `last run 24 Nov 18:02, failed after 41 s`
fn last_run(run: &Run, now: i64, zone: &TimeZone) -> String {
    let at = run.ended.or(run.started).map(|at| format!(" {}", say::local_time(at.0, now, zone))).unwrap_or_default();
    let took = run.wall_s.map(|wall| format!(" after {}", say::duration(wall.0))).unwrap_or_default();
    let how = match run.state {
        RunState::Failed if run.exit == Some(i32::from(crate::cli::error::BROKEN)) => "could not go on",
        state => say::state(state),
    };
    format!("last run{at}, {how}{took}")
}

/// `input changed 9, config changed 3`
fn why(group: &Group<'_>) -> String {
    let mut tally = Tally::default();
    for (_, task) in group {
        match task.verdict {
            VerdictWord::Restore => tally.one("to restore"),
            _ => tally.add(&task.reasons),
        }
    }
    tally.said()
}

/// The lines in columns. What does not fit beside goes below.
fn table(rows: &[Row], style: &Style, out: &mut String) {
    let digits = rows.iter().filter_map(|row| row.count).max().unwrap_or_default().to_string().len();
    let indent = 2 + WORD_COLUMNS + 1 + digits + 3;
    let who_columns =
        rows.iter().filter(|row| !row.note.is_empty()).map(|row| say::columns(&row.who)).filter(|columns| *columns <= 60).max();
    let who_columns = who_columns.unwrap_or_default();
    for row in rows {
        let word = match row.paint {
            Some(paint) => style.paint(paint, row.word) + &" ".repeat(WORD_COLUMNS.saturating_sub(row.word.len())),
            None => " ".repeat(WORD_COLUMNS),
        };
        let count = row.count.map(|count| count.to_string()).unwrap_or_default();
        let head = format!("  {word} {count:>digits$}   ");
        let gap = if who_columns == 0 { "" } else { "   " };
        let whole = format!("{}{gap}{}", say::pad(&row.who, who_columns), row.note);
        let whole = whole.trim_end();
        let room = style.width.saturating_sub(indent + 1);
        if style.width == 0 || say::columns(whole) <= room {
            out.push_str(format!("{head}{whole}").trim_end());
            out.push('\n');
            continue;
        }
        let lines: Vec<String> =
            [&row.who, &row.note].iter().filter(|text| !text.is_empty()).flat_map(|text| say::wrap(text, room.max(20))).collect();
        for (n, line) in lines.iter().enumerate() {
            let head = if n == 0 { head.clone() } else { " ".repeat(indent) };
            out.push_str(format!("{head}{}", say::cut(line.trim_end(), room.max(20))).trim_end());
            out.push('\n');
        }
    }
}

/// A sentence below the table.
fn prose(text: &str, style: &Style, out: &mut String) {
    let lines = if style.width == 0 { vec![text.to_string()] } else { say::wrap(text, style.width.saturating_sub(5).max(20)) };
    for (n, line) in lines.iter().enumerate() {
        out.push_str(if n == 0 { " " } else { "   " });
        out.push_str(line);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_their_terminal() {
        let rows = [
            Row { paint: Some(Paint::Good), word: "up to date", count: Some(396), ..Row::default() },
            Row {
                paint: Some(Paint::Odd),
                word: "stale",
                count: Some(12),
                who: "clean 4 of 80   report 8 of 80".into(),
                note: "input changed 9, config changed 3".into(),
            },
            Row {
                paint: Some(Paint::Bad),
                word: "failed",
                count: Some(1),
                who: "train@customer=with-a-long-name".into(),
                note: "exit status 141 (a reader such as head closed the pipe, and pipefail counts that): flow log train".into(),
            },
        ];
        let shown = |width: usize| {
            let mut out = String::new();
            table(&rows, &Style { width, ..Style::default() }, &mut out);
            out
        };
        for width in 50..200 {
            assert!(shown(width).lines().all(|line| say::columns(line) < width), "{}", shown(width));
        }
        assert_eq!(
            shown(0).lines().nth(1).unwrap(),
            "  stale         12   clean 4 of 80   report 8 of 80    input changed 9, config changed 3"
        );
    }
}
