//! The lexer: for each hole the place it stands in, and the simple commands of a text.
//!
//! Owns what of the shell's grammar decides quoting: words, quotes, `$( )`, `${ }`, `$(( ))`, `[[ ]]`,
//! `case`, comments, here-documents. Never expands. Must hold: it ends on any text, and each hole gets
//! exactly one place; where the grammar is beyond it, the place is one that refuses values.

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
struct Document {
    body: Range<usize>,
    delimiter: Delimiter,
    hole: Option<Range<usize>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Delimiter {
    text: String,
    quoted: bool,
    tabs: bool,
}

/// What the lexer found in one text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shelled {
    places: Vec<Place>,
    /// Holes in a `$( )` of a here-document.
    nested: Vec<usize>,
    documents: Vec<Document>,
    commands: Vec<Vec<Word>>,
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
            return Err(Fault::new("quote_place", at.clone(), "a here-document takes away a backslash at the end of a line, also inside `$(…)`")
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
                return Err(Fault::new("quote_place", hole.clone(), format!("the value would end the here-document: a line of it is `{name}`"))
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

/// Lexes a command; `holes` are the parts of `text` that values will stand in, in order.
pub fn lex(text: &str, holes: &[Range<usize>]) -> Result<Shelled, Vec<Fault>> {
    let mut lexer = Lexer {
        bytes: text.as_bytes(),
        holes,
        pos: 0,
        end: text.len(),
        name_end: None,
        depth: 0,
        pending: Vec::new(),
        shelled: Shelled { places: Vec::with_capacity(holes.len()), nested: Vec::new(), documents: Vec::new(), commands: Vec::new() },
        faults: Vec::new(),
    };
    lexer.commands(Until::End, true);
    lexer.shelled.places.resize(holes.len(), Place::Variable);
    if lexer.faults.is_empty() { Ok(lexer.shelled) } else { Err(lexer.faults) }
}

/// Where a here-document ends: the start of its delimiter's line, and the byte after that line.
fn document_end(bytes: &[u8], start: usize, limit: usize, holes: &[Range<usize>], delimiter: &Delimiter) -> (usize, usize) {
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    End,
    Paren,
}

/// What surrounds a `$`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around {
    Bare,
    Double,
    Document,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sym {
    Byte(u8),
    Hole,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Subject,
    Pattern,
    Body,
}

#[derive(Default)]
struct Building {
    text: Vec<u8>,
    expands: bool,
    quoted: bool,
}

/// How deep quotes and brackets may nest.
const DEEPEST: usize = 64;

/// Words before a command that are not part of it.
const BEFORE: &[&str] = &["if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "coproc"];

struct Lexer<'a> {
    bytes: &'a [u8],
    holes: &'a [Range<usize>],
    pos: usize,
    end: usize,
    /// Where a variable without braces has just ended.
    name_end: Option<usize>,
    depth: usize,
    pending: Vec<Delimiter>,
    shelled: Shelled,
    faults: Vec<Fault>,
}

impl Lexer<'_> {
    fn peek(&self) -> Sym {
        if self.pos >= self.end {
            return Sym::End;
        }
        match self.next_hole() {
            Some(hole) if hole.start == self.pos => Sym::Hole,
            _ => Sym::Byte(self.bytes[self.pos]),
        }
    }

    fn next_hole(&self) -> Option<&Range<usize>> {
        self.holes.get(self.shelled.places.len())
    }

    /// The byte `n` further on, if no hole stands between.
    fn ahead(&self, n: usize) -> u8 {
        let pos = self.pos + n;
        match self.next_hole() {
            Some(hole) if hole.start <= pos => 0,
            _ if pos < self.end => self.bytes[pos],
            _ => 0,
        }
    }

    fn bump(&mut self) {
        self.pos += 1;
    }

    /// Takes the hole that is next.
    fn hole(&mut self, place: Place) {
        if let Some(hole) = self.next_hole().cloned() {
            self.pos = hole.end;
            self.shelled.places.push(place);
        }
    }

    fn apart(&self) -> bool {
        self.name_end == Some(self.pos)
    }

    fn fault(&mut self, code: &'static str, at: Range<usize>, message: &str, label: &str) {
        let hint = "in YAML ` #` begins a comment unless the value is quoted or a `|` block; it may have cut this command";
        // One unclosed quote makes more of them.
        if self.faults.is_empty() {
            let fault = Fault::new(code, at, message).label(label);
            self.faults.push(if code == "unclosed_quote" { fault.hint(hint) } else { fault });
        }
    }

    /// Goes one level deeper, or to the end of the text if that is too deep.
    fn deeper(&mut self, inner: impl FnOnce(&mut Self) -> bool, opened: Range<usize>, message: &str) {
        if self.depth >= DEEPEST {
            self.fault("shell_syntax", opened, "quotes and brackets nest too deep here", "too deep");
            while self.peek() != Sym::End {
                match self.peek() {
                    Sym::Hole => self.hole(Place::Variable),
                    _ => self.bump(),
                }
            }
            return;
        }
        self.depth += 1;
        let closed = inner(self);
        self.depth -= 1;
        if !closed && !message.is_empty() {
            self.fault("unclosed_quote", opened, message, "opened here");
        }
    }

    /// Commands up to the end or the closing bracket; false if there was none.
    fn commands(&mut self, until: Until, collect: bool) -> bool {
        let mut command: Vec<Word> = Vec::new();
        let mut word: Option<Building> = None;
        let mut target = false;
        let mut cases: Vec<Case> = Vec::new();
        macro_rules! end_word {
            () => {
                if let Some(built) = word.take() {
                    self.end_word(built, &mut command, &mut target, &mut cases);
                }
            };
        }
        macro_rules! end_command {
            () => {
                end_word!();
                let command = std::mem::take(&mut command);
                if collect && !command.is_empty() && !matches!(cases.last(), Some(Case::Subject | Case::Pattern)) {
                    self.shelled.commands.push(command);
                }
            };
        }
        loop {
            let byte = match self.peek() {
                Sym::End => {
                    end_command!();
                    return until == Until::End;
                }
                Sym::Hole => {
                    let glued = word.is_some();
                    let apart = self.apart();
                    let one = target || cases.last() == Some(&Case::Subject);
                    let number = self.shelled.places.len();
                    self.hole(Place::Variable);
                    let next = self.peek();
                    let separate = match next {
                        Sym::End => true,
                        Sym::Hole => false,
                        Sym::Byte(b) => matches!(b, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>'),
                    };
                    let apart = apart || matches!(next, Sym::Byte(b'<' | b'>' | b'('));
                    if let Some(place) = self.shelled.places.get_mut(number) {
                        *place = Place::Bare { alone: !glued && separate, one, apart };
                    }
                    word.get_or_insert_default().expands = true;
                    continue;
                }
                Sym::Byte(byte) => byte,
            };
            match byte {
                b' ' | b'\t' => {
                    end_word!();
                    self.bump();
                }
                b'\n' => {
                    end_command!();
                    target = false;
                    self.bump();
                    self.documents();
                }
                b'\\' if self.ahead(1) == b'\n' => self.continuation(),
                b'#' if word.is_none() => self.comment(),
                b';' => {
                    end_command!();
                    target = false;
                    self.bump();
                    while matches!(self.peek(), Sym::Byte(b';' | b'&')) {
                        self.bump();
                        if let Some(case @ Case::Body) = cases.last_mut() {
                            *case = Case::Pattern;
                        }
                    }
                }
                b'&' if self.ahead(1) == b'>' => {
                    end_word!();
                    self.bump();
                    self.bump();
                    if self.ahead(0) == b'>' {
                        self.bump();
                    }
                    target = true;
                }
                b'&' | b'|' => {
                    if byte == b'|' && cases.last() == Some(&Case::Pattern) {
                        end_word!();
                        self.bump();
                        continue;
                    }
                    end_command!();
                    target = false;
                    self.bump();
                    if matches!(self.peek(), Sym::Byte(b'&' | b'|')) {
                        self.bump();
                    }
                }
                b'(' => self.paren(&mut word, &mut command, &cases),
                b')' => {
                    end_word!();
                    self.bump();
                    if let Some(case @ Case::Pattern) = cases.last_mut() {
                        command.clear();
                        *case = Case::Body;
                        continue;
                    }
                    end_command!();
                    if until == Until::Paren {
                        return true;
                    }
                }
                b'<' | b'>' if self.ahead(1) == b'(' => {
                    word.get_or_insert_default().expands = true;
                    let at = self.pos..self.pos + 2;
                    self.pos += 2;
                    self.deeper(|lexer| lexer.commands(Until::Paren, true), at, "");
                }
                b'<' | b'>' => {
                    // Digits right before it are the number of a descriptor.
                    if word.as_ref().is_some_and(|built| !built.expands && !built.quoted && built.text.iter().all(u8::is_ascii_digit)) {
                        word = None;
                    }
                    end_word!();
                    target = self.redirection(byte);
                }
                _ => self.part(byte, word.get_or_insert_default()),
            }
            if let Some(built) = &word
                && command.is_empty()
                && !built.quoted
                && built.text == b"[["
                && matches!(self.peek(), Sym::Byte(b' ' | b'\t' | b'\n'))
            {
                word = None;
                self.condition();
            }
        }
    }

    /// A finished word: the target of a redirection, a keyword, or a word of the command.
    fn end_word(&mut self, built: Building, command: &mut Vec<Word>, target: &mut bool, cases: &mut Vec<Case>) {
        if std::mem::take(target) {
            return;
        }
        let text = match built.expands {
            false => Some(String::from_utf8_lossy(&built.text).into_owned()),
            true => None,
        };
        let keyword = if built.quoted { None } else { text.as_deref() };
        match (cases.last(), keyword) {
            (Some(Case::Subject), Some("in")) if !command.is_empty() => {
                command.clear();
                if let Some(case) = cases.last_mut() {
                    *case = Case::Pattern;
                }
                return;
            }
            (Some(Case::Pattern | Case::Body), Some("esac")) if command.is_empty() => {
                cases.pop();
                return;
            }
            (Some(Case::Subject | Case::Pattern), _) => {}
            (_, Some("case")) if command.is_empty() => {
                cases.push(Case::Subject);
                return;
            }
            (_, Some(keyword)) if command.is_empty() && BEFORE.contains(&keyword) => return,
            _ => {}
        }
        command.push(Word { text, quoted: built.quoted });
    }

    /// `(`: a subshell, arithmetic, a function, an array, or part of a pattern.
    fn paren(&mut self, word: &mut Option<Building>, command: &mut Vec<Word>, cases: &[Case]) {
        let at = self.pos..self.pos + 1;
        if let Some(built) = word {
            self.bump();
            if self.ahead(0) == b')' {
                self.bump();
                *word = None;
                command.clear();
                return;
            }
            built.expands = true;
            self.deeper(|lexer| lexer.commands(Until::Paren, false), at, "");
            return;
        }
        if cases.last() == Some(&Case::Pattern) {
            self.bump();
            return;
        }
        if self.ahead(1) == b'(' && self.is_arithmetic(self.pos + 2) {
            self.pos += 2;
            self.deeper(Self::arithmetic, at, "");
            return;
        }
        self.bump();
        self.deeper(|lexer| lexer.commands(Until::Paren, true), at, "");
    }

    /// At `<` or `>`; true if a target follows.
    fn redirection(&mut self, byte: u8) -> bool {
        self.bump();
        match (byte, self.ahead(0)) {
            (b'<', b'<') if self.ahead(1) == b'<' => {
                self.pos += 2;
                true
            }
            (b'<', b'<') => {
                self.bump();
                let tabs = self.ahead(0) == b'-';
                if tabs {
                    self.bump();
                }
                self.delimiter(tabs);
                false
            }
            (_, b'>' | b'&' | b'|') => {
                self.bump();
                true
            }
            _ => true,
        }
    }

    fn delimiter(&mut self, tabs: bool) {
        let (mut text, mut quoted) = (Vec::new(), false);
        while matches!(self.peek(), Sym::Byte(b' ' | b'\t')) {
            self.bump();
        }
        loop {
            match self.peek() {
                Sym::End | Sym::Byte(b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>') => break,
                Sym::Hole => self.hole(Place::Delimiter),
                Sym::Byte(quote @ (b'\'' | b'"')) => {
                    quoted = true;
                    let start = self.pos;
                    self.bump();
                    loop {
                        match self.peek() {
                            Sym::End => {
                                self.fault("unclosed_quote", start..start + 1, "a quote is not closed", "opened here");
                                break;
                            }
                            Sym::Hole => self.hole(Place::Delimiter),
                            Sym::Byte(b) => {
                                self.bump();
                                if b == quote {
                                    break;
                                }
                                text.push(b);
                            }
                        }
                    }
                }
                Sym::Byte(b'\\') => {
                    quoted = true;
                    self.bump();
                }
                Sym::Byte(b) => {
                    text.push(b);
                    self.bump();
                }
            }
        }
        self.pending.push(Delimiter { text: String::from_utf8_lossy(&text).into_owned(), quoted, tabs });
    }

    /// The bodies of the here-documents that were announced; at the start of a line.
    fn documents(&mut self) {
        for delimiter in std::mem::take(&mut self.pending) {
            let start = self.pos;
            let (body_end, after) = document_end(self.bytes, start, self.end, self.holes, &delimiter);
            let first = self.shelled.places.len();
            let place = Place::Document { quoted: delimiter.quoted, tabs: delimiter.tabs };
            let outer = std::mem::replace(&mut self.end, body_end);
            loop {
                match self.peek() {
                    Sym::End => break,
                    Sym::Hole if self.apart() && !delimiter.quoted => self.hole(Place::Dollar),
                    Sym::Hole => self.hole(place),
                    Sym::Byte(b'\\') if !delimiter.quoted => self.escaped(),
                    Sym::Byte(b'$') if !delimiter.quoted => self.dollar(Around::Document),
                    Sym::Byte(b'`') if !delimiter.quoted => self.backquote(),
                    Sym::Byte(_) => self.bump(),
                }
            }
            self.end = outer;
            self.pos = after;
            let inner = (first..self.shelled.places.len()).filter(|&n| !matches!(self.shelled.places.get(n), Some(Place::Document { .. })));
            let inner: Vec<usize> = inner.filter(|n| !self.shelled.nested.contains(n)).collect();
            self.shelled.nested.extend(inner);
            let hole = if self.shelled.places.len() > first { self.holes.get(first).cloned() } else { None };
            self.shelled.documents.push(Document { body: start..body_end, delimiter, hole });
        }
    }

    fn comment(&mut self) {
        loop {
            match self.peek() {
                Sym::End | Sym::Byte(b'\n') => return,
                Sym::Hole => self.hole(Place::Comment),
                Sym::Byte(_) => self.bump(),
            }
        }
    }

    /// A part of a word outside quotes.
    fn part(&mut self, byte: u8, word: &mut Building) {
        match byte {
            b'\'' => {
                word.quoted = true;
                word.expands |= self.single(Some(&mut word.text));
            }
            b'"' => {
                word.quoted = true;
                word.expands |= self.double(Some(&mut word.text));
            }
            b'$' => {
                word.expands = true;
                self.dollar(Around::Bare);
            }
            b'`' => {
                word.expands = true;
                self.backquote();
            }
            b'\\' => {
                word.quoted = true;
                if self.ahead(1) != 0 {
                    word.text.push(self.ahead(1));
                }
                self.escaped();
            }
            b'*' | b'?' | b'[' => {
                // `[` alone is a command, and `[[` a keyword.
                word.expands |= byte != b'[';
                word.text.push(byte);
                self.bump();
            }
            byte => {
                word.text.push(byte);
                self.bump();
            }
        }
    }

    /// A backslash at the end of a line: both are gone before words are made.
    fn continuation(&mut self) {
        let apart = self.apart();
        self.pos += 2;
        if apart {
            self.name_end = Some(self.pos);
        }
    }

    /// A backslash and what it quotes.
    fn escaped(&mut self) {
        if self.ahead(1) == b'\n' {
            return self.continuation();
        }
        self.bump();
        match self.peek() {
            Sym::Hole => self.hole(Place::Backslash),
            Sym::Byte(_) => self.bump(),
            Sym::End => {}
        }
    }

    /// `'…'`; true if a hole is in it.
    fn single(&mut self, mut text: Option<&mut Vec<u8>>) -> bool {
        let start = self.pos;
        let mut expands = false;
        self.bump();
        loop {
            match self.peek() {
                Sym::End => {
                    self.fault("unclosed_quote", start..start + 1, "a `'` is not closed", "opened here");
                    return true;
                }
                Sym::Hole => {
                    expands = true;
                    self.hole(Place::Single);
                }
                Sym::Byte(b'\'') => {
                    self.bump();
                    return expands;
                }
                Sym::Byte(b) => {
                    if let Some(text) = text.as_deref_mut() {
                        text.push(b);
                    }
                    self.bump();
                }
            }
        }
    }

    /// `$'…'`, at its quote.
    fn ansi(&mut self) {
        let start = self.pos;
        self.bump();
        loop {
            match self.peek() {
                Sym::End => return self.fault("unclosed_quote", start..start + 1, "a `$'` is not closed", "opened here"),
                Sym::Hole => self.hole(Place::Ansi),
                Sym::Byte(b'\\') => self.escaped(),
                Sym::Byte(b'\'') => return self.bump(),
                Sym::Byte(_) => self.bump(),
            }
        }
    }

    /// `"…"`; true if something in it is expanded.
    fn double(&mut self, mut text: Option<&mut Vec<u8>>) -> bool {
        let start = self.pos;
        let mut expands = false;
        self.bump();
        loop {
            match self.peek() {
                Sym::End => {
                    self.fault("unclosed_quote", start..start + 1, "a `\"` is not closed", "opened here");
                    return true;
                }
                Sym::Hole => {
                    expands = true;
                    self.hole(Place::Double { apart: self.apart() });
                }
                Sym::Byte(b'"') => {
                    self.bump();
                    return expands;
                }
                Sym::Byte(b'\\') => {
                    if let Some(text) = text.as_deref_mut() {
                        match self.ahead(1) {
                            b'\n' => {}
                            b @ (b'$' | b'`' | b'"' | b'\\') => text.push(b),
                            b => text.extend([b'\\', b]),
                        }
                    }
                    self.escaped();
                }
                Sym::Byte(b'$') => {
                    expands = true;
                    self.dollar(Around::Double);
                }
                Sym::Byte(b'`') => {
                    expands = true;
                    self.backquote();
                }
                Sym::Byte(b) => {
                    if let Some(text) = text.as_deref_mut() {
                        text.push(b);
                    }
                    self.bump();
                }
            }
        }
    }

    fn backquote(&mut self) {
        let start = self.pos;
        self.bump();
        loop {
            match self.peek() {
                Sym::End => return self.fault("unclosed_quote", start..start + 1, "a backquote is not closed", "opened here"),
                Sym::Hole => self.hole(Place::Backquote),
                Sym::Byte(b'\\') => {
                    self.bump();
                    if let Sym::Byte(_) = self.peek() {
                        self.bump();
                    }
                }
                Sym::Byte(b'`') => return self.bump(),
                Sym::Byte(_) => self.bump(),
            }
        }
    }

    /// At a `$`.
    fn dollar(&mut self, around: Around) {
        let at = self.pos..self.pos + 2;
        self.bump();
        while self.ahead(0) == b'\\' && self.ahead(1) == b'\n' {
            self.pos += 2;
        }
        let byte = match self.peek() {
            Sym::Hole => return self.hole(Place::Dollar),
            Sym::End => return,
            Sym::Byte(byte) => byte,
        };
        match byte {
            b'(' if self.ahead(1) == b'(' && self.is_arithmetic(self.pos + 2) => {
                self.pos += 2;
                self.deeper(Self::arithmetic, at, "`$((` is not closed");
            }
            b'(' => {
                self.bump();
                self.deeper(|lexer| lexer.commands(Until::Paren, true), at, "`$(` is not closed");
            }
            b'{' => self.deeper(|lexer| lexer.brace(around), at, "`${` is not closed"),
            b'\'' if around == Around::Bare => self.ansi(),
            b'"' if around == Around::Bare => {
                self.double(None);
            }
            b if b.is_ascii_alphabetic() || b == b'_' => {
                while matches!(self.peek(), Sym::Byte(b) if b.is_ascii_alphanumeric() || b == b'_') {
                    self.bump();
                }
                self.name_end = Some(self.pos);
            }
            b'0'..=b'9' | b'?' | b'#' | b'$' | b'!' | b'@' | b'*' | b'-' => {
                self.bump();
                self.name_end = Some(self.pos);
            }
            _ => {}
        }
    }

    /// `${…}`, at its brace.
    fn brace(&mut self, around: Around) -> bool {
        self.bump();
        if matches!(self.ahead(0), b'#' | b'!') && self.ahead(1) != b'}' {
            self.bump();
        }
        match self.peek() {
            Sym::Byte(b) if b.is_ascii_alphanumeric() || b == b'_' => {
                while matches!(self.peek(), Sym::Byte(b) if b.is_ascii_alphanumeric() || b == b'_') {
                    self.bump();
                }
            }
            Sym::Byte(b'?' | b'#' | b'$' | b'!' | b'@' | b'*' | b'-') => self.bump(),
            _ => {}
        }
        if self.peek() == Sym::Byte(b'[') {
            while !matches!(self.peek(), Sym::End | Sym::Byte(b']' | b'}')) {
                self.inside_brace(Around::Double, Place::Arithmetic);
            }
            if self.peek() == Sym::Byte(b']') {
                self.bump();
            }
        }
        let bare = Place::Bare { alone: false, one: true, apart: true };
        // In double quotes the word of `:-` is read as if in double quotes, a pattern is not.
        let (place, quotes) = match (self.ahead(0), self.ahead(1), around) {
            (b'-' | b'=' | b'?' | b'+', ..) | (b':', b'-' | b'=' | b'?' | b'+', _) => match around {
                Around::Bare => (bare, Around::Bare),
                Around::Double => (Place::DoubleBrace, Around::Double),
                Around::Document => (Place::Variable, Around::Double),
            },
            (b'#' | b'%', _, Around::Bare | Around::Double) | (b'/' | b'^' | b',', _, Around::Bare) => (bare, Around::Bare),
            (b':', ..) => (Place::Arithmetic, Around::Double),
            _ => (Place::Variable, around),
        };
        loop {
            match self.peek() {
                Sym::End => return false,
                Sym::Byte(b'}') => {
                    self.bump();
                    return true;
                }
                _ => self.inside_brace(quotes, place),
            }
        }
    }

    fn inside_brace(&mut self, quotes: Around, place: Place) {
        match self.peek() {
            Sym::End => {}
            Sym::Hole => self.hole(place),
            Sym::Byte(b'\'') if quotes == Around::Bare => {
                self.single(None);
            }
            Sym::Byte(b'"') => {
                let at = self.pos..self.pos + 1;
                self.deeper(
                    |lexer| {
                        lexer.double(None);
                        true
                    },
                    at,
                    "",
                );
            }
            Sym::Byte(b'\\') => self.escaped(),
            Sym::Byte(b'$') => self.dollar(quotes),
            Sym::Byte(b'`') => self.backquote(),
            Sym::Byte(_) => self.bump(),
        }
    }

    /// `[[ … ]]`, after its opening.
    fn condition(&mut self) {
        let mut blank = true;
        let mut word = Building::default();
        loop {
            let start = self.pos;
            match self.peek() {
                Sym::End => return,
                Sym::Hole => {
                    let apart = self.apart();
                    self.hole(Place::Bare { alone: false, one: true, apart });
                }
                Sym::Byte(b']') if blank && self.ahead(1) == b']' && !is_word(self.ahead(2)) => {
                    self.pos += 2;
                    return;
                }
                Sym::Byte(b'\n') => {
                    self.bump();
                    self.documents();
                }
                Sym::Byte(byte) => self.part(byte, &mut word),
            }
            word.text.clear();
            blank = self.pos == start + 1 && matches!(self.bytes.get(start), Some(b' ' | b'\t' | b'\n'));
        }
    }

    /// After `((`: whether `))` closes it, else it is a bracket in a bracket.
    fn is_arithmetic(&self, from: usize) -> bool {
        let (mut pos, mut depth) = (from, 0usize);
        while pos < self.end {
            if let Ok(n) = self.holes.binary_search_by_key(&pos, |hole| hole.start) {
                pos = self.holes[n].end;
                continue;
            }
            match self.bytes[pos] {
                b'(' => depth += 1,
                b')' if depth == 0 => return pos + 1 < self.end && self.bytes[pos + 1] == b')',
                b')' => depth -= 1,
                b'\\' => pos += 1,
                quote @ (b'\'' | b'"') => {
                    pos += 1;
                    while pos < self.end && self.bytes[pos] != quote {
                        pos += if self.bytes[pos] == b'\\' && quote == b'"' { 2 } else { 1 };
                    }
                }
                _ => {}
            }
            pos += 1;
        }
        false
    }

    fn arithmetic(&mut self) -> bool {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Sym::End => return false,
                Sym::Hole => self.hole(Place::Arithmetic),
                Sym::Byte(b')') if depth == 0 => {
                    self.bump();
                    if self.peek() == Sym::Byte(b')') {
                        self.bump();
                    }
                    return true;
                }
                Sym::Byte(b')') => {
                    depth = depth.saturating_sub(1);
                    self.bump();
                }
                Sym::Byte(b'(') => {
                    depth += 1;
                    self.bump();
                }
                Sym::Byte(b'\'') => {
                    self.single(None);
                }
                _ => self.inside_brace(Around::Double, Place::Arithmetic),
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    !matches!(byte, 0 | b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>')
}
