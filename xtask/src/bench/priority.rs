//! Out of the way of whatever else the machine does.

use std::process::Command;

/// Gives this process, and all that it starts from now on, real-time priority, which keeps others from running between our steps. Returns
/// words for the report: where it is not allowed the figures are good as well, and vary more.
pub(super) fn raise() -> String {
    let own = std::process::id().to_string();
    let output = Command::new("chrt").args(["--all-tasks", "--rr", "--pid", "1", &own]).output();
    let why = match output {
        Ok(output) if output.status.success() => return "with real-time priority".to_owned(),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("cannot start chrt: {error}"),
    };
    crate::say(&format!("Without real-time priority the figures vary more ({why})"));
    "with ordinary priority".to_owned()
}
