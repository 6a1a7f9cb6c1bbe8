//! A thread that saves results off the critical path.
//!
//! Owns the queue between a run and its cache. Must hold: who saves waits only if the queue is full;
//! when [`Saver::finish`] returns, all that was asked for was tried.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{Cache, Permit};
use crate::record::record::Record;

/// Results waiting at most; their bytes stay where they are until their turn.
const WAITING: usize = 1024;

/// Opens an output for reading.
pub type OpenOutput = Box<dyn Fn(&str) -> io::Result<File> + Send>;

/// Saves results on a thread of its own.
pub struct Saver {
    queue: Option<SyncSender<(Permit, Arc<Record>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts the thread; `open` opens an output (or a file in one). Without a thread nothing is saved.
    pub fn start(cache: Arc<Cache>, open: OpenOutput) -> Saver {
        let (queue, results) = sync_channel::<(Permit, Arc<Record>)>(WAITING);
        let run = move || {
            for (permit, record) in results {
                cache.save(permit, &record, &*open);
            }
        };
        let thread = std::thread::Builder::new().name("cache".into()).spawn(run).ok();
        Saver { queue: thread.is_some().then_some(queue), thread }
    }

    /// Asks for a result to be saved, once its DONE is written. Waits while the queue is full.
    pub fn save(&self, permit: Permit, record: Arc<Record>) {
        if let Some(queue) = &self.queue {
            // The thread is gone only if it panicked; the cache is never needed.
            let _ = queue.send((permit, record));
        }
    }

    /// Waits until everything is saved.
    pub fn finish(mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.wait();
    }
}
