//! stub
use crate::cli::error::CliError;
use crate::cli::options::PlanArgs;
/// Stub.
pub fn run(_args: &PlanArgs) -> Result<u8, CliError> {
    Ok(0)
}
