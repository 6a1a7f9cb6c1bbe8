//! `flow plan`: what a run would do and why, without doing it.
//!
//! Writes nothing. Must hold: the tasks stand in the order they would start, and what is said of each is
//! the one decision; what is up to date is only counted.

use std::collections::HashMap;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cli::error::{CliError, FINE};
use crate::cli::listing::{How, Seen, Tally, jobs, now, print, print_json, request, restore_bytes, runs_word, see, task_fields, words};
use crate::cli::options::PlanArgs;
use crate::cli::terminal;
use crate::event::Secs;
use crate::plan::decide::Verdict;
use crate::report::json::{PlanCounts, PlanJson, PlanTask, VerdictWord};
use crate::report::words as say;
use crate::report::{Paint, Style};
use crate::run::driver::expected;
use crate::run::rehearse::rehearse;

/// Tasks of one stage with one verdict that have a line each.
const LINES_A_STAGE: usize = 5;

/// Columns of the first word and what follows it.
const VERB_COLUMNS: usize = 9;

/// Most columns that names, and reasons, make the others wait for.
const MOST_NAME: usize = 40;
const MOST_REASON: usize = 60;

/// Runs the command.
pub fn run(args: &PlanArgs) -> Result<u8, CliError> {
    let words = words(&args.words, &args.which, &args.short_file);
    let request = request(words.file, &args.which, args.rehash)?;
    let how = How { ask: true, force: args.force, only: args.only, strict: true, ..How::default() };
    let seen = see(&request, &words.rest, how, args.which.json)?;
    let plan = plan(&seen, jobs(args.jobs));
    if args.which.json {
        print_json(&plan, &seen.pipeline())?;
    } else {
        print(&text(&seen, &plan, &terminal::stdout()))?;
    }
    Ok(FINE)
}

/// The plan as data.
fn plan(seen: &Seen, jobs: u32) -> PlanJson {
    let graph = &seen.graph;
    let expected = expected(graph, &seen.opened.known);
    let known = graph.tasks.iter().any(|task| seen.opened.known.task(&task.name).is_some_and(|memory| memory.duration.is_some()));
    let words = seen.words();
    let rehearsed = rehearse(graph, &seen.selection, &seen.walked, &expected, jobs);
    let mut counts = PlanCounts::default();
    let tasks: Vec<PlanTask> = rehearsed
        .order
        .iter()
        .map(|&id| {
            let verdict = seen.verdict(id);
            let word = words[id.index()];
            match word {
                VerdictWord::UpToDate => counts.up_to_date += 1,
                VerdictWord::Restore => counts.restore += 1,
                VerdictWord::Run => counts.run += 1,
                VerdictWord::Pending => counts.pending += 1,
                VerdictWord::Missing => {}
            }
            let runs = matches!(word, VerdictWord::Run | VerdictWord::Pending);
            PlanTask {
                task: task_fields(graph, id),
                verdict: word,
                reasons: if word == VerdictWord::UpToDate { Vec::new() } else { seen.reasons(id) },
                waits_for: match verdict {
                    Verdict::Pending { waits_for, .. } => waits_for.iter().map(ToString::to_string).collect(),
                    _ => Vec::new(),
                },
                estimate_s: (runs && known).then(|| Secs(expected[id.index()])),
                restore_bytes: match verdict {
                    Verdict::Restore { record, files } if word == VerdictWord::Restore => Some(restore_bytes(record, files)),
                    _ => None,
                },
                runs: runs_word(graph.stage_of(id).runs),
            }
        })
        .collect();
    let estimate = (known || counts.run + counts.pending == 0).then_some(Secs(rehearsed.wall));
    PlanJson { jobs, estimate_s: estimate, counts, tasks, open: Vec::new() }
}

/// One line: a word, a name, why, and what it takes.
struct Line {
    paint: Paint,
    verb: &'static str,
    name: String,
    why: String,
    takes: String,
}

