//! Transcripts: sequences of events and what a person sees.

use std::sync::{Arc, Mutex};

use super::*;
use crate::attempt::{Cause, Usage};
use crate::event::{
    Adopted, CauseFields, Counts, OutputFields, PipelineFields, Progress, RunStarted, Secs, Shown, StageTodo, TaskBlocked, TaskFields,
    TaskStarted, UsageFields,
};
use crate::name::TaskName;

/// A page that a sink writes on and a test reads.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub(in crate::report) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// 2026-11-24 18:02:11 UTC.
const AT: i64 = 1_795_543_331_000_000_000;

fn style(width: usize) -> Style {
    Style { colour: false, width, live: false }
}

fn shown_again(style: Style, again: Again, events: &[(i64, Event)]) -> String {
    let page = Page::default();
    let mut plain = Plain::new(Box::new(page.clone()), style, again).zone(|| TimeZone::UTC);
    for (at, event) in events {
        plain.take(AT + at, event);
    }
    plain.end();
    page.text()
}

fn shown(style: Style, events: &[Event]) -> String {
    let events: Vec<(i64, Event)> = events.iter().map(|event| (0, event.clone())).collect();
    shown_again(style, Again::default(), &events)
}

fn fields(stage: &str, axes: &[(&str, &str)]) -> TaskFields {
    let axes: Vec<(String, String)> = axes.iter().map(|(axis, key)| ((*axis).into(), (*key).into())).collect();
    TaskFields::of(&TaskName::new(stage, &axes))
}

fn run_started(name: &str) -> Event {
    let pipeline = PipelineFields { name: name.into(), ..PipelineFields::default() };
    Event::RunStarted(Box::new(RunStarted { pipeline, ..RunStarted::default() }))
}

fn started(task: &TaskFields, command: &str) -> Event {
    Event::TaskStarted(TaskStarted { task: task.clone(), attempt: 1, command: command.into(), ..TaskStarted::default() })
}

fn ended(task: &TaskFields, cause: &Cause, ms: u64) -> Event {
    Event::TaskEnded(TaskEnded {
        task: task.clone(),
        attempt: 1,
        result: CauseFields::of(cause),
        usage: UsageFields::of(&Usage { wall: Duration::from_millis(ms), ..Usage::default() }),
        log: Some("log".into()),
        retry_in_s: None,
    })
}

fn done(task: &TaskFields) -> Event {
    Event::TaskDone(TaskDone { task: task.clone(), how: How::Ran, recorded: true, outputs: Vec::new() })
}

fn ran(task: TaskFields, ms: u64) -> Vec<Event> {
    vec![started(&task, "true"), ended(&task, &Cause::Success, ms), done(&task)]
}

fn restored(task: TaskFields, bytes: u64) -> Event {
    let outputs = vec![OutputFields { path: "o".into(), digest: None, bytes, changed: true }];
    Event::TaskDone(TaskDone { task, how: How::Restored, recorded: true, outputs })
}

fn failed(task: &TaskFields, cause: &Cause, tail: &[&str]) -> TaskFailed {
    TaskFailed {
        task: task.clone(),
        result: CauseFields::of(cause),
        allowed: false,
        failed_to: None,
        shown: Shown { tail: tail.iter().map(|line| (*line).into()).collect(), ..Shown::default() },
    }
}

fn fails(task: &TaskFields, cause: &Cause, tail: &[&str]) -> Vec<Event> {
    vec![started(task, "false"), ended(task, cause, 200), Event::TaskFailed(Box::new(failed(task, cause, tail)))]
}

fn run_ended(state: RunState, ms: u64, saved_ms: u64, counts: Counts) -> Event {
    let secs = |ms| Secs(Duration::from_millis(ms));
    Event::RunEnded(RunEnded { state, exit: 0, wall_s: secs(ms), saved_s: secs(saved_ms), counts })
}

fn fine(counts: Counts) -> Event {
    run_ended(RunState::Fine, 800, 0, counts)
}

