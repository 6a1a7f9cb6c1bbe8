//! An executor for tests of the driver: told in advance how each attempt ends.
//!
//! Owns no process. Must hold: the same script and the same calls give the same answers in the same
//! order, all of them from within the calls.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::local::Tell;
use super::{Executor, Handle, Recovered, Told};
use crate::attempt::{Cause, Ended, Launch, Usage, Wants};
use crate::name::AttemptId;

/// What an attempt does before it ends.
pub type Work = Box<dyn FnMut(&Launch) + Send>;

/// What one attempt does.
pub struct Act {
    /// How it ends; none: it runs until it is cancelled or released.
    pub cause: Option<Cause>,
    /// What it is said to have used.
    pub usage: Usage,
    /// Done before the answer, as writing the outputs.
    pub work: Option<Work>,
}

impl Act {
    /// Ends like this.
    pub fn ends(cause: Cause) -> Act {
        Act { cause: Some(cause), usage: Usage::default(), work: None }
    }

    /// Ends well, having done this.
    pub fn does(work: impl FnMut(&Launch) + Send + 'static) -> Act {
        Act { work: Some(Box::new(work)), ..Act::ends(Cause::Success) }
    }

    /// Runs until it is cancelled or released.
    pub fn waits() -> Act {
        Act { cause: None, ..Act::ends(Cause::Success) }
    }
}

/// What happened to a [`Fake`], and what is to happen: shared by the test and the driver.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    acts: HashMap<String, VecDeque<Act>>,
    usual: Option<Act>,
    submitted: Vec<Launch>,
    cancelled: Vec<AttemptId>,
    recovered: Vec<AttemptId>,
    waiting: Vec<AttemptId>,
}

impl Script {
    /// The next attempt of a task without one in the script does this. Without it: ends well.
    pub fn usual(&self, act: Act) {
        self.with(|inner| inner.usual = Some(act));
    }

    /// The attempt of `task` after those already in the script does this.
    pub fn then(&self, task: &str, act: Act) {
        self.with(|inner| inner.acts.entry(task.to_owned()).or_default().push_back(act));
    }

    /// All that was submitted, in order.
    pub fn submitted(&self) -> Vec<Launch> {
        self.with(|inner| inner.submitted.clone())
    }

    /// The tasks of all that was submitted, in order.
    pub fn tasks(&self) -> Vec<String> {
        self.with(|inner| inner.submitted.iter().map(|launch| launch.id.task.to_string()).collect())
    }

    /// All that was cancelled, in order.
    pub fn cancelled(&self) -> Vec<AttemptId> {
        self.with(|inner| inner.cancelled.clone())
    }

    /// All that was asked about by `recover`, in order.
    pub fn recovered(&self) -> Vec<AttemptId> {
        self.with(|inner| inner.recovered.clone())
    }

    /// What runs now, in order of its start.
    pub fn waiting(&self) -> Vec<AttemptId> {
        self.with(|inner| inner.waiting.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The executor.
pub struct Fake {
    script: Script,
    room: Wants,
    tell: Tell,
}

impl Fake {
    /// Follows the script.
    pub fn new(script: Script, room: Wants, tell: Tell) -> Fake {
        Fake { script, room, tell }
    }

    /// Ends an attempt that waits. Whether there was one.
    pub fn release(&mut self, which: &AttemptId, cause: Cause) -> bool {
        let waits = self.script.with(|inner| {
            let at = inner.waiting.iter().position(|id| id == which)?;
            Some(inner.waiting.remove(at))
        });
        if let Some(id) = waits.clone() {
            (self.tell)(Told::Ended(id, Ended { cause, usage: Usage::default() }));
        }
        waits.is_some()
    }
}

impl Executor for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn room(&self) -> Wants {
        self.room.clone()
    }

    fn submit(&mut self, batch: Vec<Launch>) {
        for launch in batch {
            let act = self.script.with(|inner| {
                inner.submitted.push(launch.clone());
                inner.acts.get_mut(launch.id.task.as_str()).and_then(VecDeque::pop_front)
            });
            (self.tell)(Told::Placed(launch.id.clone(), None));
            let (mut act, usual) = match act {
                Some(act) => (act, false),
                None => (self.script.with(|inner| inner.usual.take()).unwrap_or_else(|| Act::ends(Cause::Success)), true),
            };
            // Outside the lock: the work may ask the script.
            if let Some(work) = &mut act.work {
                work(&launch);
            }
            match act.cause.clone() {
                Some(cause) => (self.tell)(Told::Ended(launch.id.clone(), Ended { cause, usage: act.usage.clone() })),
                None => self.script.with(|inner| inner.waiting.push(launch.id.clone())),
            }
            if usual {
                self.script.with(|inner| {
                    inner.usual.get_or_insert(act);
                });
            }
        }
    }

    fn cancel(&mut self, which: &[AttemptId], _grace: Duration) {
        for id in which {
            self.script.with(|inner| inner.cancelled.push(id.clone()));
            self.release(id, Cause::Cancelled);
        }
    }

    fn recover(&mut self, open: Vec<(AttemptId, Option<Handle>)>) -> Vec<(AttemptId, Recovered)> {
        let gone = open.into_iter().map(|(id, _)| (id, Recovered::Gone { stopped: 0 })).collect::<Vec<_>>();
        self.script.with(|inner| inner.recovered.extend(gone.iter().map(|(id, _)| id.clone())));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Log;
    use crate::name::{RelPath, RunId};
    use std::sync::mpsc;

    fn launch(task: &str, n: u16) -> Launch {
        Launch {
            id: AttemptId { run: RunId { number: 1, nonce: 0 }, task: task.into(), n },
            argv: vec![b"true".to_vec()],
            common: std::sync::Arc::default(),
            env: Vec::new(),
            dir: RelPath::workspace(),
            stdin: None,
            stdout: None,
            log: Log::File("/dev/null".into()),
            wants: Wants::default(),
            timeout: None,
            grace: Duration::ZERO,
        }
    }

    #[test]
    fn the_script_is_followed() {
        let script = Script::default();
        let (tell, told) = mpsc::channel();
        let mut fake = Fake::new(script.clone(), Wants::default(), Box::new(move |told| tell.send(told).unwrap()));
        script.then("a", Act::ends(Cause::Exit(1)));
        script.then("b", Act::waits());
        let seen = script.clone();
        script.usual(Act::does(move |launch| assert_eq!(seen.submitted().last(), Some(launch))));
        let all = [launch("a", 1), launch("b", 1), launch("a", 2), launch("c", 1)];
        fake.submit(all.to_vec());
        assert_eq!(script.waiting(), [all[1].id.clone()]);
        fake.cancel(&[all[1].id.clone()], Duration::ZERO);
        let ends: Vec<(String, Cause)> = told
            .try_iter()
            .filter_map(|told| match told {
                Told::Ended(id, ended) => Some((format!("{}#{}", id.task, id.n), ended.cause)),
                _ => None,
            })
            .collect();
        let end = |name: &str, cause| (name.to_owned(), cause);
        assert_eq!(
            ends,
            [end("a#1", Cause::Exit(1)), end("a#2", Cause::Success), end("c#1", Cause::Success), end("b#1", Cause::Cancelled)]
        );
        assert_eq!(script.tasks(), ["a", "b", "a", "c"]);
        assert_eq!(script.cancelled(), [all[1].id.clone()]);
    }
}
