//! Where a piece of a scalar's decoded text stands in its source.
//!
//! Owns the way back from a text to its spelling: folding, escapes, indentation, chomping. Never
//! parses a file. Must hold: for every scalar the decoded text is, byte for byte, what the parser
//! gave.

use std::ops::Range;

use crate::diag::Span;
use crate::value::Style;

/// The place of a range of bytes of a scalar's decoded text in its source; `at` and `style` are
/// the scalar's. An escape or a fold is marked whole. A range beyond the text gives its end.
pub fn inside(source: &str, at: Span, style: Style, range: Range<usize>) -> Span {
    let decoded = decoded(source, at, style);
    let start = decoded.start(range.start);
    let end = if range.end > range.start { decoded.end(range.end) } else { start };
    Span { file: at.file, start: start as u32, end: end.max(start) as u32 }
}

/// A scalar's text and the runs it is made of.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) text: String,
    runs: Vec<Run>,
    /// Where the scalar ends in the source.
    limit: usize,
}

/// A run of decoded bytes. `literal`: byte for byte as in the source.
struct Run {
    text: Range<usize>,
    source: Range<usize>,
    literal: bool,
}

impl Decoded {
    fn literal(&mut self, source: &str, range: Range<usize>) {
        let Some(piece) = source.get(range.clone()) else { return };
        if piece.is_empty() {
            return;
        }
        let start = self.text.len();
        self.text.push_str(piece);
        self.runs.push(Run { text: start..self.text.len(), source: range, literal: true });
    }

    fn other(&mut self, piece: &str, range: Range<usize>) {
        let start = self.text.len();
        self.text.push_str(piece);
        self.runs.push(Run { text: start..self.text.len(), source: range, literal: false });
    }

    /// The run that holds a byte of the text.
    fn run(&self, byte: usize) -> Option<&Run> {
        let n = self.runs.partition_point(|run| run.text.end <= byte);
        self.runs.get(n)
    }

    fn start(&self, byte: usize) -> usize {
        match self.run(byte) {
            Some(run) if run.literal => run.source.start + (byte - run.text.start),
            Some(run) => run.source.start,
            None => self.runs.last().map_or(self.limit, |run| run.source.end),
        }
    }

    fn end(&self, byte: usize) -> usize {
        match byte.checked_sub(1).and_then(|last| self.run(last)) {
            Some(run) if run.literal => run.source.start + (byte - run.text.start),
            Some(run) => run.source.end,
            None => self.runs.last().map_or(self.limit, |run| run.source.end),
        }
    }
}

/// Decodes a scalar from its source.
pub(super) fn decoded(source: &str, at: Span, style: Style) -> Decoded {
    let (start, end) = (at.start as usize, (at.end as usize).min(source.len()));
    let mut out = Decoded { limit: end, ..Decoded::default() };
    if start > end || !source.is_char_boundary(start) || !source.is_char_boundary(end) {
        return out;
    }
    match style {
        Style::Plain => flow(source, start..end, None, &mut out),
        Style::Single => flow(source, inner(source, start..end, b'\''), Some(b'\''), &mut out),
        Style::Double => flow(source, inner(source, start..end, b'"'), Some(b'"'), &mut out),
        Style::Block => block(source, start..end, &mut out),
    }
    out
}

/// A range without its quotes.
fn inner(source: &str, range: Range<usize>, quote: u8) -> Range<usize> {
    let bytes = source.as_bytes();
    let start = if bytes.get(range.start) == Some(&quote) { range.start + 1 } else { range.start };
    let end = if range.end > start && bytes.get(range.end - 1) == Some(&quote) { range.end - 1 } else { range.end };
    start..end
}

