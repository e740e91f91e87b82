//! Tests that need a second process run themselves again.
//!
//! ```no_run
//! # use fedi_test::child;
//! #[test]
//! fn child_process() {
//!     let Some(argument) = child::argument() else { return };
//!     println!("{argument}");
//! }
//!
//! #[test]
//! fn a_test() {
//!     let output = child::command("child_process", "hello").output().unwrap();
//! }
//! ```

use std::process::{Command, Stdio};

const VARIABLE: &str = "FEDI_TEST_CHILD";

/// What the parent gave, when this process is a child; in the test function that is the
/// child's body.
pub fn argument() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// A command that runs `test` of this test binary in a process of its own.
pub fn command(test: &str, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(VARIABLE, argument);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    command
}
