//! A thread that saves results off the critical path.
//!
//! Owns the queue between a run and its cache. Must hold: who saves waits only if the queue is full;
//! when [`Saver::finish`] returns, all that was asked for was tried.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::{Cache, Permit};
use crate::record::record::Record;

/// Batches of results waiting at most; their bytes stay where they are until their turn.
const WAITING: usize = 64;

/// Results handed over at once: waking the thread for each would cost more than to save it.
const AT_ONCE: usize = 16;

/// Results with the right to save them.
type Batch = Vec<(Permit, Arc<Record>)>;

/// Opens an output for reading.
pub type OpenOutput = Box<dyn Fn(&str) -> io::Result<File> + Send>;

/// Saves results on a thread of its own.
pub struct Saver {
    queue: Option<SyncSender<Batch>>,
    gathered: Mutex<Batch>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts the thread; `open` opens an output (or a file in one). Without a thread nothing is saved.
    pub fn start(cache: Arc<Cache>, open: OpenOutput) -> Saver {
        let (queue, results) = sync_channel::<Batch>(WAITING);
        let run = move || {
            for (permit, record) in results.into_iter().flatten() {
                cache.save(permit, &record, &*open);
            }
        };
        let thread = std::thread::Builder::new().name("cache".into()).spawn(run).ok();
        Saver { queue: thread.is_some().then_some(queue), gathered: Mutex::default(), thread }
    }

    /// Asks for a result to be saved, once its DONE is written. Waits while the queue is full.
    pub fn save(&self, permit: Permit, record: Arc<Record>) {
        let Some(queue) = &self.queue else { return };
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.push((permit, record));
        if gathered.len() >= AT_ONCE {
            // The thread is gone only if it panicked; the cache is never needed.
            let _ = queue.send(std::mem::take(&mut *gathered));
        }
    }

    /// Waits until everything is saved.
    pub fn finish(mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        if let Some(queue) = self.queue.take() {
            let _ = queue.send(std::mem::take(self.gathered.get_mut().unwrap_or_else(PoisonError::into_inner)));
        }
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
