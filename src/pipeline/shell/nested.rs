//! What nests in a word: quotes, `$…`, `${…}`, arithmetic, `[[ ]]`, here-documents.
//!
//! The second half of the lexer: the same state, one method for each kind of nesting.

use super::lexer::{Around, Building, Lexer, Sym, Until};
use super::place::{Document, Place, document_end};

impl Lexer<'_> {
    /// The bodies of the here-documents that were announced; at the start of a line.
    pub(super) fn documents(&mut self) {
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

    /// A backslash at the end of a line: both are gone before words are made.
    pub(super) fn continuation(&mut self) {
        let apart = self.apart();
        self.pos += 2;
        if apart {
            self.name_end = Some(self.pos);
        }
    }

    /// A backslash and what it quotes.
    pub(super) fn escaped(&mut self) {
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
    pub(super) fn single(&mut self, mut text: Option<&mut Vec<u8>>) -> bool {
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
    pub(super) fn ansi(&mut self) {
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
    pub(super) fn double(&mut self, mut text: Option<&mut Vec<u8>>) -> bool {
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

    pub(super) fn backquote(&mut self) {
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
    pub(super) fn dollar(&mut self, around: Around) {
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
    pub(super) fn brace(&mut self, around: Around) -> bool {
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

    pub(super) fn inside_brace(&mut self, quotes: Around, place: Place) {
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
    pub(super) fn condition(&mut self) {
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
    pub(super) fn is_arithmetic(&self, from: usize) -> bool {
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

    pub(super) fn arithmetic(&mut self) -> bool {
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
