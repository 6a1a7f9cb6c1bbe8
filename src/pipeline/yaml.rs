//! YAML into our own tree.
//!
//! Owns the reading of a file's text: events of the parser become [`Value`]s with their places,
//! anchors and merge keys are resolved, and what YAML allows but a pipeline must not hold (tags,
//! duplicate keys, several documents) is refused. Never knows a key of the language. Must hold: no
//! text, however hostile, panics, overflows the stack or grows without a limit; nothing recurses
//! deeper than [`DEPTH`].

mod fault;
mod place;

pub use place::inside;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow::{self, Break, Continue};
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, StructureStyle};

use crate::diag::{Diagnostic, Span};
use crate::value::{Data, Key, Scalar, Style, Value};

/// Lists and maps may lie this deep in each other.
pub const DEPTH: usize = 64;

/// Values that aliases and merge keys may add to a file, and bytes of their texts.
const COPIED_VALUES: usize = 2_000_000;
const COPIED_BYTES: usize = 64 << 20;

/// What a file was read into.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Read {
    /// The tree; `None` for a file without any value. After a syntax fault: what was read before it.
    pub value: Option<Value>,
    /// All faults that were found.
    pub faults: Vec<Diagnostic>,
    /// Whether the text could be read to its end; if not, what is missing in the tree means nothing.
    pub whole: bool,
}

/// Reads a file's text; `file` is the number its places carry.
pub fn read(text: &str, file: u32) -> (Option<Value>, Vec<Diagnostic>) {
    let read = read_all(text, file);
    (read.value, read.faults)
}

/// Reads a file's text and tells whether all of it was understood.
pub fn read_all(text: &str, file: u32) -> Read {
    read_within(text, file, COPIED_VALUES, COPIED_BYTES)
}

fn read_within(text: &str, file: u32, most_values: usize, most_bytes: usize) -> Read {
    if u32::try_from(text.len()).is_err() {
        let at = Span { file, start: 0, end: 0 };
        let fault = Diagnostic::error("too_large", at, "this file is larger than 4 GiB");
        return Read { value: None, faults: vec![fault], whole: false };
    }
    if let Some(fault) = fault::control_character(text, file) {
        return Read { value: None, faults: vec![fault], whole: false };
    }
    let mut options = Options::default();
    options.emit_comments = false;
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = DEPTH;
    options.block_nesting_limit = DEPTH;
    // Keys are names and paths; YAML's own limit of 1024 characters would cut a long path.
    options.simple_key_max_lookahead = 16 << 10;
    let mut builder = Builder::new(text, file, most_values, most_bytes);
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, at) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.syntax(&error);
                return builder.end(false);
            }
        };
        let range = at.byte_range().unwrap_or_default();
        let tag = at.tag_span().and_then(|tag| tag.byte_range());
        if builder.event(event, range.start..range.end, tag).is_break() {
            return builder.end(false);
        }
    }
    builder.end(true)
}

/// The text of a file, or a fault that shows the first byte that is not UTF-8; the fault's place
/// counts in the readable text that comes with it (to be added to the sources in place of the file's).
pub fn decode(bytes: Vec<u8>, file: u32) -> Result<String, (String, Box<Diagnostic>)> {
    let error = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let valid = error.utf8_error().valid_up_to();
    let bytes = error.into_bytes();
    let byte = bytes.get(valid).copied().unwrap_or_default();
    let start = valid as u32;
    let at = Span { file, start, end: start + char::REPLACEMENT_CHARACTER.len_utf8() as u32 };
    let mut fault = Diagnostic::error("not_utf8", at, format!("byte {valid} (0x{byte:02X}) is not UTF-8")).label("here");
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        fault.message = "this file is UTF-16".to_owned();
    }
    fault.hint = Some("save the file as UTF-8".to_owned());
    Err((String::from_utf8_lossy(&bytes).into_owned(), Box::new(fault)))
}

/// A list or map that is not at its end yet.
struct Frame {
    start: u32,
    end: u32,
    flow: bool,
    anchor: usize,
    body: Body,
}

enum Body {
    List(Vec<Value>),
    Map {
        entries: Vec<(Key, Value)>,
        /// The key whose value comes next.
        key: Next,
        /// Whether a key is `<<`.
        merge: bool,
    },
}

