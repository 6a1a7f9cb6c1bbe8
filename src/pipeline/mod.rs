//! What the file says.

pub mod config;
pub mod read;
pub mod scope;
pub mod shell;
pub mod spec;
pub mod template;
pub mod words;
pub mod yaml;
