//! stub
use crate::cli::error::CliError;
use crate::cli::options::GraphArgs;
/// Stub.
pub fn run(_args: &GraphArgs) -> Result<u8, CliError> {
    Ok(0)
}
