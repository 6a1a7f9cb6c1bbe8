//! stub
use crate::cli::error::CliError;
use crate::cli::options::StatusArgs;
/// Stub.
pub fn run(_args: &StatusArgs) -> Result<u8, CliError> {
    Ok(0)
}
