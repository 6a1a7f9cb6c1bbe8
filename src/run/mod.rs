//! Doing it: the scheduler decides, the driver acts, executors run commands, the bracket guards
//! every change of outputs.

pub mod bracket;
pub mod compare;
pub mod disk_ground;
pub mod exec;
pub mod ground;
#[cfg(test)]
mod model;
pub mod recover;
pub mod schedule;
