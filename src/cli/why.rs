//! stub
use crate::cli::error::CliError;
use crate::cli::options::WhyArgs;
/// Stub.
pub fn run(_args: &WhyArgs) -> Result<u8, CliError> {
    Ok(0)
}
