//! What is known of a shell text: the place of each hole, its here-documents, its simple commands.
//!
//! Owns these words and the check that a value ends no here-document. The lexer makes them.

use std::ops::Range;

use super::quote::write;
use crate::pipeline::scope::Val;
use crate::pipeline::template::Fault;

/// Where a hole stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Outside quotes.
    Bare {
        /// It is a word of its own; else it is glued to text or to another hole.
        alone: bool,
        /// There may be one word only: the target of a redirection, in `[[ ]]`, after `case`.
        one: bool,
        /// Plain text would run together with what stands beside it (`$x` before, `>` after).
        apart: bool,
    },
    /// In `"…"`.
    Double {
        /// A variable without braces stands right before it.
        apart: bool,
    },
    /// In `'…'`.
    Single,
    /// In `$'…'`.
    Ansi,
    /// In the word of `"${x:-…}"`.
    DoubleBrace,
    /// In a here-document.
    Document {
        /// Its delimiter is quoted: the text is taken as it is.
        quoted: bool,
        /// `<<-`: tabs at the start of a line are taken away.
        tabs: bool,
    },
    /// In arithmetic.
    Arithmetic,
    /// In a comment.
    Comment,
    /// In backquotes.
    Backquote,
    /// Right after a backslash.
    Backslash,
    /// Right after a `$`.
    Dollar,
    /// In the name of a variable, or where quoting differs from shell to shell.
    Variable,
    /// In the delimiter of a here-document.
    Delimiter,
}

/// A word of a simple command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Word {
    /// Its text without quotes; `None` if something in it is expanded.
    pub text: Option<String>,
    /// A part of it is quoted.
    pub quoted: bool,
}

/// A here-document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Document {
    pub body: Range<usize>,
    pub delimiter: Delimiter,
    /// The first hole in it.
    pub hole: Option<Range<usize>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Delimiter {
    pub text: String,
    pub quoted: bool,
    pub tabs: bool,
}

/// What the lexer found in one text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shelled {
    pub(super) places: Vec<Place>,
    /// Holes in a `$( )` of a here-document.
    pub(super) nested: Vec<usize>,
    pub(super) documents: Vec<Document>,
    pub(super) commands: Vec<Vec<Word>>,
}

impl Shelled {
    /// The place of a hole.
    pub fn place(&self, hole: usize) -> Option<Place> {
        self.places.get(hole).copied()
    }

    /// Writes the value of a hole, quoted by its place; `at` is the hole, for faults.
    pub fn write(&self, hole: usize, val: &Val, at: &Range<usize>, out: &mut String) -> Result<(), Fault> {
        let start = out.len();
        write(self.place(hole).unwrap_or(Place::Variable), val, at, out)?;
        // A here-document loses these before the commands in it are read.
        if self.nested.contains(&hole) && out[start..].contains("\\\n") {
            return Err(Fault::new(
                "quote_place",
                at.clone(),
                "a here-document takes away a backslash at the end of a line, also inside `$(…)`",
            )
            .label("the value has such a line")
            .hint("give the value to a variable before the here-document"));
        }
        Ok(())
    }

    /// The simple commands, inner ones first, without keywords before them and without redirections.
    pub(super) fn commands(&self) -> &[Vec<Word>] {
        &self.commands
    }

    /// To be told while a text is filled, for [`Shelled::check`].
    pub fn marks(&self) -> Marks {
        Marks::default()
    }

    /// Whether each here-document still ends where it should in the filled text.
    pub fn check(&self, marks: &Marks, filled: &str) -> Result<(), Fault> {
        for document in &self.documents {
            let Some(hole) = &document.hole else { continue };
            let (start, end) = (marks.at(document.body.start), marks.at(document.body.end));
            let (found, _) = document_end(filled.as_bytes(), start, filled.len(), &[], &document.delimiter);
            if found != end {
                let name = &document.delimiter.text;
                return Err(Fault::new(
                    "quote_place",
                    hole.clone(),
                    format!("the value would end the here-document: a line of it is `{name}`"),
                )
                .label("its value holds the delimiter")
                .hint("choose another delimiter"));
            }
        }
        Ok(())
    }
}

/// Where the holes of a text went.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// End of a hole, and of what was written for it.
    ends: Vec<(usize, usize)>,
}

impl Marks {
    /// A hole was written; `end` bytes are there now.
    pub fn filled(&mut self, hole: &Range<usize>, end: usize) {
        self.ends.push((hole.end, end));
    }

    fn at(&self, byte: usize) -> usize {
        match self.ends.iter().rev().find(|(end, _)| *end <= byte) {
            Some((end, written)) => written + (byte - end),
            None => byte,
        }
    }
}

/// Where a here-document ends: the start of its delimiter's line, and the byte after that line.
pub(super) fn document_end(bytes: &[u8], start: usize, limit: usize, holes: &[Range<usize>], delimiter: &Delimiter) -> (usize, usize) {
    let (mut line, mut joined) = (start, false);
    while line < limit {
        let (mut pos, mut hole) = (line, false);
        while pos < limit && bytes[pos] != b'\n' {
            match holes.binary_search_by_key(&pos, |hole| hole.start) {
                Ok(n) => {
                    hole = true;
                    pos = holes[n].end;
                }
                Err(_) => pos += 1,
            }
        }
        let pos = pos.min(limit);
        let mut text = &bytes[line..pos];
        if delimiter.tabs {
            text = &text[text.iter().take_while(|b| **b == b'\t').count()..];
        }
        if !hole && !joined && text == delimiter.text.as_bytes() {
            return (line, (pos + 1).min(limit));
        }
        joined = !delimiter.quoted && text.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1;
        line = pos + 1;
    }
    (limit, limit)
}
