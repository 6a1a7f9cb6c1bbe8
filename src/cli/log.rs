//! stub
use crate::cli::error::CliError;
use crate::cli::options::LogArgs;
/// Stub.
pub fn run(_args: &LogArgs) -> Result<u8, CliError> {
    Ok(0)
}
