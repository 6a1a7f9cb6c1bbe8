//! What is said of a text that is no YAML, or YAML that a pipeline must not hold.
//!
//! Owns the words. Never reads on. Must hold: each fault has a place a person can act on, and where
//! there is one usual cause, the text that mends it.

use granit_parser::{ErrorKind, ScanError};

use crate::diag::{Diagnostic, Span};
use crate::value::Style;

/// What was known where the parser stopped.
pub(super) struct State<'a> {
    pub(super) text: &'a str,
    pub(super) file: u32,
    /// The last scalar that was read.
    pub(super) last: Option<(Span, Style)>,
    /// Where the last event ended.
    pub(super) before: usize,
    /// Where the innermost open `[` or `{` is.
    pub(super) flow: Option<usize>,
}

/// The text in quotes that mean the same to YAML.
pub(super) fn quoted(text: &str) -> String {
    if text.contains(['"', '\\']) { format!("'{}'", text.replace('\'', "''")) } else { format!("\"{text}\"") }
}

/// A text short enough to be shown inside a sentence.
fn shown(text: &str) -> Option<&str> {
    (text.len() <= 60 && !text.contains('\n') && !text.is_empty()).then_some(text)
}

/// A hint to quote a text.
fn quote_it(text: &str) -> String {
    match shown(text) {
        Some(text) => format!("quote it: {}", quoted(text)),
        None => "put it in quotes, or write it below a `|`".to_owned(),
    }
}

/// The first control character of a text, which no YAML text may hold.
pub(super) fn control_character(text: &str, file: u32) -> Option<Diagnostic> {
    let bytes = text.as_bytes();
    let refused = |at: usize| match bytes[at] {
        b'\t' | b'\n' => false,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        byte => byte < 0x20 || byte == 0x7F,
    };
    let at = (0..bytes.len()).find(|&at| refused(at))?;
    let span = Span { file, start: at as u32, end: at as u32 + 1 };
    let message = match bytes[at] {
        0 => "a NUL character in the file".to_owned(),
        b'\r' => "a carriage return that ends no line".to_owned(),
        byte => format!("a control character (0x{byte:02X}) in the file"),
    };
    Some(
        Diagnostic::error("control_character", span, message)
            .label("here")
            .hint("in `\"…\"` it can be written as an escape, such as `\\x1b`"),
    )
}

/// A second document.
pub(super) fn documents(at: Span) -> Diagnostic {
    Diagnostic::error("documents", at, "a second document in one file").label("one file is one document").hint("remove the `---`")
}

/// Lists and maps nested too deep.
pub(super) fn depth(at: Span) -> Diagnostic {
    Diagnostic::error("too_deep", at, format!("lists and maps lie more than {} deep in each other", super::DEPTH))
        .label("too deep from here on")
}

/// Aliases that blow the file up.
pub(super) fn copies(at: Span, values: usize, mebibytes: usize) -> Diagnostic {
    let message = format!("aliases make this file larger than {values} values or {mebibytes} MiB");
    Diagnostic::error("too_large", at, message).label("the limit is reached here")
}

/// A tag on a value that reads `whole`, tag included.
pub(super) fn tag(at: Span, whole: &str, in_list: bool) -> Diagnostic {
    let tag = whole.split_whitespace().next().unwrap_or("!");
    if tag.starts_with("!!") || tag.starts_with("!<") {
        let fault = Diagnostic::error("tag", at, format!("the tag `{}`: YAML tags are not used here", tag.escape_debug()));
        return fault.label("a tag").hint("remove it; a value in quotes is text");
    }
    let fault = Diagnostic::error("tag", at, "YAML takes this `!` for the start of a tag").label("a tag, not part of the text");
    let quote = quote_it(whole);
    match in_list && tag.len() > 1 {
        true => fault.hint(format!("{quote}; to leave files out: `{{glob: …, exclude: {}}}`", tag.trim_start_matches('!'))),
        false => fault.hint(quote),
    }
}

/// An alias whose anchor is nowhere above.
pub(super) fn unknown_alias(text: &str, at: Span) -> Diagnostic {
    let name = text.get(at.start as usize..at.end as usize).unwrap_or("*");
    let fault = Diagnostic::error("alias", at, "YAML takes a text that starts with `*` for the name of an anchor");
    let fault = fault.label(format!("no `&{}` above", name.trim_start_matches('*')));
    fault.hint(quote_it(rest(text, at.start as usize)))
}

