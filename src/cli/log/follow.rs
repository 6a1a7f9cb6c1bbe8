//! An attempt that is under way, watched through `state` and its slot's log.
//!
//! Owns how a reader tells that the bytes in a slot's log are those of the attempt it follows. Takes no
//! lock, writes nothing. Must hold: nothing of another task is ever shown; the end of the attempt, of its
//! run and of flow itself are all noticed.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::hole::read_piece;
use crate::attempt::{Cause, Ended};
use crate::os::beneath::Beneath;
use crate::os::lock::holder;
use crate::os::process::boot_id;
use crate::record::known::{Known, Open};
use crate::record::state::{Frame, Reader, StateFault};
use crate::run::driver::log_name;

/// How often is looked for more.
const OFTEN: Duration = Duration::from_millis(50);
/// How often is asked whether flow still lives.
const SELDOM: Duration = Duration::from_secs(1);
/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// How an attempt that was watched came to its end.
#[derive(Clone, PartialEq, Debug)]
pub enum Over {
    /// It ended like this.
    Ended(Cause),
    /// It ended, and another attempt of the task has begun.
    Again,
    /// flow died while it ran.
    Died,
}

/// One attempt as it is written down.
pub struct Watch<'a> {
    own: &'a Beneath,
    attempt: Open,
    reader: Reader,
    /// Frames before it have been read.
    read_to: u64,
    /// The frames being read are those of its run.
    its_run: bool,
    /// Its start has been read.
    begun: bool,
    over: Option<Over>,
    /// Another task has begun in the same slot.
    slot_taken: bool,
    asked: Instant,
}

impl<'a> Watch<'a> {
    /// Watches this attempt.
    pub fn new(own: &'a Beneath, attempt: &Open) -> Result<Option<Watch<'a>>, StateFault> {
        let Some(reader) = Reader::open(own)? else { return Ok(None) };
        let mut watch = Watch {
            own,
            attempt: attempt.clone(),
            read_to: 0,
            its_run: false,
            begun: false,
            over: None,
            slot_taken: false,
            asked: Instant::now(),
            reader,
        };
        watch.read_whole()?;
        if watch.over.is_none() && holder(own).is_none() {
            watch.over = Some(Over::Died);
        }
        Ok(Some(watch))
    }

    /// How it ended, if it has.
    pub fn over(&mut self) -> Result<Option<Over>, StateFault> {
        if self.over.is_some() {
            return Ok(self.over.clone());
        }
        if self.reader.is_replaced().unwrap_or(false)
            && let Some(reader) = Reader::open(self.own)?
        {
            self.reader = reader;
            self.read_whole()?;
        }
        self.read_on()?;
        if self.over.is_none() && self.asked.elapsed() > SELDOM {
            self.asked = Instant::now();
            self.over = holder(self.own).is_none().then_some(Over::Died);
        }
        Ok(self.over.clone())
    }

    /// Reads a state that was just opened: from its first frame, since the order of starts counts.
    fn read_whole(&mut self) -> Result<(), StateFault> {
        self.read_to = self.reader.block_end();
        (self.its_run, self.begun) = (false, false);
        self.read_on()?;
        if !self.begun {
            // The block tells of it: its run is over.
            let (known, _) = Known::load(&self.reader, &boot_id().unwrap_or_default())?;
            if known.open().iter().any(|open| open.attempt == self.attempt.attempt) {
                self.over = Some(Over::Died);
                return Ok(());
            }
            let end = known.task(&self.attempt.attempt.task).and_then(|memory| memory.end);
            self.over = Some(match end.filter(|end| end.run == self.attempt.attempt.run.number && end.n == self.attempt.attempt.n) {
                Some(end) => Over::Ended(end.ended.cause),
                None => Over::Again,
            });
        }
        Ok(())
    }

    /// Takes in the frames that came since.
    fn read_on(&mut self) -> Result<(), StateFault> {
        let Watch { reader, read_to, attempt, its_run, begun, over, slot_taken, .. } = self;
        let (task, number) = (&attempt.attempt.task, attempt.attempt.n);
        reader.look_again()?;
        *read_to = reader.frames_from(*read_to, |frame, _| match frame {
            Frame::Started { task: other, n, .. } if *its_run && other == *task && n == number => {
                (*begun, *slot_taken) = (true, false);
            }
            Frame::Started { task: other, slot, .. } if *begun && other != *task && slot == attempt.slot => *slot_taken = true,
            Frame::RunStarted { run, .. } => {
                *its_run = run == attempt.attempt.run;
                if *begun && !*its_run {
                    over.get_or_insert(Over::Died);
                }
            }
            _ if !*begun || over.is_some() => {}
            Frame::Started { task: other, .. } if other == *task => *over = Some(Over::Again),
            Frame::Done { task: other, .. } | Frame::Spoilt { task: other, .. } if other == *task => {
                *over = Some(Over::Ended(Cause::Success));
            }
            Frame::Failed { task: other, ended: Ended { cause, .. }, .. } if other == *task => *over = Some(Over::Ended(cause)),
            Frame::Aborted { task: other, .. } if other == *task => *over = Some(Over::Died),
            _ => {}
        })?;
        Ok(())
    }

    /// The log of the attempt as far as it is there, and whether it is certain that it is this attempt's.
    fn log(&self) -> io::Result<Option<(File, bool)>> {
        if let Ok(kept) = self.own.read(&log_name(&self.attempt.attempt)) {
            return Ok(Some((kept, true)));
        }
        if self.slot_taken || self.attempt.slot == u32::MAX {
            return Ok(None);
        }
        match self.own.read(&format!("logs/slot-{}", self.attempt.slot)) {
            Ok(file) => Ok(Some((file, false))),
            Err(error) if crate::os::beneath::is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands on what is written, `wait` until its end, else as far as it goes now. `put` says whether to
    /// go on. How it ended, if it has.
    pub fn copy(&mut self, wait: bool, put: &mut dyn FnMut(&[u8]) -> io::Result<bool>) -> Result<Option<Over>, StateFault> {
        let failed = |source| StateFault::Io { path: "the log".into(), source };
        let mut piece = vec![0; PIECE];
        let mut log: Option<(File, bool)> = None;
        let mut at = 0;
        loop {
            // Asked first: what was written before its end is read after it.
            let over = self.over()?;
            if log.is_none() {
                log = self.log().map_err(failed)?;
            }
            while let Some((file, certain)) = &mut log {
                let (count, next) = read_piece(file, at, &mut piece).map_err(failed)?;
                if count == 0 {
                    // A log that had to be cut goes on at its new end.
                    at = at.min(file.metadata().map_err(failed)?.len());
                    break;
                }
                if !*certain {
                    // An empty log is used again by the slot's next task, whose start is on record before
                    // its first byte. A log with a byte is renamed and never used again.
                    let ended = self.over()?.is_some();
                    match self.log().map_err(failed)? {
                        Some((kept, true)) => {
                            log = Some((kept, true));
                            continue;
                        }
                        Some(_) if !ended || self.over == Some(Over::Died) => *certain = true,
                        _ => {
                            log = None;
                            break;
                        }
                    }
                }
                at = next;
                if !put(piece.get(..count).unwrap_or_default()).map_err(failed)? {
                    return Ok(over);
                }
            }
            if over.is_some() || !wait {
                return Ok(over);
            }
            std::thread::sleep(OFTEN);
        }
    }
}
