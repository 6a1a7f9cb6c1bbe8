//! Past runs, read from the text of their `events.jsonl`.
//!
//! Opens no file: a reader is handed in. Must hold: whatever the text is, reading it ends, with
//! bounded memory; a torn last line, unknown events and fields are passed over.

use std::io::{self, BufRead, Read};

use crate::event::{CauseFields, Event, How, Line, ReasonFields, Run, RunState, SHAPE, TaskFields, Time, UsageFields};

/// Longest line that is looked at, in bytes; longer ones are passed over.
const LINE_BYTES: u64 = 16 << 20;

/// The lines of a run's events that can be understood.
pub struct Lines<R> {
    reader: R,
    line: Vec<u8>,
}

/// Reads the lines of a run's events; a fault of the reader ends it.
pub fn lines<R: BufRead>(reader: R) -> Lines<R> {
    Lines { reader, line: Vec::new() }
}

impl<R: BufRead> Lines<R> {
    /// The next line, whole or torn; `None` at the end.
    fn next_text(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        if self.reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        if self.line.len() as u64 == LINE_BYTES && !self.line.ends_with(b"\n") {
            self.line.clear();
            skip_line(&mut self.reader)?;
        }
        Ok(Some(&self.line))
    }
}

/// Reads on to the end of a line without keeping it.
fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return Ok(());
        }
        let (used, whole) = match part.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (part.len(), false),
        };
        reader.consume(used);
        if whole {
            return Ok(());
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        while let Ok(Some(text)) = self.next_text() {
            let Ok(mut line) = serde_json::from_slice::<Line>(text) else { continue };
            if line.flow != SHAPE {
                continue;
            }
            if let Event::RunStarted(started) = &mut line.event {
                started.run = line.run;
            }
            return Some(line);
        }
        None
    }
}

/// One run, summed up. `alive`: the process that writes these events still lives (its lock says
/// so), so that a missing end means `running` and not `killed`. `None`: it has no start.
///
/// Of a run without an end the counts are those of its lines: what was up to date is what was known
/// as it started.
pub fn read(reader: impl BufRead, alive: bool) -> Option<Run> {
    let mut run: Option<Run> = None;
    for line in lines(reader) {
        match (&mut run, line.event) {
            // A second start in one file would be another run's; the first counts.
            (None, Event::RunStarted(started)) => {
                run = Some(Run {
                    run: line.run,
                    resumes: started.resumes,
                    state: if alive { RunState::Running } else { RunState::Killed },
                    started: Some(line.time),
                    args: started.args,
                    selectors: started.selectors,
                    profiles: started.profiles,
                    set: started.set,
                    jobs: started.jobs,
                    counts: started.counts,
                    ..Run::default()
                });
            }
            (Some(run), event) => note(run, line.time, &event),
            (None, _) => {}
        }
    }
    run
}

fn note(run: &mut Run, time: Time, event: &Event) {
    match event {
        Event::TaskAdded(_) => run.counts.total += 1,
        Event::TaskDone(done) => match done.how {
            How::Ran | How::Unknown => run.counts.ran += 1,
            How::Restored => run.counts.restored += 1,
            How::TakenOver => run.counts.up_to_date += 1,
        },
        Event::TaskFailed(failed) if failed.allowed => run.counts.failed_allowed += 1,
        Event::TaskFailed(_) => run.counts.failed += 1,
        Event::TaskBlocked(_) => run.counts.not_run += 1,
        Event::RunEnded(ended) => {
            run.state = ended.state;
            run.ended = Some(time);
            run.wall_s = Some(ended.wall_s);
            run.exit = Some(ended.exit);
            run.saved_s = ended.saved_s;
            run.counts = ended.counts;
        }
        _ => {}
    }
}