/// Plain and quoted text: line breaks fold, quotes and escapes are undone.
fn flow(source: &str, range: Range<usize>, quote: Option<u8>, out: &mut Decoded) {
    let bytes = source.as_bytes();
    let Range { start: mut at, end } = range;
    let byte = |at: usize| if at < end { bytes[at] } else { 0 };
    let mut run = at;
    // Blanks at the end of a line fall away, but not those an escape made.
    let mut solid = at;
    while at < end {
        match bytes[at] {
            b'\'' if quote == Some(b'\'') && byte(at + 1) == b'\'' => {
                out.literal(source, run..at);
                out.other("'", at..at + 2);
                at += 2;
                (run, solid) = (at, at);
            }
            b'\\' if quote == Some(b'"') => {
                out.literal(source, run..at);
                let after = escape(source, at..end, out);
                at = after.max(at + 1);
                (run, solid) = (at, at);
            }
            b'\n' | b'\r' => {
                out.literal(source, run..solid);
                let (next, breaks) = fold(bytes, at, end);
                let piece = if breaks > 1 { "\n".repeat(breaks - 1) } else { " ".to_owned() };
                out.other(&piece, solid..next);
                at = next;
                (run, solid) = (at, at);
            }
            b' ' | b'\t' => at += 1,
            _ => {
                at += 1;
                solid = at;
            }
        }
    }
    out.literal(source, run..end);
}

/// Skips line breaks and the blanks around them: where text goes on, and how many breaks there were.
fn fold(bytes: &[u8], mut at: usize, end: usize) -> (usize, usize) {
    let mut breaks = 0;
    while at < end {
        match bytes[at] {
            b'\r' if at + 1 < end && bytes[at + 1] == b'\n' => at += 1,
            b'\n' | b'\r' => {
                breaks += 1;
                at += 1;
            }
            b' ' | b'\t' => at += 1,
            _ => break,
        }
    }
    (at, breaks)
}

/// Undoes the escape at the start of the range; where it ends.
fn escape(source: &str, range: Range<usize>, out: &mut Decoded) -> usize {
    let bytes = source.as_bytes();
    let Range { start, end } = range;
    let Some(c) = source.get(start + 1..end).and_then(|rest| rest.chars().next()) else { return end };
    let simple = match c {
        '\n' | '\r' => {
            let (next, breaks) = fold(bytes, start + 1, end);
            if breaks > 1 {
                out.other(&"\n".repeat(breaks - 1), start..next);
            }
            return next;
        }
        '0' => "\0",
        'a' => "\x07",
        'b' => "\x08",
        't' | '\t' => "\t",
        'n' => "\n",
        'v' => "\x0B",
        'f' => "\x0C",
        'r' => "\r",
        'e' => "\x1B",
        'N' => "\u{85}",
        '_' => "\u{A0}",
        'L' => "\u{2028}",
        'P' => "\u{2029}",
        'x' | 'u' | 'U' => {
            let digits = match c {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            let hex = |at: usize, digits: usize| source.get(at..at + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let mut next = start + 2 + digits;
            let mut code = hex(start + 2, digits).unwrap_or(0xFFFD);
            if (0xD800..0xDC00).contains(&code) && source.get(next..next + 2) == Some("\\u") {
                let low = hex(next + 2, 4).unwrap_or(0xDC00);
                code = 0x10000 + ((code - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF);
                next += 6;
            }
            let mut piece = [0; 4];
            let piece = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut piece);
            out.other(piece, start..next.min(end));
            return next.min(end);
        }
        other => {
            let mut piece = [0; 4];
            out.other(other.encode_utf8(&mut piece), start..start + 1 + other.len_utf8());
            return start + 1 + other.len_utf8();
        }
    };
    out.other(simple, start..start + 1 + c.len_utf8());
    start + 1 + c.len_utf8()
}

/// Where the header (`|`, `>-`) of a block begins, looking from the end of what came before it.
pub(super) fn header(source: &str, from: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut at = if from == 0 && source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { from };
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'|' | b'>' => return Some(at),
            b'#' => at += bytes[at..].iter().position(|&b| b == b'\n')?,
            b'&' | b'!' => at += bytes[at..].iter().position(|b| b.is_ascii_whitespace())?,
            b' ' | b'\t' | b'\r' | b'\n' | b'-' | b':' | b'?' => at += 1,
            _ => return None,
        }
    }
    None
}

