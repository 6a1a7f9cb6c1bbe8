//! What flow and its launcher say to each other.
//!
//! Owns the messages and their frames: a length (four bytes, little-endian) and that many bytes of
//! postcard. Both ends are the same program, so there is no version. Must hold: reading never
//! trusts a length beyond [`LONGEST`].

use std::io;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attempt::Ended;

/// The longest message, in bytes: well above what one program may be started with.
pub const LONGEST: usize = 64 << 20;

/// Bytes that are neither copied nor looked at one by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Bytes)
    }
}

/// flow to launcher.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub enum Order<'a> {
    /// From now on commands are given these variables.
    #[serde(borrow)]
    Common(Vec<(Bytes<'a>, Bytes<'a>)>),
    /// Start a command.
    #[serde(borrow)]
    Start(Start<'a>),
    /// Stop one: SIGTERM, after `grace` SIGKILL.
    Stop {
        /// Which.
        number: u64,
        /// How long it may take.
        grace: Duration,
    },
}

/// A command to start; all paths are absolute.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub struct Start<'a> {
    /// What flow calls it; never used again.
    pub number: u64,
    /// The program as it was written, and its arguments.
    #[serde(borrow)]
    pub argv: Vec<Bytes<'a>>,
    /// Variables over the common ones.
    #[serde(borrow)]
    pub env: Vec<(Bytes<'a>, Bytes<'a>)>,
    /// The working folder.
    #[serde(borrow)]
    pub dir: Bytes<'a>,
    /// Standard input; none is `/dev/null`.
    #[serde(borrow)]
    pub stdin: Option<(Bytes<'a>, &'a str)>,
    /// Standard output, if not the log.
    #[serde(borrow)]
    pub stdout: Option<(Bytes<'a>, &'a str)>,
    /// The log.
    #[serde(borrow)]
    pub log: Bytes<'a>,
    /// The log goes through a pipe that hides these texts and keeps so many bytes.
    #[serde(borrow)]
    pub hide: Option<(Vec<Bytes<'a>>, u64)>,
    /// Wall time it may take.
    pub timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// Launcher to flow.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The command's process exists.
    Placed(u64),
    /// Something for people.
    Note(u64, String),
    /// It ended, and nothing of it runs (but what the notes said).
    Ended(u64, Ended),
}

/// Appends a message and its length to `out`.
pub fn put<T: Serialize>(message: &T, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let written = postcard::serialize_with_flavor(message, Appender(out)).map_err(io::Error::other);
    let length = out.len() - start - 4;
    let written = written.and_then(|()| match u32::try_from(length) {
        Ok(short) if length <= LONGEST => Ok(short),
        _ => Err(io::Error::other("a message longer than 64 MiB")),
    });
    match written {
        Ok(length) => {
            out.splice(start..start + 4, length.to_le_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Appends in pieces, not byte by byte.
struct Appender<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appender<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Bytes that came, cut into messages.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Bytes before it were taken.
    taken: usize,
    /// Bytes before it have come.
    filled: usize,
}

/// How much is asked for at once.
const PIECE: usize = 32 << 10;

impl Inbox {
    /// Room for what comes next; tell [`Inbox::came`] how much did.
    pub fn room(&mut self) -> &mut [u8] {
        if self.taken > 0 {
            self.bytes.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.bytes.len() > 4 * PIECE && self.filled < PIECE {
            // One large message must not hold its memory for ever.
            self.bytes.truncate(2 * PIECE);
            self.bytes.shrink_to_fit();
        }
        let wanted = self.filled + PIECE;
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted.max(2 * PIECE), 0);
        }
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// So many bytes came.
    pub fn came(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes.len());
    }

    /// The next whole message.
    pub fn next<'a, T: Deserialize<'a>>(&'a mut self) -> io::Result<Option<T>> {
        let waiting = self.bytes.get(self.taken..self.filled).unwrap_or_default();
        let Some((head, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > LONGEST {
            return Err(io::Error::other("a message longer than 64 MiB"));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        self.taken += 4 + length;
        postcard::from_bytes(body).map(Some).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Cause, Usage};

    #[test]
    fn messages_cut_anywhere_come_out_whole() {
        let start = Start {
            number: 7,
            argv: vec![Bytes(b"sh"), Bytes(&[0xff; 70_000])],
            env: vec![(Bytes(b"A"), Bytes(b""))],
            dir: Bytes(b"/w"),
            stdin: None,
            stdout: Some((Bytes(b"/w/x"), "x")),
            log: Bytes(b"/l"),
            hide: Some((vec![Bytes(b"s")], 9)),
            timeout: Some(Duration::from_millis(5)),
            grace: Duration::ZERO,
        };
        let orders = [Order::Start(start), Order::Stop { number: 7, grace: Duration::from_secs(1) }];
        let mut sent = Vec::new();
        for order in orders.iter().chain(&orders) {
            put(order, &mut sent).unwrap();
        }
        for step in [1usize, 3, 1000, 200_000] {
            let mut inbox = Inbox::default();
            let mut got = 0;
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let room = inbox.room();
                let count = step.min(rest.len()).min(room.len());
                room[..count].copy_from_slice(&rest[..count]);
                rest = &rest[count..];
                inbox.came(count);
                while let Some(order) = inbox.next::<Order>().unwrap() {
                    assert_eq!(order, orders[got % 2]);
                    got += 1;
                }
            }
            assert_eq!(got, 4);
        }
    }

    #[test]
    fn a_wild_length_is_an_error() {
        let mut inbox = Inbox::default();
        inbox.room()[..4].copy_from_slice(&[0xff; 4]);
        inbox.came(4);
        assert!(inbox.next::<Answer>().is_err());
        let mut out = Vec::new();
        put(&Answer::Ended(1, Ended { cause: Cause::Success, usage: Usage::default() }), &mut out).unwrap();
        assert_eq!(out.len(), 4 + out[0] as usize);
    }
}
