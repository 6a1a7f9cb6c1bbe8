//! What must be done and why.

pub mod decide;
pub mod gather;
pub mod reason;
pub mod walk;
