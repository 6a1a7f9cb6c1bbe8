//! Every event against its exact line.

use std::time::Duration;

use super::*;
use crate::attempt::{Cause, Usage};
use crate::hash::{Digest, Kind};
use crate::name::{RelPath, TaskName};
use crate::plan::reason::{Content, Part, Reason};

/// 2026-11-24T18:02:11.482Z and a bit.
const AT: i64 = 1_795_543_331_482_999_999;

fn task() -> TaskFields {
    TaskFields::of(&TaskName::new("clean", &[("customer".into(), "acme".into())]))
}

/// Checks the line, and that reading it gives the event back.
fn check(event: Event, rest: &str) {
    let line = event.line(17, AT, Some(2031)).unwrap();
    let want = format!("{{\"flow\":1,\"seq\":17,\"time\":\"2026-11-24T18:02:11.482Z\",\"run\":2031,\"event\":{rest}}}");
    assert_eq!(line, want);
    let read: Line = serde_json::from_str(&line).unwrap();
    assert_eq!((read.flow, read.seq, read.time, read.run), (1, 17, Time(AT - AT % 1_000_000), Some(2031)));
    assert_eq!(read.event, event);
}

const TASK: &str = r#""task":"clean@customer=acme","stage":"clean","axes":{"customer":"acme"}"#;

#[test]
fn run_started() {
    let started = RunStarted {
        pipeline: PipelineFields { file: "pipelines/etl.yaml".into(), name: "etl".into(), workspace: "/home/x/etl".into() },
        args: vec!["run".into(), "-j".into(), "4".into()],
        set: vec![SetPair { key: "k".into(), value: "v".into() }],
        jobs: 4,
        flow_version: "0.1.0".into(),
        host: "h".into(),
        pid: 1,
        counts: Counts { up_to_date: 3, total: 19, ..Counts::default() },
        ..RunStarted::default()
    };
    check(
        Event::RunStarted(Box::new(started)),
        concat!(
            r#""run_started","pipeline":{"file":"pipelines/etl.yaml","name":"etl","workspace":"/home/x/etl"},"args":["run","-j","4"],"#,
            r#""selectors":[],"profiles":[],"set":[{"key":"k","value":"v"}],"jobs":4,"resumes":null,"flow_version":"0.1.0","host":"h","#,
            r#""pid":1,"counts":{"ran":0,"restored":0,"up_to_date":3,"failed":0,"failed_allowed":0,"not_run":0,"not_started":0,"off":0,"total":19}"#
        ),
    );
}

