//! What a test needs of the machine and does not find: a skip that is said aloud, or a failure.

use std::env;
use std::io::Write as _;

/// The variable that makes a skipped test a failed one: set it to [`REQUIRED`] where the tools are there.
pub const VARIABLE: &str = "CUTOVER_LAB";

/// The value of [`VARIABLE`] that asks for it.
pub const REQUIRED: &str = "required";

/// Says on standard error that `test` is skipped for want of something.
///
/// # Errors
///
/// What is missing, when [`VARIABLE`] says that nothing may be.
pub fn skip(test: &str, missing: anyhow::Error) -> anyhow::Result<()> {
    if env::var_os(VARIABLE).is_some_and(|value| value == REQUIRED) {
        return Err(missing.context(format!("{VARIABLE}={REQUIRED}")));
    }
    // Past the test runner, which keeps what a passing test prints to itself.
    writeln!(std::io::stderr(), "SKIPPED: {test}: {missing:#}")?;
    Ok(())
}
