//! What a person sees: each command's text and JSON, by whole transcripts.

mod check;
mod graph;
mod harness;
mod plan;
mod status;
mod why;
mod log;
mod resume;
mod run;