#[test]
fn recovered_adopted_added() {
    let did = vec!["stopped_children".into(), "kept_partial".into(), "put_back".into()];
    check(
        Event::Recovered(Recovered { task: task(), attempt: 1, of_run: 2030, did }),
        &format!(r#""recovered",{TASK},"attempt":1,"of_run":2030,"did":["stopped_children","kept_partial","put_back"]"#),
    );
    check(
        Event::Adopted(Adopted { task: task(), attempt: 1, of_run: 2030, executor: "slurm".into() }),
        &format!(r#""adopted",{TASK},"attempt":1,"of_run":2030,"executor":"slurm""#),
    );
    check(Event::TaskAdded(TaskAdded { task: task(), by: "split".into() }), &format!(r#""task_added",{TASK},"by":"split""#));
}

#[test]
fn task_started_and_ended() {
    let reason = Reason::Part {
        was: Some(Box::new(Part::Config("clean.threshold".into(), "0.3".into()))),
        is: Some(Box::new(Part::Config("clean.threshold".into(), "0.5".into()))),
        from: None,
    };
    check(
        Event::TaskStarted(TaskStarted {
            task: task(),
            attempt: 1,
            reasons: vec![reason_fields(&reason, Some("etl.yaml:6:16".into()))],
            command: "sort -u raw.txt > clean.txt".into(),
            executor: "local".into(),
            slots: 1,
        }),
        &format!(
            concat!(
                r#""task_started",{},"attempt":1,"reasons":[{{"reason":"config_changed","what":"clean.threshold","was":"0.3","is":"0.5","#,
                r#""place":"etl.yaml:6:16","task":null,"because":[]}}],"command":"sort -u raw.txt > clean.txt","executor":"local","slots":1"#
            ),
            TASK
        ),
    );
    let usage = Usage {
        wall: Duration::from_millis(3200),
        user: Duration::from_millis(2900),
        system: Duration::from_millis(100),
        peak: Some(104_857_600),
        read: Some(0),
        written: Some(4096),
    };
    check(
        Event::TaskEnded(TaskEnded {
            task: task(),
            attempt: 1,
            result: CauseFields::of(&Cause::Exit(1)),
            usage: UsageFields::of(&usage),
            log: Some(".flow/etl.yaml/logs/clean.log".into()),
            retry_in_s: Some(Secs(Duration::from_secs(1))),
        }),
        &format!(
            concat!(
                r#""task_ended",{},"attempt":1,"result":{{"cause":"exit","status":1,"signal":null,"by":null,"text":"exit status 1"}},"#,
                r#""wall_s":3.2,"user_s":2.9,"system_s":0.1,"peak_bytes":104857600,"read_bytes":0,"written_bytes":4096,"#,
                r#""log":".flow/etl.yaml/logs/clean.log","retry_in_s":1.0"#
            ),
            TASK
        ),
    );
    check(
        Event::TaskEnded(TaskEnded { task: task(), attempt: 2, ..TaskEnded::default() }),
        &format!(
            concat!(
                r#""task_ended",{},"attempt":2,"result":{{"cause":"","status":null,"signal":null,"by":null,"text":""}},"#,
                r#""wall_s":0.0,"user_s":0.0,"system_s":0.0,"peak_bytes":null,"read_bytes":null,"written_bytes":null,"#,
                r#""log":null,"retry_in_s":null"#
            ),
            TASK
        ),
    );
}

#[test]
fn task_done_failed_blocked() {
    let digest = Digest::of(b"x");
    check(
        Event::TaskDone(TaskDone {
            task: task(),
            how: How::TakenOver,
            recorded: true,
            outputs: vec![OutputFields { path: "clean/".into(), digest: Some(DigestText(digest)), bytes: 10, changed: true }],
        }),
        &format!(
            r#""task_done",{TASK},"how":"taken_over","recorded":true,"outputs":[{{"path":"clean/","digest":"b3:{}","bytes":10,"changed":true}}]"#,
            digest.hex()
        ),
    );
    check(
        Event::TaskFailed(Box::new(TaskFailed {
            task: task(),
            result: CauseFields::of(&Cause::Signal(11)),
            allowed: false,
            failed_to: Some(".flow/etl.yaml/failed/train/2031.1/".into()),
            shown: Shown::default(),
        })),
        &format!(
            concat!(
                r#""task_failed",{},"result":{{"cause":"signal","status":null,"signal":11,"by":null,"text":"killed by SIGSEGV"}},"#,
                r#""allowed":false,"failed_to":".flow/etl.yaml/failed/train/2031.1/""#
            ),
            TASK
        ),
    );
    check(Event::TaskBlocked(TaskBlocked { task: task(), by: "train".into() }), &format!(r#""task_blocked",{TASK},"by":"train""#));
}

#[test]
fn items_warnings_and_the_end() {
    check(
        Event::ItemMoved(ItemMoved {
            queue: "orders".into(),
            item: "A.csv".into(),
            id: "01J".into(),
            from: "consuming".into(),
            to: "consumed".into(),
        }),
        r#""item_moved","queue":"orders","item":"A.csv","id":"01J","from":"consuming","to":"consumed""#,
    );
    check(
        Event::Warning(Warning::new("output_empty", "`a` is empty")),
        r#""warning","code":"output_empty","message":"`a` is empty","task":null,"stage":null,"axes":null,"path":null,"place":null"#,
    );
    check(
        Event::Warning(Warning::new("output_empty", "`a` is empty").about(task())),
        &format!(r#""warning","code":"output_empty","message":"`a` is empty",{TASK},"path":null,"place":null"#),
    );
    check(
        Event::RunEnded(RunEnded {
            state: RunState::Fine,
            exit: 0,
            wall_s: Secs(Duration::from_millis(800)),
            saved_s: Secs(Duration::from_millis(4100)),
            counts: Counts { ran: 4, restored: 1, up_to_date: 4, total: 9, ..Counts::default() },
        }),
        concat!(
            r#""run_ended","state":"fine","exit":0,"wall_s":0.8,"saved_s":4.1,"counts":{"ran":4,"restored":1,"up_to_date":4,"failed":0,"#,
            r#""failed_allowed":0,"not_run":0,"not_started":0,"off":0,"total":9}"#
        ),
    );
    assert_eq!(Event::Progress(Progress::default()).line(0, AT, None), None);
}

#[test]
fn what_is_for_people_is_in_no_line() {
    let shown = Shown { tail: vec!["secret of a log".into()], ..Shown::default() };
    let line = Event::TaskFailed(Box::new(TaskFailed { shown, ..TaskFailed::default() })).line(0, 0, None).unwrap();
    assert!(!line.contains("secret of a log"));
    assert!(line.starts_with(r#"{"flow":1,"seq":0,"time":"1970-01-01T00:00:00.000Z","run":null,"event":"task_failed","#));
}

#[test]
fn a_task_is_known_by_its_name() {
    let axes = [("customer".to_owned(), "a=b@c %d/é\n".to_owned()), ("day".to_owned(), "2026-01-01".to_owned())];
    let fields = TaskFields::of(&TaskName::new("sales.clean", &axes));
    assert_eq!((fields.stage.as_str(), fields.axes.0.as_slice()), ("sales.clean", axes.as_slice()));
    assert_eq!(TaskFields::of(&"odd@x@y=%zz%4".into()).axes.0, [("y".to_owned(), "%zz%4".to_owned())]);
    assert_eq!(serde_json::to_string(&TaskFields::of(&"train".into())).unwrap(), r#"{"task":"train","stage":"train","axes":{}}"#);
}

fn part(was: Option<Part>, is: Option<Part>, from: Option<&str>) -> ReasonFields {
    reason_fields(&Reason::Part { was: was.map(Box::new), is: is.map(Box::new), from: from.map(Into::into) }, None)
}

/// A field of text that may be null.
type Field<'a> = Option<&'a str>;

#[test]
fn the_words_of_reasons() {
    let path = |text: &str| RelPath::normal(text).unwrap();
    let input = |content| Some(Part::Input { role: String::new(), path: path("raw/acme.csv"), content });
    let digest = Digest::of(b"x");
    let stamp = |nonce| Some(Part::Stamp { task: "load".into(), nonce });
    let output = |kind| Some(Part::Output { role: String::new(), path: path("out"), kind });
    let tool = |content| Some(Part::Tool { said: "samtools".into(), automatic: false, content });
    let text = digest.to_string();
    let other = Digest::of(b"y").to_string();
    let cases: Vec<(ReasonFields, &str, Field, Field, Field, Field)> = vec![
        (reason_fields(&Reason::NeverRan, None), "never_ran", None, None, None, None),
        (reason_fields(&Reason::Interrupted, None), "interrupted", None, None, None, None),
        (reason_fields(&Reason::Failed, None), "failed", None, None, None, None),
        (reason_fields(&Reason::Forced, None), "forced", None, None, None, None),
        (reason_fields(&Reason::Always, None), "always", None, None, None, None),
        (reason_fields(&Reason::Named, None), "named", None, None, None, None),
        (reason_fields(&Reason::FoundChanged(path("a.h")), None), "input_changed", Some("a.h"), None, None, None),
        (reason_fields(&Reason::OutputGone(path("o")), None), "output_gone", Some("o"), None, None, None),
        (reason_fields(&Reason::OutputChanged(path("o")), None), "output_changed", Some("o"), None, None, None),
        (reason_fields(&Reason::Spoilt(path("i")), None), "spoilt", Some("i"), None, None, None),
        (reason_fields(&Reason::NotInCache(crate::record::manifest::Key(digest)), None), "not_in_cache", Some(&text), None, None, None),
        (part(Some(Part::Command("a".into())), Some(Part::Command("b".into())), None), "command_changed", None, Some("a"), Some("b"), None),
        (part(Some(Part::Shell(vec!["sh".into(), "-c".into()])), None, None), "shell_changed", None, Some("sh -c"), None, None),
        (part(Some(Part::Dir(path("."))), Some(Part::Dir(path("d"))), None), "dir_changed", None, Some("."), Some("d"), None),
        (
            part(Some(Part::Env("TZ".into(), None)), Some(Part::Env("TZ".into(), Some("UTC".into()))), None),
            "env_changed",
            Some("TZ"),
            None,
            Some("UTC"),
            None,
        ),
        (part(tool(Content::Is(digest)), tool(Content::Absent), None), "tool_changed", Some("samtools"), Some(&text), None, None),
        (part(output(Kind::File), output(Kind::Folder), None), "outputs_list_changed", Some("out/"), Some("file"), Some("folder"), None),
        (part(None, input(Content::Is(digest)), None), "input_added", Some("raw/acme.csv"), None, Some(&text), None),
        (part(input(Content::Is(digest)), None, None), "input_removed", Some("raw/acme.csv"), Some(&text), None, None),
        (part(input(Content::Absent), input(Content::Is(digest)), None), "input_changed", Some("raw/acme.csv"), None, Some(&text), None),
        (
            part(input(Content::Is(digest)), input(Content::Pending("get".into())), Some("get")),
            "input_perhaps",
            Some("raw/acme.csv"),
            Some(&text),
            None,
            Some("get"),
        ),
        (part(stamp(Some(1)), stamp(Some(2)), None), "stamp_changed", Some("load"), None, None, Some("load")),
        (
            part(Some(Part::Expansion(digest)), Some(Part::Expansion(Digest::of(b"y"))), None),
            "items_changed",
            None,
            Some(&text),
            Some(&other),
            None,
        ),
    ];
    for (fields, word, what, was, is, task) in cases {
        assert_eq!(fields.reason, word);
        assert_eq!(fields.what.as_deref(), what, "{word}");
        assert_eq!(fields.was.as_deref(), was, "{word}");
        assert_eq!(fields.task.as_deref(), task, "{word}");
        assert_eq!(fields.is.as_deref(), is, "{word}");
        assert!(fields.place.is_none() && fields.because.is_empty());
    }
}

#[test]
fn long_values_are_cut_so_that_the_difference_is_seen() {
    let long = format!("{}é{}", "x".repeat(1000), "y".repeat(1000));
    let other = format!("{}z{}", "x".repeat(1000), "y".repeat(1000));
    let fields = part(Some(Part::Command(long)), Some(Part::Command(other)), None);
    let (was, is) = (fields.was.unwrap(), fields.is.unwrap());
    assert!(was.contains('é') && is.contains('z'), "{was} {is}");
    assert_eq!((was.chars().count(), is.chars().count()), (200, 200));
    assert!(was.starts_with('…') && was.ends_with('…'));
}

#[test]
fn the_words_of_causes() {
    let of = |cause: Cause| {
        let fields = CauseFields::of(&cause);
        (fields.cause.clone(), fields.status, fields.signal, fields.by)
    };
    assert_eq!(of(Cause::Success), ("success".into(), Some(0), None, None));
    assert_eq!(of(Cause::Timeout(Duration::from_secs(1))), ("timeout".into(), None, None, Some("flow".into())));
    assert_eq!(of(Cause::OutOfMemory { limit: None }), ("out_of_memory".into(), None, None, Some("kernel".into())));
    assert_eq!(of(Cause::MissingOutputs(Vec::new())).0, "missing_outputs");
    assert_eq!(of(Cause::Checks(Vec::new())).0, "checks");
    assert_eq!(of(Cause::NotStarted(String::new())).0, "not_started");
    assert_eq!(of(Cause::InputGone(RelPath::workspace())).0, "input_gone");
    assert_eq!(of(Cause::Cancelled).0, "cancelled");
    assert_eq!(of(Cause::Lost(String::new())).0, "lost");
}

#[test]
fn a_run_as_one_object() {
    let run = Run {
        run: Some(2031),
        state: RunState::Failed,
        started: Some(Time(AT)),
        ended: None,
        wall_s: Some(Secs(Duration::from_millis(41_200))),
        exit: Some(1),
        args: vec!["run".into()],
        jobs: 4,
        ..Run::default()
    };
    assert_eq!(
        serde_json::to_string(&run).unwrap(),
        concat!(
            r#"{"run":2031,"resumes":null,"state":"failed","started":"2026-11-24T18:02:11.482Z","ended":null,"wall_s":41.2,"exit":1,"#,
            r#""args":["run"],"selectors":[],"profiles":[],"set":[],"jobs":4,"saved_s":0.0,"counts":{"ran":0,"restored":0,"up_to_date":0,"#,
            r#""failed":0,"failed_allowed":0,"not_run":0,"not_started":0,"off":0,"total":0}}"#
        )
    );
    assert_eq!(serde_json::from_str::<RunState>("\"paused\"").unwrap(), RunState::Unknown);
}

#[test]
fn odd_times() {
    assert_eq!(Time(-1).to_string(), "1969-12-31T23:59:59.999Z");
    assert_eq!(Time(i64::MAX).to_string(), "2262-04-11T23:47:16.854Z");
    assert_eq!(Time(i64::MIN).to_string(), "1677-09-21T00:12:43.145Z");
    let secs: Secs = serde_json::from_str("-1e300").unwrap();
    assert_eq!(secs, Secs(Duration::ZERO));
}
