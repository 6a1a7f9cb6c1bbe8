//! All contact with the machine: files, processes, signals, locks, clocks.

pub mod beneath;
pub mod copy;
