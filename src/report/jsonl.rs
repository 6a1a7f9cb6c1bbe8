//! Events as JSON lines: `runs/<run>/events.jsonl`, and stdout of `flow run --json`.
//!
//! Never opens a file. Must hold: `seq` counts from 0 without gaps; lines are written before the run
//! waits for anything, so that a killed flow leaves at most one torn line, the last.

use std::io::{self, Write};

use crate::event::{Event, Sink};

/// Bytes of lines that are written at the latest.
const AT_MOST: usize = 32 << 10;

/// Writes each event as a line.
pub struct JsonLines {
    out: Option<Box<dyn Write + Send>>,
    on_fault: Option<OnFault>,
    run: Option<u64>,
    seq: u64,
    /// Lines that are not written yet.
    waiting: Vec<u8>,
}

/// Told of the first failed write.
type OnFault = Box<dyn FnOnce(io::Error) + Send>;

impl JsonLines {
    /// Lines go to `out`. The first write that fails is told to `on_fault`, and nothing is written
    /// after it; but a closed pipe (nobody reads any more) ends it quietly.
    pub fn new(out: Box<dyn Write + Send>, on_fault: impl FnOnce(io::Error) + Send + 'static) -> JsonLines {
        JsonLines { out: Some(out), on_fault: Some(Box::new(on_fault)), run: None, seq: 0, waiting: Vec::new() }
    }

    fn stop(&mut self, fault: io::Error) {
        self.out = None;
        if fault.kind() == io::ErrorKind::BrokenPipe {
            return;
        }
        if let Some(tell) = self.on_fault.take() {
            tell(fault);
        }
    }
}

impl Sink for JsonLines {
    fn take(&mut self, at: i64, event: &Event) {
        if let Event::RunStarted(started) = event {
            self.run = started.run;
        }
        if self.out.is_none() {
            return;
        }
        let Some(mut line) = event.line(self.seq, at, self.run) else { return };
        line.push('\n');
        self.seq += 1;
        self.waiting.extend_from_slice(line.as_bytes());
        if self.waiting.len() >= AT_MOST {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(out) = &mut self.out else { return };
        let written = out.write_all(&self.waiting).and_then(|()| out.flush());
        self.waiting.clear();
        if let Err(fault) = written {
            self.stop(fault);
        }
    }

    fn end(&mut self) {
        self.flush();
        if let Some(Err(fault)) = self.out.as_mut().map(|out| out.flush()) {
            self.stop(fault);
        }
        self.out = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::event::{Progress, RunStarted, Warning};
    use crate::report::plain::tests::Page;

    #[test]
    fn seq_has_no_gaps_and_the_run_is_known() {
        let page = Page::default();
        let mut sink = JsonLines::new(Box::new(page.clone()), |_| ());
        sink.take(0, &Event::RunStarted(Box::new(RunStarted { run: Some(7), ..RunStarted::default() })));
        sink.take(0, &Event::Progress(Progress::default()));
        sink.take(1_000_000, &Event::Warning(Warning::new("w", "a\nb")));
        sink.end();
        sink.take(0, &Event::Warning(Warning::new("late", "")));
        let text = page.text();
        let heads: Vec<&str> = text.lines().map(|line| line.split(",\"event\"").next().unwrap()).collect();
        assert_eq!(
            heads,
            [
                r#"{"flow":1,"seq":0,"time":"1970-01-01T00:00:00.000Z","run":7"#,
                r#"{"flow":1,"seq":1,"time":"1970-01-01T00:00:00.001Z","run":7"#
            ]
        );
        assert!(text.ends_with("\n"));
    }

    #[test]
    fn a_fault_is_told_once_and_a_closed_pipe_never() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, want) in [(io::ErrorKind::StorageFull, 1), (io::ErrorKind::BrokenPipe, 0)] {
            let told = Arc::new(Mutex::new(0));
            let count = Arc::clone(&told);
            let mut sink = JsonLines::new(Box::new(Broken(kind)), move |_| *count.lock().unwrap() += 1);
            for _ in 0..3 {
                sink.take(0, &Event::Warning(Warning::default()));
            }
            sink.end();
            assert_eq!(*told.lock().unwrap(), want);
        }
    }
}
