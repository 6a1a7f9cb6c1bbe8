//! What is remembered: manifests and records (pure), the `state` file, the cache.

pub mod cache;
pub mod known;
pub mod manifest;
#[allow(clippy::module_inception)]
pub mod record;
pub mod state;
