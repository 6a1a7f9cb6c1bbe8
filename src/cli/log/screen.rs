//! Bytes of a log, piece by piece, made fit for where they go: a terminal or JSON.
//!
//! Pure. Must hold: what goes to a terminal moves no cursor and does nothing but colour; the result does
//! not depend on how the bytes were cut into pieces; memory is that of a piece.

use crate::report::words::printable;

/// Longest colour sequence that is passed on, in bytes.
const LONGEST: usize = 64;

/// Hands on whole characters: what is cut at the end of a piece waits for the next.
#[derive(Default)]
struct Characters {
    held: Vec<u8>,
}

impl Characters {
    /// What is whole now.
    fn pass(&mut self, piece: &[u8], end: bool) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        if !end {
            self.held = bytes.split_off(whole(&bytes));
        }
        bytes
    }
}

/// Where the last character that is cut begins; the length if none is.
fn whole(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let need = match byte {
            0x80..=0xbf => continue,
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        return if need > back + 1 { bytes.len() - back - 1 } else { bytes.len() };
    }
    bytes.len()
}

/// For JSON: text, with bytes that are not UTF-8 as U+FFFD.
#[derive(Default)]
pub struct Text(Characters);

impl Text {
    /// The text of a piece; with `end` also of what was held back.
    pub fn pass(&mut self, piece: &[u8], end: bool) -> String {
        String::from_utf8_lossy(&self.0.pass(piece, end)).into_owned()
    }
}

/// For a terminal: newlines, tabs and colours pass, other control characters are shown as `\x1b`.
#[derive(Default)]
pub struct Screen {
    characters: Characters,
    /// The start of something that is decided by what follows: a colour, or `\r\n`.
    held: String,
    /// Whether colours pass.
    colour: bool,
    /// Whether a colour is on.
    coloured: bool,
}

impl Screen {
    /// With colours or without.
    pub fn new(colour: bool) -> Screen {
        Screen { colour, ..Screen::default() }
    }

    /// What a piece looks like; with `end` also what was held back.
    pub fn pass(&mut self, piece: &[u8], end: bool) -> String {
        let bytes = self.characters.pass(piece, end);
        let mut out = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            let invalid = chunk.invalid();
            self.text(chunk.valid(), end || !invalid.is_empty(), &mut out);
            for byte in invalid {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
        if end {
            self.text("", true, &mut out);
            if std::mem::take(&mut self.coloured) {
                out.push_str("\x1b[0m");
            }
        }
        out
    }

    fn text(&mut self, text: &str, end: bool, out: &mut String) {
        let joined;
        let mut rest = match self.held.is_empty() {
            true => text,
            false => {
                joined = std::mem::take(&mut self.held) + text;
                joined.as_str()
            }
        };
        while let Some(at) = rest.find(['\r', '\x1b']) {
            let (before, special) = rest.split_at(at);
            plain(before, out);
            if special.starts_with("\r\n") {
                rest = &special[1..];
                continue;
            }
            match colour(special) {
                Colour::Whole(length) => {
                    let (sequence, after) = special.split_at(length);
                    if self.colour {
                        out.push_str(sequence);
                        self.coloured = !matches!(sequence, "\x1b[m" | "\x1b[0m");
                    }
                    rest = after;
                }
                Colour::Cut if !end => {
                    self.held = special.to_owned();
                    return;
                }
                Colour::Cut | Colour::No => {
                    out.push_str(&printable(&special[..1]));
                    rest = &special[1..];
                }
            }
        }
        plain(rest, out);
    }
}

/// Text without `\r` and escapes: lines and tabs as they are, the rest printable.
fn plain(text: &str, out: &mut String) {
    for part in text.split_inclusive(['\n', '\t']) {
        let kept = part.len() - usize::from(part.ends_with(['\n', '\t']));
        out.push_str(&printable(&part[..kept]));
        out.push_str(&part[kept..]);
    }
}

/// What an escape or a `\r` begins.
enum Colour {
    /// A colour of this many bytes.
    Whole(usize),
    /// It may become one (or a line's end).
    Cut,
    /// Something else.
    No,
}

fn colour(text: &str) -> Colour {
    let Some(after) = text.strip_prefix('\x1b') else {
        return if text == "\r" { Colour::Cut } else { Colour::No };
    };
    let Some(numbers) = after.strip_prefix('[') else {
        return if after.is_empty() { Colour::Cut } else { Colour::No };
    };
    match numbers.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':') {
        Some(end) if numbers[end..].starts_with('m') && end <= LONGEST => Colour::Whole(2 + end + 1),
        None if numbers.len() <= LONGEST => Colour::Cut,
        _ => Colour::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        Screen::new(true).pass(bytes, true)
    }

    #[test]
    fn only_colours_reach_a_terminal() {
        for (bytes, want) in [
            (&b"plain\n\tline\n"[..], "plain\n\tline\n"),
            (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
            (b"\x1b[1;38:5:3mleft on", "\x1b[1;38:5:3mleft on\x1b[0m"),
            (b"\x1b[2Jgone\x1b[H\x07", "\\x1b[2Jgone\\x1b[H\\x07"),
            (b"\x1b]0;title\x07\x9b31m", "\\x1b]0;title\\x07\\x9b31m"),
            (b"10 %\r20 %\r\ndos\r\n", "10 %\\r20 %\ndos\n"),
            (b"bytes \xff\xe6\x97 end \xe6\x97", "bytes \\xff\\xe6\\x97 end \\xe6\\x97"),
            ("turned \u{202e} é 日".as_bytes(), "turned \\u{202e} é 日"),
            (b"cut \x1b[3", "cut \\x1b[3"),
            (b"\r", "\\r"),
        ] {
            assert_eq!(shown(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(Screen::new(false).pass(b"\x1b[31mred\x1b[0m\x1b[", true), "red\\x1b[");
    }

    #[test]
    fn pieces_make_no_difference() {
        let mut random = fastrand::Rng::with_seed(5);
        let parts: [&[u8]; 12] =
            [b"\x1b[", b"31", b"m", b"\r", b"\n", b"\t", b"a", "é".as_bytes(), "日".as_bytes(), b"\xff", b"\xe6\x97", b"\x1b"];
        for _ in 0..3_000 {
            let bytes: Vec<u8> = (0..random.usize(..12)).flat_map(|_| parts[random.usize(..parts.len())].to_vec()).collect();
            let (mut screen, mut text) = (Screen::new(true), Text::default());
            let (mut on_screen, mut in_json) = (String::new(), String::new());
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(random.usize(1..=rest.len()));
                on_screen.push_str(&screen.pass(piece, false));
                in_json.push_str(&text.pass(piece, false));
                rest = more;
            }
            on_screen.push_str(&screen.pass(&[], true));
            in_json.push_str(&text.pass(&[], true));
            assert_eq!(on_screen, shown(&bytes), "{bytes:?}");
            assert_eq!(in_json, String::from_utf8_lossy(&bytes), "{bytes:?}");
        }
    }

    #[test]
    fn little_is_held_back() {
        let mut screen = Screen::new(true);
        let endless = format!("\x1b[{}", "1;".repeat(1_000));
        assert!(screen.pass(endless.as_bytes(), false).starts_with("\\x1b[1;1;"));
        assert_eq!(screen.pass(b"m", true), "m");
    }
}
