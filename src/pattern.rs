//! Patterns: the text of a glob as something that says which paths it means.
//!
//! Owns the syntax (`*` `?` `[a-z]` `**` `{a,b}` `\`) and the names that no wildcard ever finds.
//! Never touches the file system: `disk` walks, and asks here name by name. Must hold: what
//! [`Pattern::matches`] says of a path by its text is what a walk finds; a walk and a match go
//! through the same [`Branch::step`].
//!
//! - `*` and `?` match no `/` and no leading `.`; neither does a class `[a-z]`, `[!a-z]`.
//! - `**` between two `/` is any number of folders, none included, but no folder with a leading `.`.
//!   At the end it is everything below.
//! - `{a,b}` is one or the other and may hold `/`; braces without a comma are themselves.
//! - a `/` at the end means folders only; without it only files are meant.
//! - `\` before ASCII punctuation makes it an ordinary character.
//! - `.`, `..` and `//` are taken out as in any path of a pipeline.
//!
//! Matched by hand and not by globset: a component needs the rule of the leading dot, captures will
//! need it too, and a compiled regex costs 28 µs and kilobytes for each of 100,000 tasks.

mod braces;
mod part;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use self::braces::{expand, first_braces};
pub use self::part::{Part, Wild};

/// Longest text of a pattern in bytes; no path is longer.
const LONGEST: usize = 4096;
/// Most branches that braces may make.
const MOST_BRANCHES: usize = 1024;
/// Most parts of one branch below its folder: a set of places in it is one word.
const MOST_PARTS: usize = 62;

/// Why a text is not a pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternFault {
    /// Nothing is left to match: no text, `.`, `..` or `/`, or an empty alternative.
    #[error("the pattern `{0}` names no file")]
    Empty(String),
    /// The byte 0 ends a path for every system call.
    #[error("a pattern with a NUL character")]
    Nul,
    /// `[` without `]`.
    #[error("`[` without `]` in the pattern `{0}`; write `\\[` for the character itself")]
    OpenClass(String),
    /// `[z-a]`.
    #[error("the range `{from}-{to}` in the pattern `{pattern}` holds nothing; write `{to}-{from}`")]
    Range {
        /// The text.
        pattern: String,
        /// Its first character.
        from: char,
        /// Its last character.
        to: char,
    },
    /// `a**`, `**.csv`.
    #[error("`**` in the pattern `{0}` must stand alone between `/`, as in `**/*.csv`")]
    Glued(String),
    /// `*/../x`.
    #[error("`..` after a wildcard in the pattern `{0}`")]
    Above(String),
    /// `{a/,b}`.
    #[error("some alternatives of the pattern `{0}` end in `/` and some do not")]
    Mixed(String),
    /// Too long, too many alternatives or too many parts.
    #[error("the pattern `{shown}…` is too big: at most {LONGEST} bytes, {MOST_BRANCHES} alternatives and {MOST_PARTS} parts")]
    TooBig {
        /// Its first characters.
        shown: String,
    },
}

/// A glob, understood.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    folders: bool,
    branches: Vec<Branch>,
    prefix: String,
}

/// One way to match: the folder before the first wildcard and the parts below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    base: String,
    parts: Vec<Part>,
}

/// How far along a branch a path may be: a set of places in its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Places(u64);

/// What flow and other tools leave beside the data: no wildcard and no folder input ever sees these.
pub fn is_left_out(name: &str) -> bool {
    matches!(name, ".git" | "__pycache__" | ".ipynb_checkpoints" | ".DS_Store") || is_flows_own(name)
}

/// Flow's own folder and what it moves aside beside an output; outputs leave out these alone.
pub fn is_flows_own(name: &str) -> bool {
    name == ".flow" || name.starts_with(".flow-aside.")
}

