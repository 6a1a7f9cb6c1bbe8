//! The quoting rule: a value arrives literally, wherever its hole stands.
//!
//! Owns how a value is written at each [`Place`], and which values can't stand there. It guards the
//! shell, not the languages inside its strings (SQL, awk). Must hold: what is written expands to
//! exactly the value, in every POSIX shell.

use std::ops::Range;

use super::direct::KEYWORDS;
use super::place::Place;
use crate::pipeline::scope::Val;
use crate::pipeline::template::Fault;

/// Writes a value at a place; `at` is the hole, for faults.
pub(super) fn write(place: Place, val: &Val, at: &Range<usize>, out: &mut String) -> Result<(), Fault> {
    if let Some(refusal) = refusal(place, at) {
        return Err(refusal);
    }
    let Some(members) = val.members() else {
        let text = one(val, at)?;
        return write_text(place, text, at, out);
    };
    match place {
        Place::Bare { alone, one: single, apart } if alone && (!single || members.len() == 1) => {
            for (n, member) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(' ');
                }
                write_word(one(member, at)?, apart, out);
            }
            Ok(())
        }
        Place::Bare { one: true, alone: true, .. } => Err(list(at, "a list where the shell takes one word").label(match members.len() {
            0 => "an empty list".to_string(),
            count => format!("a list of {count}"),
        })),
        Place::Bare { .. } => Err(list(at, "a list glued to other text").label("a list")),
        Place::Arithmetic => Err(list(at, "a list in arithmetic").label("a list")),
        Place::Document { .. } => Err(list(at, "a list in a here-document").label("a list")),
        _ => Err(list(at, "a list inside quotes").label("a list")),
    }
}

/// A text as one word of a POSIX shell, quoted only if needed.
pub fn word(text: &str) -> String {
    let mut out = String::new();
    write_word(text, false, &mut out);
    out
}

/// The fault of a value with a NUL byte.
pub fn nul(at: &Range<usize>) -> Fault {
    Fault::new("quote_place", at.clone(), "the value has a NUL byte, which no command can be given").label("holds a NUL byte")
}

fn list(at: &Range<usize>, message: &str) -> Fault {
    Fault::new("quote_place", at.clone(), message).hint("write `| join(' ')` for one text, `| each('-I')` for words that each follow an option (as a word of its own), or name one entry, as `[0]`")
}

/// Where no value may stand.
fn refusal(place: Place, at: &Range<usize>) -> Option<Fault> {
    let fault = |message: &str| Some(Fault::new("quote_place", at.clone(), message));
    match place {
        Place::Comment => {
            Some(fault("a value in a shell comment")?.label("after `#`").hint("take it out, or write `| raw` to have the text as it is"))
        }
        Place::Backquote => Some(
            fault("a value in backquotes")?
                .label("can't be quoted here")
                .hint("write `$(…)` instead, or `| raw` to have the text as it is"),
        ),
        Place::Backslash => Some(
            fault("a backslash right before a value")?
                .label("would quote the first character only")
                .hint("values are quoted by themselves; a literal `${{` is written `${{ '${{' }}`"),
        ),
        Place::Dollar => Some(
            fault("a variable runs into this value")?
                .label("would become part of a variable's name")
                .hint("write `${name}` for the variable, or `\\$` for a dollar sign"),
        ),
        Place::Variable => Some(
            fault("a value inside `${…}` can't be quoted here")?
                .label("not at this place")
                .hint("give it to a variable first: `x=${{ … }}`, or write `| raw` to have the text as it is"),
        ),
        Place::Delimiter => Some(fault("a value in the delimiter of a here-document")?.label("not at this place")),
        _ => None,
    }
}

fn one<'a>(val: &'a Val, at: &Range<usize>) -> Result<&'a str, Fault> {
    match val.print() {
        Some(text) if text.contains('\0') => Err(nul(at)),
        Some(text) => Ok(text),
        None => {
            let fault = Fault::new("template_type", at.clone(), format!("{} can't stand in a command", val.kind())).label(val.kind());
            Err(match val {
                Val::Null => fault.hint("`| default('…')` says what to write instead"),
                Val::Map(_) => fault.hint("name one of its keys, or write `| json`"),
                _ => fault.hint("write `| json`"),
            })
        }
    }
}

fn write_text(place: Place, text: &str, at: &Range<usize>, out: &mut String) -> Result<(), Fault> {
    let escape = |out: &mut String, special: &[char]| {
        for c in text.chars() {
            if special.contains(&c) {
                out.push('\\');
            }
            out.push(c);
        }
    };
    match place {
        Place::Bare { apart, .. } => write_word(text, apart, out),
        Place::Double { apart } => {
            if apart {
                out.push_str("\"\"");
            }
            escape(out, &['$', '`', '"', '\\']);
        }
        // bash takes a `'` or `}` here for its own, unless it stands in quotes again.
        Place::DoubleBrace => {
            out.push('"');
            escape(out, &['$', '`', '"', '\\']);
            out.push('"');
        }
        Place::Single => out.push_str(&text.replace('\'', "'\\''")),
        Place::Ansi => escape(out, &['\'', '\\']),
        Place::Document { quoted, tabs } => {
            if tabs && text.split('\n').any(|line| line.starts_with('\t')) {
                return Err(Fault::new("quote_place", at.clone(), "`<<-` takes the tabs away that this value's lines start with")
                    .label("a line starts with a tab")
                    .hint("write `<<`"));
            }
            if quoted { out.push_str(text) } else { escape(out, &['$', '`', '\\']) }
        }
        Place::Arithmetic => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let number = |digits: &str| {
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
                let hex = whole.strip_prefix("0x").is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()));
                let all = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                (hex || all(whole)) && all(fraction)
            };
            if !number(digits) {
                return Err(Fault::new("quote_place", at.clone(), format!("`{}` is no number, and this is arithmetic", shown(text)))
                    .label("a number is needed")
                    .hint("`| raw` puts the text in as it is"));
            }
            if digits.len() < text.len() {
                out.push_str(&format!("({text})"));
            } else {
                out.push_str(text);
            }
        }
        Place::Comment | Place::Backquote | Place::Backslash | Place::Dollar | Place::Variable | Place::Delimiter => {}
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn write_word(text: &str, apart: bool, out: &mut String) {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | ',' | '+' | '@' | '%' | '-');
    if !apart && !text.is_empty() && text.chars().all(plain) && !KEYWORDS.contains(&text) {
        out.push_str(text);
        return;
    }
    out.push('\'');
    out.push_str(&text.replace('\'', "'\\''"));
    out.push('\'');
}
