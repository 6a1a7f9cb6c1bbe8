//! What a finished task left behind.
//!
//! Pure. Must hold: a record names everything needed to say whether its outputs still stand, to
//! bring them back, and to explain why the task would run again.

use serde::{Deserialize, Serialize};

use crate::attempt::Ended;
use crate::hash::{Digest, Framed, Kind, Stamp};
use crate::name::{RelPath, RunId};
use crate::record::manifest::{Content, Key, Manifest};

/// What one finished execution (or restore) of a task left.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Digest of the manifest.
    pub key: Key,
    /// What the result was made from.
    pub manifest: Manifest,
    /// What was made, in the order of the declared outputs.
    pub outputs: Vec<Made>,
    /// Inputs the command itself named (a depfile), with what they held: compared, not in the key.
    pub found: Vec<(RelPath, Content)>,
    /// New at each execution: what builds on a stage without outputs carries it.
    pub nonce: u64,
    /// How the execution ended and what it used.
    pub ended: Ended,
    /// Which run executed it (of a restored result the run that made it).
    pub run: RunId,
    /// When it ended, in nanoseconds since 1970.
    pub at: i64,
}

/// One output as it was made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Made {
    /// Where.
    pub path: RelPath,
    /// What it is.
    pub what: Tree,
    /// Its stamp (the link's own, if it is one).
    pub stamp: Stamp,
}

/// What stands at a path, as content.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Tree {
    /// A file: the digest of its bytes, the executable bit and its size in bytes.
    File {
        /// Of the bytes; the name of its blob.
        digest: Digest,
        /// Whether it can be executed.
        executable: bool,
        /// Bytes.
        bytes: u64,
    },
    /// A link by its text.
    Link(String),
    /// A folder: its members by path below it, sorted bytewise; folders in it are members too.
    Folder(Vec<Member>),
    /// An optional output that was not made.
    Absent,
}

/// A member of a folder.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Path below the folder, `/` between the parts.
    pub name: String,
    /// What it is; [`Tree::Folder`] has no members of its own here, they are listed beside it.
    #[serde(deserialize_with = "flat")]
    pub what: Tree,
    /// Its stamp.
    pub stamp: Stamp,
}

/// Reads a member's tree, whose folders have no members: a stranger's record must not nest so deep that
/// reading it overflows the stack.
fn flat<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Tree, D::Error> {
    /// Spelt as [`Tree`] is.
    #[derive(Deserialize)]
    #[serde(rename = "Tree")]
    enum Flat {
        File { digest: Digest, executable: bool, bytes: u64 },
        Link(String),
        Folder(NoMembers),
        Absent,
    }
    /// An empty list.
    struct NoMembers;
    impl<'de> Deserialize<'de> for NoMembers {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<NoMembers, D::Error> {
            from.deserialize_seq(NoMembers)
        }
    }
    impl<'de> serde::de::Visitor<'de> for NoMembers {
        type Value = NoMembers;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an empty list")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<NoMembers, A::Error> {
            match list.next_element::<bool>()? {
                None => Ok(NoMembers),
                Some(_) => Err(serde::de::Error::custom("a folder in a folder lists its members beside it")),
            }
        }
    }
    Ok(match Flat::deserialize(from)? {
        Flat::File { digest, executable, bytes } => Tree::File { digest, executable, bytes },
        Flat::Link(text) => Tree::Link(text),
        Flat::Folder(_) => Tree::Folder(Vec::new()),
        Flat::Absent => Tree::Absent,
    })
}

impl Tree {
    /// The digest by which an input or output counts.
    pub fn content(&self) -> Content {
        match self {
            Tree::File { digest, executable, .. } => Content::Is(digest.with_executable(*executable)),
            Tree::Link(text) => Content::Is(Framed::new(b'l').bytes(text.as_bytes()).digest()),
            Tree::Folder(members) => {
                let mut hash = Framed::new(b'd');
                for member in members {
                    hash.add(member.name.as_bytes());
                    match &member.what {
                        Tree::Folder(_) => hash.add(b"d"),
                        other => match other.content() {
                            Content::Is(digest) => hash.add(&digest.0),
                            _ => hash.add(b"-"),
                        },
                    }
                }
                Content::Is(hash.digest())
            }
            Tree::Absent => Content::Absent,
        }
    }

    /// What kind of thing it is; `None` if it is absent.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Tree::File { .. } => Some(Kind::File),
            Tree::Link(_) => Some(Kind::Link),
            Tree::Folder(_) => Some(Kind::Folder),
            Tree::Absent => None,
        }
    }

    /// Bytes of all files in it.
    pub fn bytes(&self) -> u64 {
        match self {
            Tree::File { bytes, .. } => *bytes,
            Tree::Folder(members) => members.iter().map(|member| member.what.bytes()).sum(),
            Tree::Link(_) | Tree::Absent => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(inner: Tree) -> Tree {
        Tree::Folder(vec![Member { name: "n".into(), what: inner, stamp: Stamp::default() }])
    }

    #[test]
    fn members_are_read_as_they_were_written() {
        let file = Tree::File { digest: Digest::of(b"a"), executable: true, bytes: 1 };
        for inner in [file, Tree::Link("x".into()), Tree::Folder(Vec::new()), Tree::Absent] {
            let tree = folder(inner);
            assert_eq!(postcard::from_bytes::<Tree>(&postcard::to_stdvec(&tree).unwrap()).unwrap(), tree);
            assert_eq!(serde_json::from_slice::<Tree>(&serde_json::to_vec(&tree).unwrap()).unwrap(), tree);
        }
    }

    #[test]
    fn a_nested_tree_is_refused_however_deep() {
        let nested = postcard::to_stdvec(&folder(folder(Tree::Absent))).unwrap();
        assert!(postcard::from_bytes::<Tree>(&nested).is_err());
        // A folder with one member with an empty name, again and again.
        let deep = [2, 1, 0].repeat(1_000_000);
        assert!(postcard::from_bytes::<Tree>(&deep).is_err());
    }
}