/// A `|` or `>` block.
fn block(source: &str, range: Range<usize>, out: &mut Decoded) {
    let bytes = source.as_bytes();
    let folded = bytes.get(range.start) == Some(&b'>');
    let end = range.end;
    let first = bytes[range.start..end].iter().position(|&b| b == b'\n').map_or(end, |at| range.start + at + 1);
    let mut explicit = None;
    let mut chomp = b' ';
    for &byte in bytes.get(range.start + 1..first).unwrap_or_default() {
        match byte {
            b'+' | b'-' => chomp = byte,
            b'1'..=b'9' => explicit = Some(usize::from(byte - b'0')),
            _ => break,
        }
    }
    let indent = match explicit {
        Some(more) => parent(source, range.start) + more,
        None => lines(bytes, first, end).find(|line| line.text < line.end).map_or(usize::MAX, |line| line.text - line.start),
    };
    // The break after the last text, and the empty lines since.
    let mut pending: Option<Range<usize>> = None;
    let mut empty: Vec<Range<usize>> = Vec::new();
    let mut foldable = false;
    for line in lines(bytes, first, end) {
        let text = line.start + (line.text - line.start).min(indent);
        if text >= line.end {
            if line.next > line.end {
                empty.push(line.end..line.next);
            }
            continue;
        }
        if line.text - line.start < indent && line.text < line.end {
            break;
        }
        let blank = matches!(bytes[text], b' ' | b'\t');
        if let Some(last) = pending.take() {
            if folded && foldable && !blank {
                if empty.is_empty() {
                    out.other(" ", last.start..text);
                }
            } else {
                out.other("\n", last);
            }
        }
        for gap in empty.drain(..) {
            out.other("\n", gap);
        }
        out.literal(source, text..line.end);
        foldable = !blank;
        pending = Some(line.end..line.next);
    }
    if chomp != b'-'
        && let Some(last) = pending
    {
        out.other("\n", last);
    }
    if chomp == b'+' {
        for gap in empty {
            out.other("\n", gap);
        }
    }
}

/// A line: its first byte, its first byte that is no space, its end and the start of the next.
struct Line {
    start: usize,
    text: usize,
    end: usize,
    next: usize,
}

fn lines(bytes: &[u8], from: usize, end: usize) -> impl Iterator<Item = Line> + '_ {
    let mut at = from;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let start = at;
        let (mut last, next) = match bytes[start..end].iter().position(|&b| b == b'\n') {
            Some(n) => (start + n, start + n + 1),
            None => (end, end),
        };
        if last > start && bytes[last - 1] == b'\r' && next > last {
            last -= 1;
        }
        let text = bytes[start..last].iter().position(|&b| b != b' ').map_or(last, |n| start + n);
        at = next;
        Some(Line { start, text, end: last, next })
    })
}

/// The indentation of the list or map a block stands in, which an explicit indicator counts from.
fn parent(source: &str, header: usize) -> usize {
    let bytes = source.as_bytes();
    let mut line_end = header;
    loop {
        let line = source.get(..line_end).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let start = if line == 0 && source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { line };
        let mut at = start;
        let mut column = None;
        while at < line_end {
            match bytes[at] {
                b' ' => {}
                b'-' | b'?' if matches!(bytes.get(at + 1), None | Some(b' ' | b'\n' | b'\r')) => column = Some(at - start),
                b'#' | b'&' | b'!' | b'\r' => break,
                _ => {
                    column = Some(at - start);
                    break;
                }
            }
            at += 1;
        }
        match column {
            Some(column) => return column,
            None if line == 0 => return 0,
            None => line_end = line - 1,
        }
    }
}
