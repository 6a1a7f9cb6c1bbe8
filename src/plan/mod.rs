//! What must be done and why.

pub mod reason;
