//! Code frames: faults of a pipeline file as a person sees them.
//!
//! Owns how a [`Diagnostic`] is drawn. Never words one, never decides what is a fault. Must hold: a
//! line of any length and any content is shown in bounded time and width, with nothing in it that
//! could steer a terminal.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::diag::{Diagnostic, Lines, Place, Severity, Sources, Span};

/// How it is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// With colours.
    pub colour: bool,
    /// Columns of the terminal; lines of the file are cut to it.
    pub width: usize,
}

impl Default for Look {
    fn default() -> Look {
        Look { colour: false, width: 100 }
    }
}

/// So many faults are drawn; of the others only their number is told.
const SHOWN: usize = 50;

/// So much of a line is looked at on each side of its mark, in bytes.
const AROUND: usize = 600;

/// All faults, each with its frame, in the order of their places; ends in a line break unless empty.
/// Errors come before warnings when there are too many for both.
pub fn diagnostics(list: &[Diagnostic], sources: &Sources, look: Look) -> String {
    let mut sorted: Vec<&Diagnostic> = list.iter().collect();
    sorted.sort_by_key(|fault| (!fault.is_error(), fault.at));
    sorted.dedup();
    let more = sorted.len().saturating_sub(SHOWN);
    sorted.truncate(SHOWN);
    sorted.sort_by_key(|fault| fault.at);
    // Lines are counted once for each file that has a fault.
    let mut lines: Vec<Option<Lines>> = sources.files().iter().map(|_| None).collect();
    let places = sorted.iter().flat_map(|fault| std::iter::once(fault.at).chain(fault.also.iter().map(|also| also.at)));
    for at in places {
        if let (Some(slot @ None), Some(source)) = (lines.get_mut(at.file as usize), sources.get(at.file)) {
            *slot = Some(Lines::new(&source.text));
        }
    }
    let mut out = String::new();
    for fault in sorted {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&frame(fault, sources, &lines, look));
    }
    if more > 0 {
        out.push_str(&format!("\nand {more} more\n"));
    }
    out
}

/// The line that closes a list with errors: `2 mistakes in pipelines/etl.yaml; nothing was run`.
pub fn closing(list: &[Diagnostic], sources: &Sources) -> Option<String> {
    let mut errors: Vec<&Diagnostic> = list.iter().filter(|fault| fault.is_error()).collect();
    errors.sort_by_key(|fault| fault.at);
    errors.dedup();
    let count = errors.len();
    let mut files: Vec<u32> = errors.iter().map(|fault| fault.at.file).collect();
    files.dedup();
    let place = match files.as_slice() {
        [] => return None,
        [file] => sources.get(*file).map_or("the pipeline".to_owned(), |source| escaped(&source.path)),
        files => format!("{} files", files.len()),
    };
    let mistakes = if count == 1 { "mistake" } else { "mistakes" };
    Some(format!("{count} {mistakes} in {place}; nothing was run"))
}

/// A name from outside with its control characters escaped.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// A piece of one line with a mark in it.
struct Piece {
    path: String,
    place: Place,
    text: String,
    mark: Range<usize>,
    /// Column of the mark in the piece.
    column: usize,
}

/// The line of a place, cut around its mark; what goes on in further lines is left out.
fn piece(at: Span, sources: &Sources, lines: &[Option<Lines>]) -> Option<Piece> {
    let source = sources.get(at.file)?;
    let text: &str = &source.text;
    let start = floor(text, at.start as usize);
    let line_start = text[..start].rfind('\n').map_or(0, |n| n + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |n| start + n);
    let line_end = if text[..line_end].ends_with('\r') && line_end > start { line_end - 1 } else { line_end };
    let end = floor(text, at.end as usize).clamp(start, line_end.max(start));
    let from = floor(text, line_start.max(start.saturating_sub(AROUND)));
    let to = floor(text, line_end.min(start + AROUND)).max(from);
    let mut piece: String = text[from..to].to_owned();
    let mark = start - from..end.min(to).max(start) - from;
    let column = piece.get(..mark.start).map_or(0, |before| before.chars().count()) + 1;
    // An invisible mark at the start of a file would shift its first line.
    if let Some(rest) = piece.strip_prefix('\u{feff}') {
        piece = format!(" {rest}");
        let shift = '\u{feff}'.len_utf8() - 1;
        return Some(Piece {
            path: escaped(&source.path),
            place: lines.get(at.file as usize)?.as_ref()?.place(text, at),
            mark: mark.start.saturating_sub(shift)..mark.end.saturating_sub(shift),
            text: piece,
            column,
        });
    }
    Some(Piece { path: escaped(&source.path), place: lines.get(at.file as usize)?.as_ref()?.place(text, at), text: piece, mark, column })
}

