//! The lexer: for each hole the place it stands in, and the simple commands of a text.
//!
//! Owns what of the shell's grammar decides quoting: words, quotes, `$( )`, `${ }`, `$(( ))`, `[[ ]]`,
//! `case`, comments, here-documents. Never expands. Must hold: it ends on any text, and each hole gets
//! exactly one place; where the grammar is beyond it, the place is one that refuses values.

use std::ops::Range;

use super::place::{Delimiter, Place, Shelled, Word};
use crate::pipeline::template::Fault;

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

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    End,
    Paren,
}

/// What surrounds a `$`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    Bare,
    Double,
    Document,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sym {
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
pub(super) struct Building {
    pub text: Vec<u8>,
    pub expands: bool,
    pub quoted: bool,
}

/// How deep quotes and brackets may nest.
const DEEPEST: usize = 64;

/// Words before a command that are not part of it.
const BEFORE: &[&str] = &["if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "coproc"];

pub(super) struct Lexer<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) holes: &'a [Range<usize>],
    pub(super) pos: usize,
    pub(super) end: usize,
    /// Where a variable without braces has just ended.
    pub(super) name_end: Option<usize>,
    pub(super) depth: usize,
    pub(super) pending: Vec<Delimiter>,
    pub(super) shelled: Shelled,
    pub(super) faults: Vec<Fault>,
}

impl Lexer<'_> {
    pub(super) fn peek(&self) -> Sym {
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
    pub(super) fn ahead(&self, n: usize) -> u8 {
        let pos = self.pos + n;
        match self.next_hole() {
            Some(hole) if hole.start <= pos => 0,
            _ if pos < self.end => self.bytes[pos],
            _ => 0,
        }
    }

    pub(super) fn bump(&mut self) {
        self.pos += 1;
    }

    /// Takes the hole that is next.
    pub(super) fn hole(&mut self, place: Place) {
        if let Some(hole) = self.next_hole().cloned() {
            self.pos = hole.end;
            self.shelled.places.push(place);
        }
    }

    pub(super) fn apart(&self) -> bool {
        self.name_end == Some(self.pos)
    }

    pub(super) fn fault(&mut self, code: &'static str, at: Range<usize>, message: &str, label: &str) {
        let hint = "in YAML ` #` begins a comment unless the value is quoted or a `|` block; it may have cut this command";
        // One unclosed quote makes more of them.
        if self.faults.is_empty() {
            let fault = Fault::new(code, at, message).label(label);
            self.faults.push(if code == "unclosed_quote" { fault.hint(hint) } else { fault });
        }
    }

    /// Goes one level deeper, or to the end of the text if that is too deep.
    pub(super) fn deeper(&mut self, inner: impl FnOnce(&mut Self) -> bool, opened: Range<usize>, message: &str) {
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
    pub(super) fn commands(&mut self, until: Until, collect: bool) -> bool {
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
    pub(super) fn part(&mut self, byte: u8, word: &mut Building) {
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
}
