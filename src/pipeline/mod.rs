//! What the file says.

pub mod scope;
pub mod shell;
pub mod template;
