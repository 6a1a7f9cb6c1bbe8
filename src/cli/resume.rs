//! stub
use crate::cli::error::CliError;
use crate::cli::options::ResumeArgs;
/// Stub.
pub fn run(_args: &ResumeArgs) -> Result<u8, CliError> {
    Ok(0)
}