/// From a byte to the end of its line, without a comment.
fn rest(text: &str, from: usize) -> &str {
    let line = text.get(from..).unwrap_or_default().lines().next().unwrap_or_default();
    line.split(" #").next().unwrap_or_default().trim_end()
}

impl State<'_> {
    /// The words for what the parser says.
    pub(super) fn fault(&self, error: &ScanError) -> Diagnostic {
        let mut at = error.marker().byte_offset().unwrap_or_default().min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let here = self.char(at);
        let fault = |message: &str| Diagnostic::error("syntax", here, message);
        match error.kind() {
            ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::InvalidColonPlacement
                if self.text[..at].ends_with('$') && self.text[at..].starts_with('{') =>
            {
                self.template(at)
            }
            ErrorKind::MappingValueNotAllowed => self.second_colon(at),
            ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed | ErrorKind::TabInIndentation | ErrorKind::TabInPlainScalar => {
                let tab = self.line(at).find('\t').map_or(here, |n| self.char(self.line_start(at) + n));
                Diagnostic::error("syntax", tab, "a tab in the indentation").label("YAML takes spaces only")
            }
            ErrorKind::TabAtBlockScalarStart => {
                let tab = self.text[at..].find('\t').map_or(here, |n| self.char(at + n));
                Diagnostic::error("syntax", tab, "a tab in the indentation").label("YAML takes spaces only")
            }
            ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
                let word = rest(self.text, at);
                let at = Span { end: (at + word.len()) as u32, ..here };
                let fault = Diagnostic::error("syntax", at, "this line is neither `key: value` nor part of the text above");
                fault
                    .label("no `: ` here")
                    .hint("a key needs `: ` after it; a text of several lines stands below a `|`, deeper than its key")
            }
            ErrorKind::ExpectedBlockMappingKey | ErrorKind::ExpectedBlockSequenceEntry | ErrorKind::ExpectedDocumentStart
                if self.text[self.line_start(at)..at].trim_matches([' ', '-']).is_empty() =>
            {
                let word = rest(self.text, at);
                let at = Span { end: (at + word.len()) as u32, ..here };
                let entry = word.starts_with("- ") || word == "-";
                let fault = Diagnostic::error("syntax", at, "the indentation of this line fits no line above");
                fault.label(if entry { "a list entry is not possible here" } else { "a key is not possible here" })
            }
            ErrorKind::ExpectedBlockMappingKey | ErrorKind::ExpectedBlockSequenceEntry | ErrorKind::ExpectedDocumentStart => {
                self.trailing(at)
            }
            ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => self.trailing(at),
            ErrorKind::UnexpectedCharacter { character } => {
                let fault = fault(&format!("a text can't start with `{}`", character.escape_debug())).label("reserved by YAML");
                fault.hint(quote_it(rest(self.text, at)))
            }
            ErrorKind::UnexpectedEofBlockMapping | ErrorKind::UnexpectedEofBlockSequence | ErrorKind::ExpectedNodeContent
                if self.text[at..].starts_with([',', ']', '}']) =>
            {
                let fault = fault(&format!("a text can't start with `{}`", &self.text[at..at + 1])).label("reserved by YAML");
                fault.hint(quote_it(rest(self.text, at)))
            }
            ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
                fault("this quote is never closed").label("opened here")
            }
            ErrorKind::InvalidQuotedScalarIndent => {
                fault("a quoted text goes on at less indentation than its key").label("the quote is still open here")
            }
            ErrorKind::UnknownQuotedScalarEscape
            | ErrorKind::InvalidQuotedScalarHexEscape
            | ErrorKind::InvalidUnicodeEscape
            | ErrorKind::InvalidLowSurrogate
            | ErrorKind::InvalidLowSurrogateHexEscape
            | ErrorKind::MissingLowSurrogate
            | ErrorKind::UnpairedLowSurrogate => self.escape(at),
            ErrorKind::UnclosedFlowCollection { open } => fault(&format!("this `{open}` is never closed")).label("opened here"),
            ErrorKind::UnexpectedEofFlowSequence | ErrorKind::UnexpectedEofFlowMapping | ErrorKind::UnexpectedEofImplicitFlowMapping => {
                let open = self.flow.map_or(here, |open| self.char(open));
                Diagnostic::error("syntax", open, "this bracket is never closed").label("opened here")
            }
            ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
                let fault = fault(&format!("`{open}` is closed by `{close}`")).label("the other bracket is needed here");
                self.opened(fault)
            }
            ErrorKind::MisplacedFlowCollectionEnd => {
                let bracket = self.text[at..].chars().next().unwrap_or(']');
                let open = if bracket == '}' { '{' } else { '[' };
                fault(&format!("`{bracket}` without `{open}`"))
                    .label("nothing is open here")
                    .hint("a text that holds brackets needs quotes")
            }
            ErrorKind::ExpectedFlowSequenceSeparator => {
                self.opened(fault("a `,` or `]` is needed here").label("the list is not at its end"))
            }
            ErrorKind::ExpectedFlowMappingSeparator => self.opened(fault("a `,` or `}` is needed here").label("the map is not at its end")),
            ErrorKind::InvalidColonPlacement | ErrorKind::InvalidFlowScalarIndent | ErrorKind::BlockEntryInFlowCollection
                if self.flow.is_some() =>
            {
                self.opened(fault("the bracket above is not closed before this").label("still inside the bracket"))
            }
            ErrorKind::BlockSequenceEntryNotAllowed => fault("a list with `- ` can't start on the line of its key")
                .label("on a line of its own")
                .hint("a text that starts with `- ` needs quotes"),
            ErrorKind::InvalidBlockScalarHeader | ErrorKind::ZeroBlockScalarIndent => {
                fault("after `|` and `>` the text starts on the next line").label("nothing but `-`, `+` or a digit may follow on this line")
            }
            ErrorKind::InvalidBlockScalarIndent => {
                fault("an empty line above this one is indented deeper than the text").label("the text starts here")
            }
            ErrorKind::MissingAnchorOrAliasName => {
                let sign = self.text[at..].chars().next().unwrap_or('*');
                let fault = fault(&format!("a text can't start with `{}`", sign.escape_debug())).label("YAML needs a name after it");
                fault.hint(quote_it(rest(self.text, at)))
            }
            ErrorKind::RecursionLimitExceeded => depth(here),
            ErrorKind::BomInsideDocument => fault("a byte-order mark inside the file").label("an invisible character here"),
            kind => {
                let said = kind.to_string();
                let said = said.rsplit_once(", ").map_or(said.as_str(), |(_, end)| end);
                fault(&format!("this is no YAML: {said}")).label("reading stopped here")
            }
        }
    }

    fn char(&self, at: usize) -> Span {
        let len = self.text[at..].chars().next().map_or(0, |c| if c == '\n' { 0 } else { c.len_utf8() });
        Span { file: self.file, start: at as u32, end: (at + len) as u32 }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |at| at + 1)
    }

    fn line(&self, at: usize) -> &str {
        self.text[self.line_start(at)..].lines().next().unwrap_or_default()
    }

    fn opened(&self, fault: Diagnostic) -> Diagnostic {
        match self.flow {
            Some(open) if open < fault.at.start as usize => fault.also(self.char(open), "opened here"),
            _ => fault,
        }
    }

    /// `[${{ x }}]`: the brace opens a map for YAML.
    fn template(&self, at: usize) -> Diagnostic {
        let before = &self.text[self.line_start(at)..at];
        let from = self.line_start(at) + before.rfind(['[', '{', ',']).map_or(0, |n| n + 1);
        let from = from + (before.len() - (from - self.line_start(at)) - self.text[from..at].trim_start().len());
        let line_end = self.line_start(at) + self.line(at).len();
        let close = self.text[at..line_end].find("}}").map_or(line_end, |n| at + n + 2);
        let tail = self.text[close..line_end].find([',', ']', '}']).map_or(0, |n| n);
        let mut start = from;
        let mut key = "";
        // In a map the text that needs quotes is the value.
        if let Some(n) = self.text[from..at].find(": ") {
            key = &self.text[from..from + n + 2];
            start = from + n + 2;
        }
        let whole = self.text[start..close + tail].trim();
        let hole = Span { file: self.file, start: at as u32 - 1, end: close as u32 };
        let fault = Diagnostic::error("syntax", hole, "`${{ }}` can't stand bare inside `[…]` or `{…}`");
        let fault = fault.label("YAML takes this `{` for the start of a map");
        let list = self.flow.is_none_or(|open| self.text[open..].starts_with('['));
        match shown(whole) {
            Some(whole) if list && key.is_empty() => {
                fault.hint(format!("quote it: [{}], or give it a line of its own: `- {whole}`", quoted(whole)))
            }
            Some(whole) => fault.hint(format!("quote it: {{{key}{}}}, or give each key a line of its own", quoted(whole))),
            None => fault.hint("put it in quotes, or give each entry a line of its own: `- ${{ x }}`"),
        }
    }

    /// `k: a: b`, or a key below a value.
    fn second_colon(&self, at: usize) -> Diagnostic {
        let here = self.char(at);
        if let Some((last, style)) = self.last
            && last.start < at as u32
        {
            let start = last.start as usize;
            let written = self.text.get(start..at).unwrap_or_default();
            if style == Style::Plain && written.contains('\n') {
                let from = self.line_start(at) + (self.line(at).len() - self.line(at).trim_start().len());
                let key = Span { start: from.min(at) as u32, end: at as u32, ..here };
                let fault = Diagnostic::error("syntax", key, "a key below a value that is already there");
                let first = Span { end: (start + written.lines().next().unwrap_or_default().len()) as u32, ..last };
                return fault.label("indented deeper than the key above").also(first, "the value it would belong to");
            }
            let fault = Diagnostic::error("syntax", here, "a second `: ` on one line").label("YAML takes this for another key");
            return fault.hint(quote_it(rest(self.text, start)));
        }
        Diagnostic::error("syntax", here, "a `:` where no key can be").label("YAML takes this for the end of a key")
    }

    /// Something after a value that was at its end: `"a" b`, `[ -f x ] && y`.
    fn trailing(&self, at: usize) -> Diagnostic {
        let word = rest(self.text, at);
        let here = Span { file: self.file, start: at as u32, end: (at + word.len()).max(at) as u32 };
        let fault = Diagnostic::error("syntax", here, "more text after the end of a value").label("the value ended before this");
        let line = self.line(at);
        let from = line.find(": ").map(|n| n + 2).or_else(|| line.find("- ").map(|n| n + 2));
        let value = from.and_then(|from| line.get(from..)).unwrap_or_default().trim();
        if value.starts_with('\'') && value.ends_with('\'') && value.matches('\'').count() % 2 == 1 && value.len() <= 60 {
            let inner = value.get(1..value.len() - 1).unwrap_or_default().replace("''", "'");
            return fault.hint(format!("inside single quotes a quote is written twice: '{}'", inner.replace('\'', "''")));
        }
        if self.before <= at && value.starts_with(['\'', '"', '[', '{']) {
            return fault.hint(quote_it(rest(value, 0)));
        }
        fault
    }

    /// A `\` in double quotes that is no escape.
    fn escape(&self, at: usize) -> Diagnostic {
        let bytes = self.text.as_bytes();
        let mut n = at + 1;
        while n < bytes.len() {
            match bytes[n] {
                b'"' => break,
                b'\\' => {
                    let c = self.text[n + 1..].chars().next().unwrap_or(' ');
                    if !"0abt\tnvfre \"/\\N_LPxuU\r\n".contains(c) {
                        let here = Span { file: self.file, start: n as u32, end: (n + 1 + c.len_utf8()) as u32 };
                        let message = format!("`\\{}` is no escape of YAML's double quotes", c.escape_debug());
                        let fault = Diagnostic::error("syntax", here, message).label("not known to YAML");
                        return fault.hint(format!("write `\\\\{}`, or use single quotes", c.escape_debug()));
                    }
                    n += 1 + c.len_utf8();
                }
                _ => n += 1,
            }
        }
        let at = self.char(at);
        Diagnostic::error("syntax", at, "an escape in this text is not complete").label("in the text that starts here")
    }
}