enum Next {
    /// A key comes next.
    Key,
    /// The value of this key.
    Value(Key),
    /// The value of a key that was refused.
    Dropped,
}

struct Builder<'a> {
    text: &'a str,
    file: u32,
    stack: Vec<Frame>,
    root: Option<Value>,
    anchors: HashMap<usize, Value>,
    /// What aliases may add, and what they have added.
    most_values: usize,
    most_bytes: usize,
    values: usize,
    bytes: usize,
    documents: usize,
    /// Where the last event ended.
    before: usize,
    /// The last scalar.
    last: Option<(Span, Style)>,
    faults: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str, file: u32, most_values: usize, most_bytes: usize) -> Builder<'a> {
        Builder {
            text,
            file,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            most_values,
            most_bytes,
            values: 0,
            bytes: 0,
            documents: 0,
            before: 0,
            last: None,
            faults: Vec::new(),
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    fn event(&mut self, event: Event<'_>, range: Range<usize>, tag: Option<Range<usize>>) -> ControlFlow<()> {
        // What starts unwritten has the place of what comes next.
        let written = !matches!(event, Event::StreamStart | Event::DocumentStart(false, _));
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let at = self.span(range.start, range.end);
                    self.faults.push(fault::documents(at));
                    return Break(());
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = match tag {
                    Some(tag) => self.tagged(tag, range.end),
                    None => self.scalar(text.into_owned(), style, range.clone()),
                };
                if let Data::Scalar(scalar) = &value.data {
                    self.last = Some((value.at, scalar.style));
                }
                self.remember(anchor, &value)?;
                self.push(value);
            }
            Event::SequenceStart(style, anchor, _) => {
                self.open(Body::List(Vec::new()), style, anchor, range.start, tag)?;
            }
            Event::MappingStart(style, anchor, _) => {
                let body = Body::Map { entries: Vec::new(), key: Next::Key, merge: false };
                self.open(body, style, anchor, range.start, tag)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range.end)?,
            Event::Alias(id) => {
                let at = self.span(range.start, range.end);
                match self.anchors.get(&id).cloned() {
                    Some(value) => {
                        self.count(&value, at)?;
                        // A text keeps the place it was written at: that is where a fault in it is mended.
                        let at = if matches!(value.data, Data::Scalar(_)) { value.at } else { at };
                        self.push(Value { at, ..value });
                    }
                    None => {
                        let name = self.text.get(range.clone()).unwrap_or("*");
                        self.faults.push(Diagnostic::error("alias", at, format!("`{name}` stands inside the value it names")));
                        self.push(Value::scalar(at, Scalar::plain("")));
                    }
                }
            }
            Event::UnresolvedAlias(_) => {
                let at = self.span(range.start, range.end);
                let name = self.text.get(range.clone()).unwrap_or("*").to_owned();
                self.faults.push(fault::unknown_alias(self.text, at));
                // Most often a glob that was meant as text; taken as that, it causes no further fault.
                self.push(Value::scalar(at, Scalar::text(name)));
            }
            _ => {}
        }
        if written && range.end > self.before {
            self.before = range.end;
        }
        Continue(())
    }

    fn scalar(&self, text: String, style: ScalarStyle, range: Range<usize>) -> Value {
        let (style, text, start) = match style {
            // Nothing in a `- ` entry is shown by its dash.
            ScalarStyle::Plain if range.is_empty() => {
                let dash = range.start > 0 && self.text.as_bytes()[range.start - 1] == b'-';
                let in_list = matches!(self.stack.last(), Some(Frame { body: Body::List(_), .. }));
                (Style::Plain, String::new(), if dash && in_list { range.start - 1 } else { range.start })
            }
            ScalarStyle::Plain => (Style::Plain, text, range.start),
            ScalarStyle::SingleQuoted => (Style::Single, text, range.start),
            ScalarStyle::DoubleQuoted => (Style::Double, text, range.start),
            ScalarStyle::Literal | ScalarStyle::Folded => {
                (Style::Block, text, place::header(self.text, self.before).unwrap_or(range.start))
            }
        };
        let mut end = range.end.max(start);
        if style == Style::Block {
            // The parser's range may hold the indentation of what comes next.
            let blanks = self.text[start..end].trim_end_matches([' ', '\t']);
            end = if blanks.ends_with('\n') { start + blanks.len() } else { end };
        }
        Value::scalar(self.span(start, end), Scalar { text, style })
    }

    /// A scalar with a tag: refused, and taken as the text it was meant as.
    fn tagged(&mut self, tag: Range<usize>, end: usize) -> Value {
        let at = self.span(tag.start, end.max(tag.end));
        let whole = self.text.get(tag.start..at.end as usize).unwrap_or_default().trim_end();
        let in_list = matches!(self.stack.last(), Some(Frame { body: Body::List(_), .. }));
        self.faults.push(fault::tag(self.span(tag.start, tag.end), whole, in_list));
        Value::scalar(at, Scalar::text(whole))
    }

    fn open(&mut self, body: Body, style: StructureStyle, anchor: usize, start: usize, tag: Option<Range<usize>>) -> ControlFlow<()> {
        if let Some(tag) = tag {
            let whole = self.text.get(tag.clone()).unwrap_or_default();
            self.faults.push(fault::tag(self.span(tag.start, tag.end), whole, false));
        }
        if self.stack.len() >= DEPTH {
            self.faults.push(fault::depth(self.span(start, start + 1)));
            return Break(());
        }
        let flow = style == StructureStyle::Flow;
        let mut start = start;
        if !flow && matches!(body, Body::List(_)) && self.text.as_bytes().get(start) != Some(&b'-') {
            // A list that is not indented is said to start at its first entry's value.
            let before = self.text[..start].trim_end_matches([' ', '\t']);
            start = if before.ends_with('-') { before.len() - 1 } else { start };
        }
        self.stack.push(Frame { start: start as u32, end: start as u32, flow, anchor, body });
        Continue(())
    }

    fn close(&mut self, end: usize) -> ControlFlow<()> {
        let Some(frame) = self.stack.pop() else { return Continue(()) };
        let end = if frame.flow { end as u32 } else { frame.end };
        let at = Span { file: self.file, start: frame.start, end: end.max(frame.start) };
        let data = match frame.body {
            Body::List(items) => Data::List(items),
            Body::Map { entries, merge, .. } => {
                let entries = self.unique(entries);
                Data::Map(if merge { self.merged(entries)? } else { entries })
            }
        };
        let value = Value { at, data };
        self.remember(frame.anchor, &value)?;
        self.push(value);
        Continue(())
    }

    /// A finished value into the list or map it stands in.
    fn push(&mut self, value: Value) {
        let file = self.file;
        let Some(frame) = self.stack.last_mut() else {
            self.root.get_or_insert(value);
            return;
        };
        frame.end = frame.end.max(value.at.end);
        match &mut frame.body {
            Body::List(items) => items.push(value),
            Body::Map { entries, key, merge } => match std::mem::replace(key, Next::Key) {
                Next::Key => match value.data {
                    Data::Scalar(scalar) if scalar.text.is_empty() && scalar.style == Style::Plain => {
                        *key = Next::Dropped;
                        self.faults.push(Diagnostic::error("no_key", value.at, "a value without a key").label("a key before the `:`"));
                    }
                    Data::Scalar(scalar) => {
                        *merge |= scalar.text == "<<" && scalar.style == Style::Plain;
                        *key = Next::Value(Key { text: scalar.text, at: value.at });
                    }
                    _ => {
                        let at = Span { file, ..value.at };
                        let kind = value.kind();
                        *key = Next::Dropped;
                        self.faults.push(Diagnostic::error("bad_key", at, format!("{kind} can't be a key")).label("a text is needed here"));
                    }
                },
                Next::Value(key) => entries.push((key, value)),
                Next::Dropped => {}
            },
        }
    }

    /// Keeps the value an anchor names.
    fn remember(&mut self, anchor: usize, value: &Value) -> ControlFlow<()> {
        if anchor != 0 {
            self.count(value, value.at)?;
            self.anchors.insert(anchor, value.clone());
        }
        Continue(())
    }

    /// Counts what a copy costs, and how deep it would lie.
    fn count(&mut self, value: &Value, at: Span) -> ControlFlow<()> {
        let mut rest = vec![(value, self.stack.len())];
        while let Some((value, depth)) = rest.pop() {
            self.values += 1;
            match &value.data {
                Data::Scalar(scalar) => self.bytes += scalar.text.len(),
                Data::List(items) => rest.extend(items.iter().map(|item| (item, depth + 1))),
                Data::Map(entries) => {
                    for (key, value) in entries {
                        self.bytes += key.text.len();
                        rest.push((value, depth + 1));
                    }
                }
            }
            if depth > DEPTH {
                self.faults.push(fault::depth(at));
                return Break(());
            }
            if self.values > self.most_values || self.bytes > self.most_bytes {
                self.faults.push(fault::copies(at, self.most_values, self.most_bytes >> 20));
                return Break(());
            }
        }
        Continue(())
    }

    /// The entries without those whose key came before; each of them is a fault.
    fn unique(&mut self, mut entries: Vec<(Key, Value)>) -> Vec<(Key, Value)> {
        let mut again: Vec<(usize, usize)> = Vec::new();
        if entries.len() <= 12 {
            for (n, (key, _)) in entries.iter().enumerate().skip(1) {
                if let Some(first) = entries[..n].iter().position(|(earlier, _)| earlier.text == key.text) {
                    again.push((first, n));
                }
            }
        } else {
            let mut seen: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
            for (n, (key, _)) in entries.iter().enumerate() {
                match seen.entry(&key.text) {
                    Entry::Occupied(first) => again.push((*first.get(), n)),
                    Entry::Vacant(place) => {
                        place.insert(n);
                    }
                }
            }
        }
        for &(first, n) in &again {
            let (key, earlier) = (&entries[n].0, &entries[first].0);
            let message = format!("the key `{}` is given twice", key.text);
            let fault = Diagnostic::error("duplicate_key", key.at, message).label("given again").also(earlier.at, "first given here");
            self.faults.push(fault);
        }
        for &(_, n) in again.iter().rev() {
            entries.remove(n);
        }
        entries
    }

    /// The entries with those of `<<` put in its place; own keys win, then the earlier map.
    fn merged(&mut self, entries: Vec<(Key, Value)>) -> ControlFlow<(), Vec<(Key, Value)>> {
        let own: HashSet<String> = entries.iter().map(|(key, _)| key.text.clone()).collect();
        let mut added = HashSet::new();
        let mut out = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if key.text != "<<" || self.text.get(key.at.start as usize..key.at.end as usize) != Some("<<") {
                out.push((key, value));
                continue;
            }
            self.count(&value, key.at)?;
            let Value { at, data } = value;
            let maps = match data {
                Data::Map(entries) => vec![Value { at, data: Data::Map(entries) }],
                Data::List(items) => items,
                Data::Scalar(scalar) => vec![Value::scalar(at, scalar)],
            };
            for map in maps {
                let Data::Map(entries) = map.data else {
                    let message = format!("`<<` takes a map or a list of maps, not {}", map.kind());
                    self.faults.push(Diagnostic::error("merge_key", map.at, message).label("as `*name` of a map"));
                    continue;
                };
                for (key, value) in entries {
                    if !own.contains(&key.text) && added.insert(key.text.clone()) {
                        out.push((key, value));
                    }
                }
            }
        }
        Continue(out)
    }

    fn syntax(&mut self, error: &granit_parser::ScanError) {
        let open = self.stack.iter().rev().find(|frame| frame.flow).map(|frame| frame.start as usize);
        let state = fault::State { text: self.text, file: self.file, last: self.last, before: self.before, flow: open };
        let fault = state.fault(error);
        // A text that started with `*` was named already; what follows it is the same fault.
        let line = |at: Span| self.text.get(..at.start as usize).map_or(0, |before| before.rfind('\n').map_or(0, |at| at + 1));
        let same = self.faults.last().is_some_and(|last| last.code == "alias" && line(last.at) == line(fault.at));
        if !same {
            self.faults.push(fault);
        }
    }

    fn end(mut self, whole: bool) -> Read {
        if !whole {
            // What was open when reading stopped is kept without its last entry, which may be a part only.
            match self.stack.last_mut().map(|frame| &mut frame.body) {
                Some(Body::Map { entries, key: Next::Key, .. }) => drop(entries.pop()),
                Some(Body::List(items)) => drop(items.pop()),
                _ => {}
            }
            while let Some(frame) = self.stack.last() {
                let end = frame.end as usize;
                if self.close(end).is_break() {
                    break;
                }
            }
        }
        Read { value: self.root, faults: self.faults, whole }
    }
}

#[cfg(test)]
mod tests;
