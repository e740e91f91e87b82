//! Programs that a test writes for somebody to run.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable file, in the place of one that is there.
///
/// Another process does it: a program that this one had open for writing, and with it every
/// child that another test starts just then, could not be executed (`ETXTBSY`, execve(2)).
pub fn program(path: &Path, text: &str) {
    let mut child = Command::new("sh")
        .args(["-c", r#"rm -f -- "$0" && cat >"$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{} was not written", path.display());
}