/// Whether a text has glob characters. A `{` counts with its `}` and a comma between them; what a
/// backslash escapes does not count.
pub fn is_pattern(text: &str) -> bool {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(|&next| is_escapable(next)) => {
                chars.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    first_braces(text).is_some()
}

/// What a text that is no pattern names: `a\*b` is the path `a*b`.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next) if c == '\\' && is_escapable(next) => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// A `/` always divides, so nothing escapes it.
fn is_escapable(c: char) -> bool {
    c.is_ascii_punctuation() && c != '/'
}

impl Pattern {
    /// Understands a glob. A text without wildcards is a pattern too: it matches itself.
    pub fn parse(text: &str) -> Result<Pattern, PatternFault> {
        let too_big = || PatternFault::TooBig { shown: text.chars().take(40).collect() };
        if text.contains('\0') {
            return Err(PatternFault::Nul);
        }
        if text.len() > LONGEST {
            return Err(too_big());
        }
        let mut branches: Vec<Branch> = Vec::new();
        let mut folders = None;
        for one in expand(text).ok_or_else(too_big)? {
            if *folders.get_or_insert(one.ends_with('/')) != one.ends_with('/') {
                return Err(PatternFault::Mixed(text.into()));
            }
            let branch = Branch::parse(&one, text)?;
            if branch.parts.len() > MOST_PARTS {
                return Err(too_big());
            }
            if !branches.contains(&branch) {
                branches.push(branch);
            }
        }
        let prefix = common_folder(branches.iter().map(|branch| branch.base.as_str()));
        Ok(Pattern { text: text.into(), folders: folders.unwrap_or(false), branches, prefix })
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it ends in `/`: it means folders, never files.
    pub fn folders_only(&self) -> bool {
        self.folders
    }

    /// Whether it has no wildcard: it means one path, or some by their names.
    pub fn is_literal(&self) -> bool {
        self.branches.iter().all(|branch| branch.parts.iter().all(|part| part.name().is_some()))
    }

    /// The ways to match.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// The folder that the text before the first wildcard names, as a normal path (`.` for the
    /// workspace); of several alternatives the folder they share (`.` where they share none).
    pub fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it means a file at this path (normal form).
    pub fn matches(&self, path: &str) -> bool {
        !self.folders && self.finds(path)
    }

    /// Whether it means a folder at this path (normal form, no `/` at the end).
    pub fn matches_folder(&self, path: &str) -> bool {
        self.folders && self.finds(path)
    }

    /// Whether it leads to this path, whatever stands there.
    pub fn finds(&self, path: &str) -> bool {
        self.branches.iter().any(|branch| branch.after(path).is_some_and(|places| branch.is_end(places)))
    }

    /// Whether it may mean anything below this folder (normal form).
    pub fn could_match_below(&self, folder: &str) -> bool {
        self.branches.iter().any(|branch| {
            let above = branch.base == folder || below(&branch.base, folder).is_some();
            above || branch.after(folder).is_some_and(|places| branch.goes_on(places))
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Places {
    /// Whether no way leads on: what was stepped through is not meant.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Branch {
    /// The folder before the first part with a wildcard (or before the last part), as a normal path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The parts below the base; at least one, the last never [`Part::Folders`].
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where a walk stands in the base.
    pub fn start(&self) -> Places {
        self.closed(1)
    }

    /// Where it stands after one more component. `through` says whether `**` may go through it (a
    /// walk never lets it go through a symbolic link).
    pub fn step(&self, from: Places, name: &str, through: bool) -> Places {
        let mut to = 0;
        for (at, part) in self.at(from) {
            match part {
                Part::Name(wanted) if wanted == name => to |= 2 << at,
                Part::Wild(wild) if wild.matches(name) => to |= 2 << at,
                Part::Folders if through && enters(name) => to |= 1 << at,
                _ => {}
            }
        }
        self.closed(to)
    }

    /// Whether a path that has come this far is matched.
    pub fn is_end(&self, places: Places) -> bool {
        places.0 >> self.parts.len() & 1 == 1
    }

    /// Whether something below may be matched.
    pub fn goes_on(&self, places: Places) -> bool {
        places.0 & ((1 << self.parts.len()) - 1) != 0
    }

    /// The parts that the next component may be.
    pub fn next_parts(&self, places: Places) -> impl Iterator<Item = &Part> {
        self.at(places).map(|(_, part)| part)
    }

    fn at(&self, places: Places) -> impl Iterator<Item = (usize, &Part)> {
        self.parts.iter().enumerate().filter(move |(at, _)| places.0 >> at & 1 == 1)
    }

    /// `**` may be no folder at all: whoever stands at it stands behind it too.
    fn closed(&self, mut places: u64) -> Places {
        for (at, part) in self.parts.iter().enumerate() {
            if matches!(part, Part::Folders) && places >> at & 1 == 1 {
                places |= 2 << at;
            }
        }
        Places(places)
    }

    /// Where a path ends up, if it lies below the base.
    fn after(&self, path: &str) -> Option<Places> {
        let rest = below(path, &self.base)?;
        let mut places = self.start();
        for name in rest.split('/') {
            places = self.step(places, name, true);
            if places.is_empty() {
                return None;
            }
        }
        Some(places)
    }

    /// `one` is one alternative of `whole`.
    fn parse(one: &str, whole: &str) -> Result<Branch, PatternFault> {
        let absolute = one.starts_with('/');
        let mut parts: Vec<Part> = Vec::new();
        for text in one.split('/') {
            if text == "**" {
                if parts.last() != Some(&Part::Folders) {
                    parts.push(Part::Folders);
                }
                continue;
            }
            let part = Part::parse(text, whole)?;
            match &part {
                Part::Name(name) if name.is_empty() || name == "." => {}
                Part::Name(name) if name == ".." => match parts.last() {
                    Some(Part::Name(last)) if last != ".." => {
                        parts.pop();
                    }
                    None if absolute => {}
                    None | Some(Part::Name(_)) => parts.push(part),
                    Some(_) => return Err(PatternFault::Above(whole.into())),
                },
                _ => parts.push(part),
            }
        }
        if parts.last() == Some(&Part::Folders) {
            parts.push(Part::Wild(Wild::any()));
        }
        let wild = parts.iter().position(|part| !matches!(part, Part::Name(_))).unwrap_or(parts.len());
        let below = parts.split_off(wild.min(parts.len().saturating_sub(1)));
        if below.is_empty() || below == [Part::Name("..".into())] {
            return Err(PatternFault::Empty(whole.into()));
        }
        let names: Vec<&str> = parts.iter().filter_map(Part::name).collect();
        let base = match (absolute, names.join("/")) {
            (true, names) => format!("/{names}"),
            (false, names) if names.is_empty() => ".".into(),
            (false, names) => names,
        };
        Ok(Branch { base, parts: below })
    }
}

/// Whether `**` goes through a folder of this name.
fn enters(name: &str) -> bool {
    !name.starts_with('.') && !is_left_out(name)
}

/// What is left of a path below a folder, both in normal form.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = match folder {
        "." if path == "." || path == ".." || path.starts_with("../") || path.starts_with('/') => return None,
        "." => path,
        "/" => path.strip_prefix('/')?,
        _ => path.strip_prefix(folder)?.strip_prefix('/')?,
    };
    (!rest.is_empty()).then_some(rest)
}

/// The folder that holds all these folders, by text.
fn common_folder<'a>(mut folders: impl Iterator<Item = &'a str>) -> String {
    let mut common = folders.next().unwrap_or(".").to_string();
    for folder in folders {
        while common != folder && below(folder, &common).is_none() {
            common = match common.rfind('/') {
                Some(0) if common.len() > 1 => "/".into(),
                Some(at) if at > 0 => common[..at].into(),
                _ => ".".into(),
            };
            if common == "." {
                break;
            }
        }
    }
    common
}
