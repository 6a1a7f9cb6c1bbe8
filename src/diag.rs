//! Faults and warnings of a pipeline file, as data.
//!
//! Owns where something stands ([`Span`], [`Place`]) and what is said of it ([`Diagnostic`]). Never
//! prints: `cli` draws the code frames. Must hold: a message is worded once, where it is found.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A range of bytes in one of the files that were read (`file` counts in [`Sources`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Span {
    /// Index of the file.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range from the start of this one to the end of `last`.
    pub fn to(self, last: Span) -> Span {
        Span { end: last.end.max(self.start), ..self }
    }
}

/// A line and a column, for people and for records; both count from 1, columns in characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// Index of the file in [`Sources`].
    pub file: u32,
    /// Line from 1.
    pub line: u32,
    /// Column from 1, in characters.
    pub column: u32,
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing runs.
    Error,
    /// Said, and the run goes on.
    Warning,
}

/// A second place that belongs to a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Also {
    /// Where.
    pub at: Span,
    /// What is there, as `also made here`.
    pub label: String,
}

/// One fault or warning: what is wrong, where, and what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable word for programs, lower_snake.
    pub code: &'static str,
    /// What is wrong; lower case, no full stop, names in backquotes.
    pub message: String,
    /// The place.
    pub at: Span,
    /// Said beside the mark under the place, as `did you mean `inputs`?`.
    pub label: String,
    /// Other places.
    pub also: Vec<Also>,
    /// What to do, where the label is too short for it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, at: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Error, code, message: message.into(), at, label: String::new(), also: Vec::new(), hint: None }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, at: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, at, message) }
    }

    /// With words beside the mark.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// With a second place.
    pub fn also(mut self, at: Span, label: impl Into<String>) -> Diagnostic {
        self.also.push(Also { at, label: label.into() });
        self
    }

    /// With a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    /// Whether nothing may run.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// One file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as the user wrote it.
    pub path: String,
    /// Its text.
    pub text: Arc<str>,
}

/// The files that spans point into.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a file; the number is what its spans carry.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<Arc<str>>) -> u32 {
        self.files.push(Source { path: path.into(), text: text.into() });
        (self.files.len() - 1) as u32
    }

    /// A file by its number.
    pub fn get(&self, file: u32) -> Option<&Source> {
        self.files.get(file as usize)
    }

    /// All files, in the order of their numbers.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// Line and column of the start of a span.
    pub fn place(&self, at: Span) -> Place {
        self.place_of(at.file, at.start)
    }

    /// Line and column of a byte.
    pub fn place_of(&self, file: u32, byte: u32) -> Place {
        let Some(source) = self.get(file) else { return Place { file, line: 1, column: 1 } };
        let mut end = (byte as usize).min(source.text.len());
        while !source.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &source.text[..end];
        let line = before.bytes().filter(|&b| b == b'\n').count() as u32 + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        Place { file, line, column: before[start..].chars().count() as u32 + 1 }
    }

    /// A place as people and programs read it: `pipelines/etl.yaml:14:5`.
    pub fn show(&self, place: Place) -> String {
        let path = self.get(place.file).map_or("?", |source| &source.path);
        format!("{path}:{}:{}", place.line, place.column)
    }
}

/// Lines and columns of many spans of one file in one pass over its text.
pub struct Lines {
    starts: Vec<u32>,
}

impl Lines {
    /// The lines of a text.
    pub fn new(text: &str) -> Lines {
        let mut starts = vec![0];
        starts.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at as u32 + 1));
        Lines { starts }
    }

    /// Line and column of the start of a span in `text`, the text this was made from.
    pub fn place(&self, text: &str, at: Span) -> Place {
        let line = self.starts.partition_point(|&start| start <= at.start).max(1);
        let start = self.starts[line - 1] as usize;
        let end = (at.start as usize).min(text.len());
        let column = text.get(start..end).map_or(1, |before| before.chars().count() + 1);
        Place { file: at.file, line: line as u32, column: column as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let mut sources = Sources::default();
        let text = "a: é\nbö: x\n";
        let file = sources.add("p.yaml", text);
        let x = text.find('x').unwrap() as u32;
        let place = sources.place(Span { file, start: x, end: x + 1 });
        assert_eq!((place.line, place.column), (2, 5));
        assert_eq!(Lines::new(text).place(text, Span { file, start: x, end: x + 1 }), place);
        assert_eq!(sources.show(place), "p.yaml:2:5");
        assert_eq!(sources.place_of(file, 9999).line, 3);
    }
}
