//! What the file says.

pub mod spec;
pub mod yaml;
