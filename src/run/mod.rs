//! Doing it: the scheduler decides, the driver acts, executors run commands, the bracket guards
//! every change of outputs.

pub mod exec;
pub mod schedule;
