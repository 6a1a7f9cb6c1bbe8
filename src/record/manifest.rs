//! The manifest of a task: all that can make it stale, in one list.
//!
//! What is hashed into the [`Key`] is what is stored in the record is what `why` compares. Pure.
//! Must hold: a change to what counts changes [`MANIFEST_VERSION`] and the table here.
//!
//! | part | what of it counts |
//! |---|---|
//! | `Version` | the number of this table |
//! | `Machine` | operating system and processor: a compiler's result differs |
//! | `Command` | text after templating, argument order kept; volatile values (`attempt`, `resources.*`, `tmp`, `run.*`) by name |
//! | `Shell` | program and flags the text is handed to; nothing for a command list (`argv`) |
//! | `Dir` | working folder |
//! | `Env` | declared variables and `TZ`; unset is not empty |
//! | `Config` | the settings a template read and those under `params`, one by one |
//! | `Tool` | content of a program or script, or the answer of a tool command; not where it lies |
//! | `Input` | role, path as written, content: bytes and executable bit; of a folder every name, kind and content in it |
//! | `Stamp` | of an input without files (`{from: stage}` of a stage without outputs): which execution |
//! | `Output` | role, path and kind |
//! | `Task` | digest of what `$FLOW_TASK` holds (axes), without scratch folders |
//!
//! Left out on purpose: times, timeouts, retries, resources, tags, descriptions, checks, the name of
//! the stage, its place in the file, secrets, and where things lie (tools, workspace, user, host). So
//! two checkouts share results. Inputs found by a command itself (a depfile) are kept beside the
//! manifest in the record, since they are not known before it ran.

use serde::{Deserialize, Serialize};

use crate::hash::{Digest, Framed, Kind};
use crate::name::{RelPath, TaskName};

/// Version of the table above.
pub const MANIFEST_VERSION: u16 = 1;

/// The digest of a whole manifest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Key(pub Digest);

/// One thing that can make a task stale.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Part {
    /// Version of the table.
    Version(u16),
    /// Where results are alike.
    Machine {
        /// `linux`, `macos`.
        os: String,
        /// `x86_64`, `aarch64`.
        arch: String,
    },
    /// The command's text; of `argv` the words, each on a line of JSON.
    Command(String),
    /// The shell and its flags.
    Shell(Vec<String>),
    /// The working folder.
    Dir(RelPath),
    /// A declared variable; `None` is unset.
    Env(String, Option<String>),
    /// A setting by its dotted name, and its value as JSON.
    Config(String, String),
    /// A tool: as it was named, and its content or answer.
    Tool {
        /// As in the file, or the path of an automatic script.
        said: String,
        /// Found in the command's text, not declared.
        automatic: bool,
        /// What it holds or answered.
        content: Content,
    },
    /// A file or folder that is read.
    Input {
        /// Its name in the map of inputs, else empty.
        role: String,
        /// Where.
        path: RelPath,
        /// What it holds.
        content: Content,
    },
    /// Which execution of a stage without outputs this builds on.
    Stamp {
        /// The task that was executed.
        task: TaskName,
        /// New at each execution; `None` while it would run.
        nonce: Option<u64>,
    },
    /// A declared output.
    Output {
        /// Its name in the map of outputs, else empty.
        role: String,
        /// Where.
        path: RelPath,
        /// File or folder.
        kind: Kind,
    },
    /// What the command is handed by `$FLOW_TASK`.
    Task(Digest),
    /// The list of items of a run-time fan-out.
    Expansion(Digest),
}

/// What stands where something is read.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Content {
    /// This.
    Is(Digest),
    /// Nothing: an optional input that is missing.
    Absent,
    /// A task above would make it anew, so nobody knows.
    Pending(TaskName),
    /// The last answer is not known and may not be asked for here.
    Unknown,
}

/// All that can make a task stale.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// In the order of the table; inputs and outputs in the order of the file.
    pub parts: Vec<Part>,
}

