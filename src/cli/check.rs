//! stub
use crate::cli::error::CliError;
use crate::cli::options::CheckArgs;
/// Stub.
pub fn run(_args: &CheckArgs) -> Result<u8, CliError> {
    Ok(0)
}