/// The nearest boundary of a character at or before a byte.
fn floor(text: &str, byte: usize) -> usize {
    let mut at = byte.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn frame(fault: &Diagnostic, sources: &Sources, lines: &[Option<Lines>], look: Look) -> String {
    let level = match fault.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let first = piece(fault.at, sources, lines);
    let others: Vec<(Option<Piece>, &str)> = fault.also.iter().map(|also| (piece(also.at, sources, lines), also.label.as_str())).collect();
    let mut group = Group::with_title(level.primary_title(escaped(&fault.message)));
    let mut columns = Vec::new();
    if let Some(first) = &first {
        let mut primary = AnnotationKind::Primary.span(first.mark.clone());
        if !fault.label.is_empty() {
            primary = primary.label(escaped(&fault.label));
        }
        let mut snippet =
            Snippet::source(first.text.as_str()).line_start(first.place.line as usize).path(first.path.as_str()).annotation(primary);
        columns.push((first.place.line, first.column, first.place.column));
        // A second place on the same line is marked in the same picture.
        let cut = first.place.column as usize != first.column;
        let beside = |other: &Piece| {
            !cut && other.place.file == first.place.file && other.place.line == first.place.line && other.text == first.text
        };
        for (other, label) in &others {
            if let Some(other) = other
                && beside(other)
            {
                snippet = snippet.annotation(AnnotationKind::Context.span(other.mark.clone()).label(escaped(label)));
            }
        }
        group = group.element(snippet);
        for (other, label) in &others {
            if let Some(other) = other
                && !beside(other)
            {
                let mark = AnnotationKind::Context.span(other.mark.clone()).label(escaped(label));
                columns.push((other.place.line, other.column, other.place.column));
                group = group.element(
                    Snippet::source(other.text.as_str()).line_start(other.place.line as usize).path(other.path.as_str()).annotation(mark),
                );
            }
        }
    }
    if let Some(hint) = &fault.hint {
        let hint: Vec<String> = hint.lines().map(escaped).collect();
        group = group.element(Level::HELP.message(hint.join("\n")));
    }
    let renderer = if look.colour { Renderer::styled().hyperlink(false) } else { Renderer::plain() };
    let text = renderer.term_width(look.width.max(40)).render(&[group]);
    // Left out: blanks at the ends of lines, and the empty line of the frame before a second place.
    let mut out = String::with_capacity(text.len() + 1);
    let mut columns = columns.into_iter();
    let mut rest = text.lines().peekable();
    while let Some(line) = rest.next() {
        let bare = |line: &str| anstream::adapter::strip_str(line).to_string().trim().to_owned();
        let plain = bare(line);
        if plain == "|" && rest.peek().is_some_and(|next| bare(next).starts_with(":::")) {
            continue;
        }
        // Of a line that was cut the column is counted from the cut.
        if (plain.starts_with("-->") || plain.starts_with(":::"))
            && let Some((at, column, right)) = columns.next()
            && column != right as usize
        {
            out.push_str(line.replacen(&format!(":{at}:{column}"), &format!(":{at}:{right}"), 1).trim_end());
            out.push('\n');
            continue;
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str, faults: &[Diagnostic]) -> String {
        let mut sources = Sources::default();
        sources.add("pipelines/etl.yaml", text);
        diagnostics(faults, &sources, Look::default())
    }

    fn at(text: &str, word: &str) -> Span {
        let start = text.find(word).unwrap();
        Span { file: 0, start: start as u32, end: (start + word.len()) as u32 }
    }

    #[test]
    fn as_the_contract_shows_it() {
        let text = format!(
            "{}    input: [raw.csv]\n    outputs: [data/clean.csv]\n{}    outputs: [data/clean.csv] \n",
            "\n".repeat(13),
            "\n".repeat(6)
        );
        let second = text.rfind("data/clean.csv").unwrap() as u32;
        let faults = [
            Diagnostic::error("two_makers", at(&text, "data/clean.csv"), "`clean` and `tidy` both make data/clean.csv")
                .also(Span { file: 0, start: second, end: second + 14 }, "also made here"),
            Diagnostic::error("unknown_key", at(&text, "input"), "unknown key `input` in stage `clean`").label("did you mean `inputs`?"),
        ];
        let want = "\
error: unknown key `input` in stage `clean`
  --> pipelines/etl.yaml:14:5
   |
14 |     input: [raw.csv]
   |     ^^^^^ did you mean `inputs`?

error: `clean` and `tidy` both make data/clean.csv
  --> pipelines/etl.yaml:15:15
   |
15 |     outputs: [data/clean.csv]
   |               ^^^^^^^^^^^^^^
  ::: pipelines/etl.yaml:22:15
   |
22 |     outputs: [data/clean.csv]
   |               -------------- also made here
";
        assert_eq!(show(&text, &faults), want);
        let mut sources = Sources::default();
        sources.add("pipelines/etl.yaml", text.as_str());
        assert_eq!(closing(&faults, &sources).unwrap(), "2 mistakes in pipelines/etl.yaml; nothing was run");
        assert_eq!(closing(&faults[..1], &sources).unwrap(), "1 mistake in pipelines/etl.yaml; nothing was run");
        assert_eq!(closing(&[], &sources), None);
    }

    #[test]
    fn a_file_is_read_and_shown() {
        let text = "stages:\n  clean:\n    cmd: sort raw.csv\n    input: [raw.csv]\n    outputs: [${{ x }}]\n";
        let want = "\
error: unknown key `input` in stage `clean`
 --> pipelines/etl.yaml:4:5
  |
4 |     input: [raw.csv]
  |     ^^^^^ did you mean `inputs`?

error: `${{ }}` can't stand bare inside `[…]` or `{…}`
 --> pipelines/etl.yaml:5:15
  |
5 |     outputs: [${{ x }}]
  |               ^^^^^^^^ YAML takes this `{` for the start of a map
  |
  = help: quote it: [\"${{ x }}\"], or give it a line of its own: `- ${{ x }}`
";
        assert_eq!(show(text, &crate::pipeline::read::read(text, 0).1), want);
    }

    #[test]
    fn hints_stand_below() {
        let text = "a:\n  cmd: [x]\n";
        let fault = Diagnostic::error("wrong_type", at(text, "[x]"), "`cmd` takes one text").label("a list").hint("write\ncmd: |\n  x");
        let want = "\
error: `cmd` takes one text
 --> pipelines/etl.yaml:2:8
  |
2 |   cmd: [x]
  |        ^^^ a list
  |
  = help: write
          cmd: |
            x
";
        assert_eq!(show(text, &[fault]), want);
    }

    #[test]
    fn a_line_of_8_mib_is_cut_around_its_mark() {
        let text = format!("a: '{}X{}'\n", "é".repeat(4 << 20), "b".repeat(1 << 20));
        let fault = Diagnostic::error("x", at(&text, "X"), "here");
        let shown = show(&text, &[fault]);
        println!("{shown}");
        assert!(shown.contains(&format!(":1:{}", (4 << 20) + 5)));
        assert!(shown.lines().all(|line| line.chars().count() <= 110));
        let long = Diagnostic::error("x", Span { file: 0, start: 3, end: text.len() as u32 }, "all of it").label("here");
        assert!(show(&text, &[long]).lines().all(|line| line.chars().count() <= 110));
    }

    #[test]
    fn control_characters_and_tabs_are_tame() {
        let text = "a:\t\u{1b}[31mred\u{7}\n";
        let fault = Diagnostic::error("x", at(text, "red"), "message \u{1b}[0m").label("label \u{1b}").hint("hint \u{8}");
        let shown = show(text, &[fault]);
        println!("{shown}");
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    }

    #[test]
    fn many_faults_are_counted_and_the_same_one_is_told_once() {
        let text = "a: b\n".repeat(200);
        let fault = |n: u32| Diagnostic::error("x", Span { file: 0, start: n * 5, end: n * 5 + 1 }, "wrong");
        let mut faults: Vec<Diagnostic> = (0..120).map(fault).collect();
        faults.push(fault(3));
        let warning = Diagnostic::warning("x", Span { file: 0, start: 0, end: 1 }, "beware");
        faults.insert(0, warning);
        let shown = show(&text, &faults);
        assert_eq!(shown.matches("error: wrong").count(), 50);
        assert!(shown.ends_with("\nand 71 more\n"));
        assert!(!shown.contains("beware"));
    }

    #[test]
    fn places_beyond_the_text_do_no_harm() {
        for (start, end) in [(0, 0), (3, 900), (900, 901), (2, 1), (4, 4)] {
            let fault = Diagnostic::warning("x", Span { file: 0, start, end }, "m").also(Span { file: 7, start: 1, end: 2 }, "nowhere");
            assert!(show("é\r\nö", &[fault]).starts_with("warning: m\n"));
        }
        let fault = Diagnostic::error("x", Span { file: 9, start: 0, end: 1 }, "m");
        assert_eq!(show("", &[fault]), "error: m\n");
        assert!(show("", &[Diagnostic::error("x", Span::default(), "empty file").label("here")]).contains("here"));
    }

    #[test]
    fn colour_changes_no_text() {
        let text = "\u{feff}a: b # é\nc: d\n";
        let fault = Diagnostic::error("x", at(text, "a"), "m").label("l").also(at(text, "d"), "n").hint("h");
        let mut sources = Sources::default();
        sources.add("p.yaml", text);
        let coloured = diagnostics(std::slice::from_ref(&fault), &sources, Look { colour: true, width: 80 });
        assert!(coloured.contains("\u{1b}["));
        let plain: String = anstream::adapter::strip_str(&coloured).to_string();
        let trimmed: String = plain.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        assert_eq!(trimmed, diagnostics(&[fault], &sources, Look { colour: false, width: 80 }));
    }
}
