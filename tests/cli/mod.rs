//! What a person sees: each command's text and JSON, by whole transcripts.

mod check;
mod graph;
mod harness;
mod log;
mod plan;
mod resume;
mod run;
mod status;
mod why;
