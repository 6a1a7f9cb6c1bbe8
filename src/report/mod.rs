//! What people and programs see of events and records.
//!
//! Owns the readers of the event stream (lines on a terminal or a pipe, JSON lines), the shapes of
//! `--json`, past runs, and all wording. Never decides anything and never stops a run: what cannot
//! be written is dropped. Must hold: nothing that came from a file reaches a terminal unescaped.

use std::io::Write;

use crate::event::{Event, Sink};

mod failure;
pub mod json;
pub mod jsonl;
pub mod plain;
pub mod progress;
pub mod runs;
pub mod words;

/// How lines are to look; what a terminal can do is found out by `cli`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// Colours: a terminal, and no `NO_COLOR`.
    pub colour: bool,
    /// Columns; 0 is no limit (a pipe).
    pub width: usize,
    /// A live block that is redrawn: a terminal only.
    pub live: bool,
}

/// What a piece of a line is, by which it gets its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    /// Something went well.
    Good,
    /// Something came for free.
    Free,
    /// Something failed.
    Bad,
    /// Something to look at.
    Odd,
    /// Beside the point.
    Dim,
    /// The point.
    Bold,
}

impl Style {
    /// Text in its colour. What is painted has been escaped before.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Free => "36",
            Paint::Bad => "1;31",
            Paint::Odd => "33",
            Paint::Dim => "2",
            Paint::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Hands each event to several sinks in turn.
#[derive(Default)]
pub struct Sinks(pub Vec<Box<dyn Sink>>);

impl Sink for Sinks {
    fn take(&mut self, at: i64, event: &Event) {
        for sink in &mut self.0 {
            sink.take(at, event);
        }
    }

    fn flush(&mut self) {
        for sink in &mut self.0 {
            sink.flush();
        }
    }

    fn end(&mut self) {
        for sink in &mut self.0 {
            sink.end();
        }
    }
}

/// The sink for stderr: lines with a live block below them if `style.live` and stderr is a
/// terminal, else lines alone.
pub fn terminal(out: Box<dyn Write + Send>, style: Style, again: words::Again) -> Box<dyn Sink> {
    let target = indicatif::ProgressDrawTarget::stderr_with_hz(10);
    if style.live && !target.is_hidden() {
        Box::new(progress::Live::new(out, target, style, again))
    } else {
        Box::new(plain::Plain::new(out, Style { live: false, ..style }, again))
    }
}