/// The plan as people read it.
fn text(seen: &Seen, plan: &PlanJson, style: &Style) -> String {
    let mut out = String::new();
    let lines = lines(seen, plan);
    let widest = |of: fn(&Line) -> &str, most: usize| {
        lines.iter().map(|line| say::columns(of(line))).filter(|columns| *columns <= most).max().unwrap_or_default()
    };
    let (name_columns, why_columns) = (widest(|line| &line.name, MOST_NAME), widest(|line| &line.why, MOST_REASON));
    for line in &lines {
        out.push_str(&show(line, name_columns, why_columns, style));
    }
    out.push_str(&closing(seen, plan, style));
    out
}

fn lines(seen: &Seen, plan: &PlanJson) -> Vec<Line> {
    let zone = TimeZone::system();
    let now = now();
    let mut groups: HashMap<(&str, &str), Vec<&PlanTask>> = HashMap::new();
    for task in &plan.tasks {
        if let Some((_, verb)) = verb(task.verdict) {
            groups.entry((&task.task.stage, verb)).or_default().push(task);
        }
    }
    let mut told: HashMap<(&str, &str), usize> = HashMap::new();
    let mut lines = Vec::new();
    for task in &plan.tasks {
        let Some((paint, verb)) = verb(task.verdict) else { continue };
        let group = (task.task.stage.as_str(), verb);
        let told = told.entry(group).or_default();
        *told += 1;
        let all = groups.get(&group).map(Vec::as_slice).unwrap_or_default();
        if *told <= LINES_A_STAGE || all.len() == LINES_A_STAGE + 1 {
            lines.push(Line { paint, verb, name: name(&task.task.task), why: why(seen, task, now, &zone), takes: takes(task) });
        } else if *told == LINES_A_STAGE + 1 {
            lines.push(rest(paint, verb, group.0, all.get(LINES_A_STAGE..).unwrap_or_default()));
        }
    }
    lines
}

/// The word of a line; `None`: it has none.
fn verb(verdict: VerdictWord) -> Option<(Paint, &'static str)> {
    match verdict {
        VerdictWord::UpToDate => None,
        VerdictWord::Run => Some((Paint::Bold, "run")),
        VerdictWord::Pending => Some((Paint::Odd, "run?")),
        VerdictWord::Restore => Some((Paint::Free, "restore")),
        VerdictWord::Missing => Some((Paint::Bad, "fails")),
    }
}

fn name(text: &str) -> String {
    say::printable(text).into_owned()
}

/// The first reason, and how many there are more.
fn why(seen: &Seen, task: &PlanTask, now: i64, zone: &TimeZone) -> String {
    match task.verdict {
        VerdictWord::Restore => {
            let record = seen.graph.find(&task.task.task).map(|id| seen.verdict(id));
            match record {
                Some(Verdict::Restore { record, .. }) => format!("same as the run of {}", say::local_time(record.at, now, zone)),
                _ => String::new(),
            }
        }
        VerdictWord::Missing => {
            let gone: Vec<&str> = task.reasons.iter().filter_map(|reason| reason.what.as_deref()).collect();
            format!("{} is neither there nor in the cache, and its stage never runs", name(&say::some(&gone, 2)))
        }
        _ => match task.reasons.split_first() {
            Some((first, [])) => say::reason(first),
            Some((first, rest)) => format!("{} and {} more", say::reason(first), rest.len()),
            None => String::new(),
        },
    }
}

fn takes(task: &PlanTask) -> String {
    match (task.restore_bytes, task.estimate_s) {
        (Some(bytes), _) => say::size(bytes),
        (None, Some(time)) => format!("about {}", say::duration(time.0)),
        (None, None) => String::new(),
    }
}

