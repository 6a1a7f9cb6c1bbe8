//! flow: a declarative pipeline runner.
//!
//! The rooms in reading order; they are the path of the data: pipeline → graph → plan → run →
//! record → report. Beside it the words everyone shares, the machine (`disk`, `os`) and the front
//! door (`cli`). Who may import whom stands in `docs/architecture.md` and is checked by the tests.

// The words everyone shares.
pub mod attempt;
pub mod diag;
pub mod event;
pub mod hash;
pub mod name;
pub mod near;
pub mod pattern;
pub mod value;

// The path of the data.
pub mod graph;
pub mod pipeline;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;

// The machine.
pub mod disk;
pub mod os;

// The front door.
pub mod cli;
