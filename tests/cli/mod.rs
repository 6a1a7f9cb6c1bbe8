//! What a person sees: each command's text and JSON, by whole transcripts.

mod harness;