/// From the sixth task of a stage with one verdict on: how many, why, and what each takes.
fn rest(paint: Paint, verb: &'static str, stage: &str, tasks: &[&PlanTask]) -> Line {
    let mut tally = Tally::default();
    tasks.iter().for_each(|task| tally.add(&task.reasons));
    let reasons = tally.said();
    let count = tasks.len();
    let bytes: u64 = tasks.iter().filter_map(|task| task.restore_bytes).sum();
    let times: Vec<Duration> = tasks.iter().filter_map(|task| task.estimate_s.map(|time| time.0)).collect();
    let takes = match (bytes, times.len() as u32) {
        (0, 0) => String::new(),
        (0, n) => format!("about {} each", say::duration(times.iter().sum::<Duration>() / n)),
        (bytes, _) => say::size(bytes),
    };
    let why = if reasons.is_empty() { format!("{count} more") } else { format!("{count} more: {reasons}") };
    Line { paint, verb, name: name(stage), why, takes }
}

/// A line in columns. On a terminal the reason gives way first.
fn show(line: &Line, name_columns: usize, why_columns: usize, style: &Style) -> String {
    let room = style.width.saturating_sub(2 + VERB_COLUMNS);
    let takes_columns = say::columns(&line.takes) + 2;
    let mut name = line.name.clone();
    let (mut name_columns, mut why_columns) = (name_columns, why_columns);
    let mut why = line.why.clone();
    if style.width > 0 {
        let most = room.saturating_sub(takes_columns + 2).max(8);
        name_columns = name_columns.min(room / 2).min(most);
        name = say::cut(&name, most).into_owned();
        let left = room.saturating_sub(name_columns.max(say::columns(&name)) + 2 + takes_columns);
        why_columns = if left < 8 { 0 } else { why_columns.min(left) };
        why = if left < 8 { String::new() } else { say::cut(&why, left).into_owned() };
    }
    let verb = style.paint(line.paint, line.verb) + &" ".repeat(VERB_COLUMNS.saturating_sub(line.verb.len()));
    let head = format!(" {verb}{}  {}  {}", say::pad(&name, name_columns), say::pad(&why, why_columns), line.takes);
    format!("{}\n", head.trim_end())
}

/// `weather: 1 to run, 1 perhaps, 1 to restore, 9 up to date; about 15 s with 2 jobs`
fn closing(seen: &Seen, plan: &PlanJson, style: &Style) -> String {
    let counts = &plan.counts;
    let missing = plan.tasks.iter().filter(|task| task.verdict == VerdictWord::Missing).count() as u64;
    let parts = [
        (missing, "cannot be had"),
        (counts.run, "to run"),
        (counts.pending, "perhaps"),
        (counts.restore, "to restore"),
        (counts.up_to_date, "up to date"),
    ];
    let said: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let said = if said.is_empty() { "nothing to do".to_string() } else { said.join(", ") };
    let time = match plan.estimate_s {
        _ if counts.run + counts.pending == 0 => String::new(),
        None => "; no estimate yet".into(),
        Some(time) => format!("; about {} with {}", say::duration(time.0), say::count(u64::from(plan.jobs), "job")),
    };
    let name = style.paint(Paint::Bold, &name(&seen.graph.name));
    format!(" {name}: {said}{time}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, why: &str, takes: &str) -> Line {
        Line { paint: Paint::Bold, verb: "run", name: name.into(), why: why.into(), takes: takes.into() }
    }

    #[test]
    fn lines_fit_their_terminal() {
        let lines = [
            line("clean@customer=acme", "input raw/acme.csv changed", "about 12 s"),
            line(&"long".repeat(30), &"why".repeat(30), "about 12 m 40 s"),
            line("a", "", ""),
        ];
        for width in 40..200 {
            for line in &lines {
                let shown = show(line, 30, 40, &Style { width, ..Style::default() });
                assert!(say::columns(shown.trim_end()) < width, "{width}: {shown}");
            }
        }
        let shown = show(&lines[0], 20, 26, &Style::default());
        assert_eq!(shown, " run      clean@customer=acme   input raw/acme.csv changed  about 12 s\n");
    }
}
