//! What the file says.

pub mod read;
pub mod spec;
pub mod words;
pub mod yaml;
pub mod scope;