impl Part {
    /// Whether it is decided by a task above that would run.
    pub fn waits_for(&self) -> Option<&TaskName> {
        match self {
            Part::Input { content: Content::Pending(task), .. } | Part::Tool { content: Content::Pending(task), .. } => Some(task),
            Part::Stamp { task, nonce: None } => Some(task),
            _ => None,
        }
    }

    /// Whether its content could not be asked for.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Part::Input { content: Content::Unknown, .. } | Part::Tool { content: Content::Unknown, .. })
    }
}

impl Manifest {
    /// The key; `None` while a part is pending or unknown.
    pub fn key(&self) -> Option<Key> {
        let mut hash = Framed::new(b'K');
        let mut buffer = Vec::new();
        for part in &self.parts {
            if part.waits_for().is_some() || part.is_unknown() {
                return None;
            }
            buffer.clear();
            encode(part, &mut buffer);
            hash.add(&buffer);
        }
        Some(Key(hash.digest()))
    }
}

/// A part as framed bytes: a tag, then each field with its length. A part's own spelling, so that
/// a change of the storage format never moves a key.
fn encode(part: &Part, out: &mut Vec<u8>) {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let content = |out: &mut Vec<u8>, content: &Content| match content {
        Content::Is(digest) => {
            out.push(1);
            out.extend(digest.0);
        }
        Content::Absent => out.push(2),
        Content::Pending(_) | Content::Unknown => out.push(3),
    };
    match part {
        Part::Version(version) => {
            out.push(0);
            out.extend(version.to_le_bytes());
        }
        Part::Machine { os, arch } => {
            out.push(1);
            text(out, os);
            text(out, arch);
        }
        Part::Command(command) => {
            out.push(2);
            text(out, command);
        }
        Part::Shell(words) => {
            out.push(3);
            for word in words {
                text(out, word);
            }
        }
        Part::Dir(dir) => {
            out.push(4);
            text(out, dir.as_str());
        }
        Part::Env(name, value) => {
            out.push(5);
            text(out, name);
            out.push(u8::from(value.is_some()));
            text(out, value.as_deref().unwrap_or_default());
        }
        Part::Config(name, value) => {
            out.push(6);
            text(out, name);
            text(out, value);
        }
        Part::Tool { said, automatic: _, content: what } => {
            out.push(7);
            text(out, said);
            content(out, what);
        }
        Part::Input { role, path, content: what } => {
            out.push(8);
            text(out, role);
            text(out, path.as_str());
            content(out, what);
        }
        Part::Stamp { task, nonce } => {
            out.push(9);
            text(out, task.as_str());
            out.extend(nonce.unwrap_or_default().to_le_bytes());
        }
        Part::Output { role, path, kind } => {
            out.push(10);
            text(out, role);
            text(out, path.as_str());
            out.push(*kind as u8);
        }
        Part::Task(digest) => {
            out.push(11);
            out.extend(digest.0);
        }
        Part::Expansion(digest) => {
            out.push(12);
            out.extend(digest.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[Part]) -> Option<Key> {
        Manifest { parts: parts.to_vec() }.key()
    }

    #[test]
    fn unset_is_not_empty_and_order_counts() {
        let unset = Part::Env("A".into(), None);
        let empty = Part::Env("A".into(), Some(String::new()));
        assert_ne!(key(std::slice::from_ref(&unset)), key(std::slice::from_ref(&empty)));
        assert_ne!(key(&[unset.clone(), empty.clone()]), key(&[empty, unset]));
    }

    #[test]
    fn absent_is_not_empty() {
        let input = |content| Part::Input { role: String::new(), path: RelPath::normal("a").unwrap(), content };
        let absent = key(&[input(Content::Absent)]);
        assert!(absent.is_some());
        assert_ne!(absent, key(&[input(Content::Is(Digest::of(b"")))]));
        assert_eq!(key(&[input(Content::Pending("t".into()))]), None);
        assert_eq!(key(&[input(Content::Unknown)]), None);
    }

    #[test]
    fn words_are_framed() {
        let shell = |words: &[&str]| key(&[Part::Shell(words.iter().map(|w| w.to_string()).collect())]);
        assert_ne!(shell(&["sh", "-c"]), shell(&["sh-", "c"]));
    }
}