/// One attempt of a task, as a run's events tell it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Execution {
    /// Which task.
    pub task: TaskFields,
    /// Counts from 1.
    pub attempt: u32,
    /// In which run.
    pub run: Option<u64>,
    /// When it started.
    pub started: Option<Time>,
    /// When it ended; `None`: it has no end on record (it runs, or died with its flow).
    pub ended: Option<Time>,
    /// How it ended.
    pub result: Option<CauseFields>,
    /// Why it ran.
    pub reasons: Vec<ReasonFields>,
    /// What it used.
    pub usage: UsageFields,
    /// Its log's path in the workspace.
    pub log: Option<String>,
    /// Its command.
    pub command: String,
}

/// The attempts of one task in a run, or of all tasks, in the order they started.
pub fn executions(reader: impl BufRead, task: Option<&str>) -> Vec<Execution> {
    let mut all: Vec<Execution> = Vec::new();
    let mut open = std::collections::HashMap::new();
    for line in lines(reader) {
        match line.event {
            Event::TaskStarted(started) if task.is_none_or(|task| task == started.task.task) => {
                open.insert((started.task.task.clone(), started.attempt), all.len());
                all.push(Execution {
                    task: started.task,
                    attempt: started.attempt,
                    run: line.run,
                    started: Some(line.time),
                    reasons: started.reasons,
                    command: started.command,
                    ..Execution::default()
                });
            }
            Event::TaskEnded(ended) if task.is_none_or(|task| task == ended.task.task) => {
                let at = open.remove(&(ended.task.task.clone(), ended.attempt)).unwrap_or_else(|| {
                    all.push(Execution { task: ended.task, attempt: ended.attempt, run: line.run, ..Execution::default() });
                    all.len() - 1
                });
                let Some(execution) = all.get_mut(at) else { continue };
                execution.ended = Some(line.time);
                execution.result = Some(ended.result);
                execution.usage = ended.usage;
                execution.log = ended.log;
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::attempt::Cause;
    use crate::event::{Counts, RunEnded, RunStarted, Secs, TaskBlocked, TaskDone, TaskEnded, TaskFailed, TaskStarted};

    fn fields(name: &str) -> TaskFields {
        TaskFields::of(&name.into())
    }

    /// The text of a run of two tasks, the second of which fails; one second apart.
    fn text() -> String {
        let events = [
            Event::RunStarted(Box::new(RunStarted {
                args: vec!["run".into(), "-j2".into()],
                selectors: vec!["train".into()],
                jobs: 2,
                counts: Counts { up_to_date: 4, total: 9, ..Counts::default() },
                ..RunStarted::default()
            })),
            Event::TaskStarted(TaskStarted { task: fields("clean"), attempt: 1, command: "c".into(), ..TaskStarted::default() }),
            Event::TaskEnded(TaskEnded {
                task: fields("clean"),
                attempt: 1,
                result: CauseFields::of(&Cause::Success),
                log: Some("log".into()),
                ..TaskEnded::default()
            }),
            Event::TaskDone(TaskDone { task: fields("clean"), ..TaskDone::default() }),
            Event::TaskDone(TaskDone { task: fields("compare"), how: How::Restored, ..TaskDone::default() }),
            Event::TaskStarted(TaskStarted { task: fields("train"), attempt: 1, ..TaskStarted::default() }),
            Event::TaskFailed(Box::new(TaskFailed { task: fields("train"), ..TaskFailed::default() })),
            Event::TaskBlocked(TaskBlocked { task: fields("report"), by: "train".into() }),
            Event::RunEnded(RunEnded {
                state: RunState::Failed,
                exit: 1,
                wall_s: Secs(Duration::from_secs(8)),
                counts: Counts { ran: 1, restored: 1, up_to_date: 4, failed: 1, not_run: 1, not_started: 1, total: 9, ..Counts::default() },
                ..RunEnded::default()
            }),
        ];
        let mut text = String::new();
        for (n, event) in events.iter().enumerate() {
            text.push_str(&event.line(n as u64, n as i64 * 1_000_000_000, Some(2031)).unwrap());
            text.push('\n');
        }
        text
    }

    #[test]
    fn a_run_that_ended() {
        let run = read(text().as_bytes(), false).unwrap();
        assert_eq!((run.run, run.state, run.exit), (Some(2031), RunState::Failed, Some(1)));
        assert_eq!((run.started, run.ended), (Some(Time(0)), Some(Time(8_000_000_000))));
        assert_eq!(run.args, ["run", "-j2"]);
        assert_eq!(run.selectors, ["train"]);
        assert_eq!(run.counts.not_started, 1);
    }

    #[test]
    fn a_run_without_an_end_was_killed_or_goes_on() {
        let text = text();
        let cut = text.find("run_ended").unwrap();
        let run = read(&text.as_bytes()[..cut], false).unwrap();
        assert_eq!((run.state, run.ended, run.exit), (RunState::Killed, None, None));
        let want = Counts { ran: 1, restored: 1, up_to_date: 4, failed: 1, not_run: 1, total: 9, ..Counts::default() };
        assert_eq!(run.counts, want);
        assert_eq!(read(&text.as_bytes()[..cut], true).unwrap().state, RunState::Running);
    }

    #[test]
    fn cut_anywhere_it_is_still_read() {
        let text = text();
        let first = text.find('\n').unwrap();
        for end in 0..text.len() {
            let run = read(&text.as_bytes()[..end], false);
            assert_eq!(run.is_some(), end >= first, "{end}");
            let _ = executions(&text.as_bytes()[..end], None);
        }
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let mut lines: Vec<String> = text().lines().map(Into::into).collect();
        lines.insert(1, r#"{"flow":1,"seq":1,"time":"1970-01-01T00:00:00.000Z","run":2031,"event":"moon_rose","phase":1}"#.into());
        lines.insert(2, "not json \u{0}".into());
        lines.insert(3, String::new());
        lines.insert(4, lines[0].replace("\"flow\":1", "\"flow\":2"));
        lines[0] = lines[0].replace("\"jobs\":2", "\"jobs\":2,\"new_field\":{\"a\":[1]}");
        let mut bytes = lines.join("\n").into_bytes();
        bytes.extend(b"\n\xff\xfe\n");
        let run = read(bytes.as_slice(), false).unwrap();
        assert_eq!((run.state, run.jobs, run.counts.ran), (RunState::Failed, 2, 1));
        assert_eq!(read(b"".as_slice(), false), None);
        assert_eq!(read(b"{}\n[]\n1\n".as_slice(), false), None);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut text = text();
        let at = text.find('\n').unwrap() + 1;
        text.insert_str(at, &format!("{}\n", "x".repeat(LINE_BYTES as usize + 5)));
        assert_eq!(read(text.as_bytes(), false).unwrap().state, RunState::Failed);
    }

    #[test]
    fn attempts_of_tasks() {
        let text = text();
        let all = executions(text.as_bytes(), None);
        let names: Vec<&str> = all.iter().map(|execution| execution.task.task.as_str()).collect();
        assert_eq!(names, ["clean", "train"]);
        let clean = &all[0];
        assert_eq!((clean.started, clean.ended), (Some(Time(1_000_000_000)), Some(Time(2_000_000_000))));
        assert_eq!((clean.log.as_deref(), clean.command.as_str(), clean.run), (Some("log"), "c", Some(2031)));
        assert_eq!((all[1].ended, all[1].result.is_none()), (None, true));
        assert_eq!(executions(text.as_bytes(), Some("train")).len(), 1);
        assert!(executions(text.as_bytes(), Some("nobody")).is_empty());
    }

    #[test]
    fn random_bytes_end() {
        let mut random = fastrand::Rng::with_seed(3);
        let good = text().into_bytes();
        for _ in 0..500 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..20) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            let _ = (read(bytes.as_slice(), false), executions(bytes.as_slice(), None));
        }
    }
}