#[test]
fn a_run() {
    let mut events = vec![run_started("weather")];
    events.extend(ran(fields("clean", &[("station", "seattle")]), 310));
    events.extend(ran(fields("clean", &[("station", "sf")]), 290));
    events.extend(ran(fields("daily", &[("station", "seattle")]), 60));
    events.extend(ran(fields("daily", &[("station", "sf")]), 60));
    events.push(restored(fields("compare", &[]), 9 * 1024));
    events.push(run_ended(RunState::Fine, 800, 4100, Counts { ran: 4, restored: 1, up_to_date: 4, total: 9, ..Counts::default() }));
    let want = "\x20ran       clean@station=seattle     0.31 s
 ran       clean@station=sf          0.29 s
 ran       daily@station=seattle     0.06 s
 ran       daily@station=sf          0.06 s
 restored  compare                   9 KiB
 weather: 4 ran, 1 restored, 4 up to date in 0.8 s (saved 4.1 s)
";
    for width in [0, 80, 200] {
        assert_eq!(shown(style(width), &events), want);
    }
    let coloured = shown(Style { colour: true, ..style(80) }, &events);
    assert!(coloured.starts_with(" \x1b[32mran\x1b[0m       clean@station=seattle     0.31 s\n"), "{coloured:?}");
    let mut bare = coloured;
    for code in ["\x1b[32m", "\x1b[36m", "\x1b[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, want);
}

#[test]
fn nothing_to_do_is_one_line() {
    let events = [run_started("weather"), run_ended(RunState::Fine, 3, 0, Counts { up_to_date: 9, total: 9, ..Counts::default() })];
    assert_eq!(shown(style(80), &events), " weather: 9 up to date in 3 ms\n");
    let nothing = [run_started("a\x1b[2J"), run_ended(RunState::Fine, 3, 0, Counts::default())];
    assert_eq!(shown(style(80), &nothing), " a\\x1b[2J: nothing to do in 3 ms\n");
}

/// The failure of `terminal.md`.
fn a_failure() -> Vec<Event> {
    let train = fields("train", &[]);
    let tail = [
        "Traceback (most recent call last):",
        "  File \"train.py\", line 31, in <module>",
        "ValueError: could not convert string to float: 'n/a'",
    ];
    let mut failure = failed(&train, &Cause::Exit(1), &tail);
    failure.failed_to = Some(".flow/etl.yaml/failed/train/2031.1/".into());
    failure.shown.still = vec!["model.bin".into()];
    failure.shown.still_of = Some(AT);
    vec![
        run_started("etl"),
        started(&train, "python train.py --lr 0.1 data/clean.csv model.bin"),
        ended(&train, &Cause::Exit(1), 3200),
        Event::TaskFailed(Box::new(failure)),
        run_ended(RunState::Failed, 41_000, 0, Counts { failed: 1, not_run: 3, not_started: 240, ran: 12, ..Counts::default() }),
    ]
}

#[test]
fn a_failure_is_shown_whole() {
    let head = "\x20failed    train                     exit status 1 after 3.2 s

   python train.py --lr 0.1 data/clean.csv model.bin
   │ Traceback (most recent call last):
   │   File \"train.py\", line 31, in <module>
   │ ValueError: could not convert string to float: 'n/a'

";
    let tail = "   model.bin is still the result of the run of 24 Nov 18:02

 etl: 1 failed, 3 not run below it, 240 not started, 12 ran in 41 s
 after mending it: flow resume
";
    let one = "   whole log: flow log train      what it wrote: .flow/etl.yaml/failed/train/2031.1/\n";
    let two = "   whole log: flow log train\n   what it wrote: .flow/etl.yaml/failed/train/2031.1/\n";
    assert_eq!(shown(style(200), &a_failure()), format!("{head}{one}{tail}"));
    assert_eq!(shown(style(0), &a_failure()), format!("{head}{one}{tail}"));
    assert_eq!(shown(style(80), &a_failure()), format!("{head}{two}{tail}"));
    let coloured = shown(Style { colour: true, ..style(200) }, &a_failure());
    assert!(coloured.contains(" \x1b[1;31mfailed\x1b[0m    train "), "{coloured:?}");
    assert!(coloured.contains("   \x1b[2m│\x1b[0m ValueError"));
    assert!(coloured.ends_with(" after mending it: \x1b[1mflow resume\x1b[0m\n"));
}

#[test]
fn hints_repeat_what_was_given() {
    let events: Vec<(i64, Event)> = a_failure().into_iter().map(|event| (0, event)).collect();
    let again = Again { file: Some("pipelines/etl.yaml".into()), profile: Some("prod".into()) };
    let text = shown_again(style(200), again, &events);
    assert!(text.contains("   whole log: flow log pipelines/etl.yaml train --profile prod      what"), "{text}");
    assert!(text.ends_with(" after mending it: flow resume pipelines/etl.yaml --profile prod\n"));
}

#[test]
fn a_known_exit_status_is_explained() {
    let task = fields("head", &[]);
    let mut events = vec![run_started("etl")];
    events.extend(fails(&task, &Cause::Exit(141), &[]));
    let text = shown(style(80), &events);
    let want = "\x20failed    head                      exit status 141 after 0.2 s
   (a reader such as head closed the pipe, and pipefail counts that: end the
   line with \"|| test $? = 141\", or let sed or awk read to the end)

   false
   it printed nothing

   whole log: flow log head

";
    assert_eq!(text, want);
    let pipe = shown(style(0), &events);
    assert!(pipe.starts_with(" failed    head                      exit status 141 after 0.2 s (a reader such as"), "{pipe}");
    let timeout = fails(&task, &Cause::Timeout(Duration::from_secs(600)), &[]);
    assert!(shown(style(80), &timeout).starts_with(" failed    head                      timed out after 10 m\n"));
    let lost = fails(&task, &Cause::NotStarted(format!("command not found: {}", "x".repeat(90))), &[]);
    assert!(shown(style(80), &lost).starts_with(&format!(" failed    head\n   command not found:\n   {}\n", "x".repeat(90))));
}

#[test]
fn ten_failures_with_one_message() {
    let mut events = vec![run_started("etl")];
    for n in 1..=10 {
        events.extend(fails(&fields("clean", &[("c", &n.to_string())]), &Cause::Exit(1), &["reading", "boom", ""]));
    }
    events.push(run_ended(RunState::Failed, 2000, 0, Counts { failed: 10, total: 10, ..Counts::default() }));
    let mut want = String::from(
        "\x20failed    clean@c=1                 exit status 1 after 0.2 s

   false
   │ reading
   │ boom
   │

   whole log: flow log clean@c=1

",
    );
    for n in 2..=9 {
        want.push_str(&format!(" failed    clean@c={n}                 exit status 1 after 0.2 s, the same message\n"));
    }
    want.push_str(" failed    clean@c=10                exit status 1 after 0.2 s, the same message\n");
    want.push_str(" clean  10, 10 failed\n etl: 10 failed in 2 s\n after mending them: flow resume\n");
    assert_eq!(shown(style(80), &events), want);
}

#[test]
fn failures_beyond_ten_are_counted() {
    let mut events = vec![run_started("etl")];
    for n in 1..=23 {
        let tail = if n == 2 || n == 20 { "other" } else { "boom" };
        events.extend(fails(&fields(&format!("s{n}"), &[]), &Cause::Exit(1), &[tail]));
    }
    events.push(run_ended(RunState::Failed, 2000, 0, Counts { failed: 23, total: 23, ..Counts::default() }));
    let text = shown(style(80), &events);
    assert_eq!(text.matches(" failed    ").count(), 10);
    assert!(text.contains(" failed    s2                        exit status 1 after 0.2 s: other\n"), "{text}");
    assert!(text.contains(" and 13 more failed, 12 of them with the same message as the first: flow status\n"), "{text}");
}

#[test]
fn a_thousand_tasks_of_one_stage() {
    let todo = |todo| Event::Progress(Progress { stages: vec![StageTodo { stage: "daily".into(), todo }], ..Progress::default() });
    let mut events = vec![(0, run_started("w")), (0, todo(1001))];
    for n in 0..1000 {
        let task = fields("daily", &[("n", &n.to_string())]);
        let at = n * 100_000_000;
        if n == 700 || n == 701 {
            let mut failure = failed(&task, &Cause::Exit(1), &["x"]);
            failure.allowed = true;
            events.push((at, Event::TaskFailed(Box::new(failure))));
        } else {
            events.extend(ran(task, 60).into_iter().map(|event| (at, event)));
        }
    }
    events.push((100_000_000_000, Event::TaskBlocked(TaskBlocked { task: fields("daily", &[("n", "x")]), by: "y".into() })));
    let page = shown_again(style(80), Again::default(), &events);
    let want = "\x20ran       daily@n=0                 0.06 s
 ran       daily@n=1                 0.06 s
 ran       daily@n=2                 0.06 s
 ran       daily@n=3                 0.06 s
 ran       daily@n=4                 0.06 s
 daily  305 of 1001
 daily  605 of 1001
 failed    daily@n=700               exit status 1 (allowed): x
 failed    daily@n=701               exit status 1 (allowed): x
 daily  905 of 1001, 2 failed
 daily  1000 of 1001, 2 failed
";
    assert_eq!(page, want);
    // With a live block the bar counts, and the stage has one line at its end.
    let live = shown_again(Style { live: true, ..style(80) }, Again::default(), &events);
    assert_eq!(live.matches(" daily  ").count(), 1);
    let coloured = shown_again(Style { colour: true, ..style(80) }, Again::default(), &events);
    assert!(coloured.ends_with(" daily  1000 of 1001, \x1b[1;31m2 failed\x1b[0m\n"));
}

#[test]
fn a_stage_whose_number_shrinks_ends_too() {
    let todo = |todo| Event::Progress(Progress { stages: vec![StageTodo { stage: "s".into(), todo }], ..Progress::default() });
    let mut events = vec![todo(100)];
    for n in 0..7 {
        events.extend(ran(fields("s", &[("n", &n.to_string())]), 60));
    }
    let open = shown(style(80), &events);
    assert!(!open.contains(" of "));
    events.push(todo(7));
    events.push(fine(Counts { ran: 7, ..Counts::default() }));
    assert!(shown(style(80), &events).ends_with("0.06 s\n s  7 of 7\n : 7 ran in 0.8 s\n"));
}

#[test]
fn no_name_or_log_reaches_the_terminal_raw() {
    let evil = "a\x1b]0;t\x07\u{202e}\r\nb\t";
    let mut task = fields("s", &[]);
    task.task = evil.into();
    task.stage = evil.into();
    let mut failure = failed(&task, &Cause::NotStarted(evil.into()), &[evil, "\x1b[2J"]);
    failure.failed_to = Some(evil.into());
    failure.shown.still = vec![evil.into()];
    failure.shown.moved_away = vec![evil.into()];
    let mut events = vec![run_started(evil), started(&task, evil), done(&task), restored(task.clone(), 1)];
    for _ in 0..12 {
        events.extend([started(&task, evil), Event::TaskFailed(Box::new(failure.clone()))]);
    }
    events.push(Event::Warning(Warning { place: Some(evil.into()), ..Warning::new(evil, evil).about(task.clone()) }));
    events.push(Event::Recovered(Recovered { task: task.clone(), did: vec![evil.into()], ..Recovered::default() }));
    events.push(Event::Adopted(Adopted { task, ..Adopted::default() }));
    events.push(run_ended(RunState::Failed, 1, 0, Counts { failed: 12, ..Counts::default() }));
    for width in [0, 30, 80, 200] {
        let text = shown(style(width), &events);
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        assert!(text.contains("\\x1b]0;t\\x07"));
    }
}

#[test]
fn nothing_wraps() {
    let long = fields("stage", &[("customer", &"name/".repeat(40))]);
    let mut events = vec![run_started("w")];
    events.extend(ran(long.clone(), 310));
    events.extend(ran(fields("漢字漢字漢字漢字漢字漢字漢字漢字", &[]), 310));
    events.extend(ran(fields("s", &[]), 310));
    events.extend(fails(&fields("t", &[]), &Cause::Exit(2), &["y".repeat(300).as_str()]));
    events.extend(fails(&long, &Cause::Exit(3), &["z".repeat(300).as_str()]));
    events.push(Event::Warning(Warning::new("w", "word ".repeat(40))));
    for width in [40, 80] {
        let text = shown(style(width), &events);
        for line in text.lines().filter(|line| !line.contains("whole log")) {
            assert!(words::columns(line) <= width, "{width}: {line}");
        }
    }
    let text = shown(style(80), &events);
    assert!(text.starts_with(" ran       stage@customer=name/name/"), "{text}");
    assert!(text.lines().next().unwrap().ends_with("…  0.31 s"), "{text}");
    assert!(
        text.contains(" ran       漢字漢字漢字漢字漢字漢字漢字漢字  0.31 s\n ran       s                                 0.31 s\n"),
        "{text}"
    );
}

#[test]
fn what_else_gets_a_line() {
    let train = fields("train", &[]);
    let mut again = ended(&train, &Cause::Exit(1), 3200);
    if let Event::TaskEnded(ended) = &mut again {
        ended.retry_in_s = Some(Secs(Duration::from_secs(1)));
    }
    let mut spoilt = done(&train);
    if let Event::TaskDone(done) = &mut spoilt {
        done.recorded = false;
    }
    let events = [
        Event::Recovered(Recovered {
            task: train.clone(),
            attempt: 1,
            of_run: 2030,
            did: vec!["stopped_children".into(), "put_back".into()],
        }),
        Event::Adopted(Adopted { task: fields("slow", &[]), attempt: 1, of_run: 2030, executor: "slurm".into() }),
        again,
        spoilt,
        Event::Warning(Warning::new("input_changed", "raw.csv changed while train ran")),
        run_ended(RunState::Interrupted, 5000, 0, Counts { ran: 1, not_started: 3, ..Counts::default() }),
    ];
    assert_eq!(
        shown(style(200), &events),
        "\x20recovered train                     run 2030 died while it ran; what was left of it is stopped, its last result is back
 adopted   slow                      still running since run 2030
 retry     train                     exit status 1 after 3.2 s, again in 1 s
 ran       train                     runs again next time
 warning   raw.csv changed while train ran
 : interrupted, 3 not started, 1 ran in 5 s
 to go on: flow resume
"
    );
}

#[test]
fn a_long_command_and_a_long_log_are_shortened() {
    let task = fields("t", &[]);
    let command: Vec<String> = (1..=12).map(|n| format!("step {n}")).collect();
    let log: Vec<String> = (1..=30).map(|n| format!("line {n}")).collect();
    let tail: Vec<&str> = log.iter().map(String::as_str).collect();
    let mut failure = failed(&task, &Cause::Exit(1), &tail);
    failure.shown.moved_away = vec!["db.sqlite".into()];
    let events = [started(&task, &command.join("\n")), Event::TaskFailed(Box::new(failure))];
    let text = shown(style(200), &events);
    assert!(text.contains("   step 10\n   … (2 lines more)\n   │ line 11\n"), "{text}");
    assert!(text.contains("   │ line 30\n\n   db.sqlite of an earlier run was out of its way while it ran: the"), "{text}");
}

#[test]
fn a_failure_without_a_command_has_no_empty_lines() {
    let gone = Cause::InputGone(crate::name::RelPath::normal("raw.csv").unwrap());
    let events = [Event::TaskFailed(Box::new(failed(&fields("t", &[]), &gone, &[])))];
    assert_eq!(shown(style(80), &events), " failed    t                         input raw.csv is gone\n");
}

#[test]
fn warnings_of_one_kind_end_after_ten() {
    let mut events: Vec<Event> = (0..13).map(|n| Event::Warning(Warning::new("output_empty", format!("o{n} is empty")))).collect();
    events.push(Event::Warning(Warning::new("other", "another")));
    events.push(fine(Counts { ran: 1, ..Counts::default() }));
    let text = shown(style(80), &events);
    assert_eq!(text.matches(" is empty\n").count(), 10);
    assert!(text.contains(" warning   another\n and 3 more warnings of the kind output_empty\n"), "{text}");
}

#[test]
fn a_closed_stderr_stops_nothing() {
    struct Closed(Arc<Mutex<u32>>);
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            *self.0.lock().unwrap() += 1;
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let tries = Arc::new(Mutex::new(0));
    let mut plain = Plain::new(Box::new(Closed(Arc::clone(&tries))), style(80), Again::default());
    for event in a_failure() {
        plain.take(AT, &event);
    }
    plain.end();
    assert_eq!(*tries.lock().unwrap(), 1);
}

#[test]
fn any_order_of_events_is_survived() {
    let tasks = [fields("a", &[]), fields("b", &[("x", "1")]), fields("b", &[("x", "2")])];
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..200 {
        let mut events = Vec::new();
        for _ in 0..40 {
            let task = tasks[random.usize(..tasks.len())].clone();
            events.push(match random.u8(..8) {
                0 => started(&task, "x\ny"),
                1 => ended(&task, &Cause::Lost("x".into()), random.u64(..100_000)),
                2 => done(&task),
                3 => Event::TaskFailed(Box::new(failed(&task, &Cause::Signal(9), &["x"]))),
                4 => Event::TaskBlocked(TaskBlocked { task, by: "q".into() }),
                5 => Event::Progress(Progress {
                    stages: vec![StageTodo { stage: task.stage, todo: random.u64(..9) }],
                    ..Progress::default()
                }),
                6 => run_started("x"),
                _ => fine(Counts::default()),
            });
        }
        for width in [0, 1, 13, 80] {
            let text = shown(style(width), &events);
            assert!(text.is_empty() || text.ends_with('\n'));
        }
    }
}
