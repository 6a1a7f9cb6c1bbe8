//! Doing it: the scheduler decides, the driver acts, executors run commands, the bracket guards
//! every change of outputs.

pub mod bracket;
pub mod compare;
pub mod driver;
pub mod disk_ground;
pub mod exec;
pub mod fresh;
pub mod ground;
pub mod look;
pub mod open;
#[cfg(test)]
mod model;
pub mod prepare;
pub mod recover;
pub mod schedule;
pub mod site;
pub mod survey;
