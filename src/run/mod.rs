//! Doing it: the scheduler decides, the driver acts, executors run commands, the bracket guards
//! every change of outputs.

pub mod bracket;
pub mod claims;
pub mod compare;
pub mod disk_ground;
pub mod driver;
pub mod exec;
pub mod fresh;
pub mod ground;
pub mod look;
#[cfg(test)]
mod model;
pub mod open;
pub mod prepare;
pub mod recover;
pub mod rehearse;
pub mod remember;
pub mod schedule;
pub mod session;
pub mod site;
pub mod survey;
