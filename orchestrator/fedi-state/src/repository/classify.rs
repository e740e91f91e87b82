//! What restic's failures mean: by what it says, else by exit status, where the version
//! has one for it (0.17 on: docs, "Scripting", exit codes). A status alone says less: a
//! lock that could not be written is not one that another run holds.

use crate::error::{ErrorClass, StateError, no_room};
use crate::tool::{self, Output};

/// What restic (0.17 on: 15 minutes long) says before it tries something again.
const RETRIES: &str = " returned error, retrying after ";

/// Parts of restic's messages by what they mean, in the order of being looked for.
const TEXTS: [(ErrorClass, &[&str]); 7] = [
    (ErrorClass::Password, &["wrong password or no key found"]),
    (ErrorClass::Locked, &["repository is already locked"]),
    (
        ErrorClass::Untrusted,
        &["host key verification failed", "remote host identification has changed", "x509: ", "certificate is not"],
    ),
    (
        ErrorClass::Denied,
        &[
            "401 unauthorized",
            "403 forbidden",
            "access denied",
            "accessdenied",
            "forbidden: ",
            "invalid signature",
            "no such key: ",
            "permission denied (",
            "read-only file system",
            "signaturedoesnotmatch",
            "too many authentication failures",
        ],
    ),
    (
        ErrorClass::Unreachable,
        &[
            "connection refused",
            "connection timed out",
            "connection lost",
            "connection closed by",
            "could not resolve hostname",
            "no such host",
            "ssh command exited",
            "unable to start the sftp session",
            "i/o timeout",
            "network is unreachable",
            "no route to host",
            "connection reset",
        ],
    ),
    (
        ErrorClass::NotFound,
        &[
            "is there a repository at the following location",
            "repository does not exist",
            "no snapshot found",
            "no matching id",
            "multiple id matches",
            "invalid id",
        ],
    ),
    (
        ErrorClass::Damaged,
        &[
            "repository contains errors",
            "ciphertext verification failed",
            "does not match id",
            "invalid data returned",
            "load(<",
            "pack file cannot be listed",
        ],
    ),
];

/// The error of a restic that ended badly; `location` is shown.
pub(super) fn failure(location: &str, output: &Output) -> StateError {
    let text = output.stderr.trim();
    let class =
        if no_room(text) { Some(ErrorClass::Full) } else { by_text(text).or_else(|| by_status(output.status.code())) };
    // Its last words on damage only count the errors.
    let first = text.lines().find(|line| class == Some(ErrorClass::Damaged) && by_text(line) == class);
    // A folder's refusal stands above restic's own stack.
    let refused = || text.lines().rev().find(|line| class == Some(ErrorClass::Denied) && by_text(line) == class);
    let last = said(text);
    let said = match first {
        Some(line) => line.trim(),
        None if by_text(last) == class => last,
        None => refused().map_or(last, str::trim),
    };
    match class {
        Some(class) => described(location, class, text, said),
        None => tool::failure("restic", output),
    }
}

fn described(location: &str, class: ErrorClass, text: &str, said: &str) -> StateError {
    let repository = format!("repository `{location}`");
    let (message, hint) = match class {
        ErrorClass::Password => (format!("The password of the {repository} is wrong"), None),
        ErrorClass::Locked => (
            format!("The {repository} is locked: {}", holder(text).unwrap_or(said)),
            Some("Wait for the other run; what a crash left locked is set free by `fedi backup check --unlock`"),
        ),
        ErrorClass::NotFound => (format!("Nothing found in the {repository}: {said}"), None),
        ErrorClass::Denied => (
            format!("The {repository} refuses the login, or what was to be done: {said}"),
            Some("See which rights its credentials have at the server"),
        ),
        ErrorClass::Untrusted => (
            format!("The server of the {repository} is not the one that is known: {said}"),
            Some("If it was made anew on purpose, give its new key or certificate authority in the inventory"),
        ),
        ErrorClass::Unreachable => (format!("The {repository} does not answer: {said}"), None),
        ErrorClass::Full => (format!("The {repository}, or this machine, has no room left: {said}"), None),
        _ => (
            format!("The {repository} is damaged: {said}"),
            Some("Restore another snapshot, and check the disk below it"),
        ),
    };
    let error = StateError::refused(class, message);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The error that restic tries to get over, if one of its lines says so.
pub(super) fn retried(location: &str, line: &str) -> Option<StateError> {
    let (_, said) = line.split_once(RETRIES)?;
    // After how long, and why.
    let said = said.split_once(": ").map_or(said, |(_, why)| why).trim();
    let class = if no_room(said) { Some(ErrorClass::Full) } else { by_text(said) };
    Some(described(location, class?, said, said))
}

fn by_status(code: Option<i32>) -> Option<ErrorClass> {
    match code {
        Some(10) => Some(ErrorClass::NotFound),
        Some(11) => Some(ErrorClass::Locked),
        Some(12) => Some(ErrorClass::Password),
        _ => None,
    }
}

fn by_text(text: &str) -> Option<ErrorClass> {
    let text = text.to_ascii_lowercase();
    // A folder of this machine's; what a backup could not read is no matter of the repository.
    if text.lines().any(|line| line.starts_with("fatal: unable to open") && line.contains("permission denied")) {
        return Some(ErrorClass::Denied);
    }
    TEXTS.iter().find(|(_, parts)| parts.iter().any(|part| text.contains(part))).map(|(class, _)| *class)
}

/// The line that says most: ssh's own last one, restic's last word, or the last there is.
fn said(text: &str) -> &str {
    let lines = || text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let of_ssh = || lines().find_map(|line| line.strip_prefix("subprocess ssh: "));
    let fatal = || lines().find_map(|line| line.strip_prefix("Fatal: "));
    of_ssh().or_else(fatal).or_else(|| lines().next()).unwrap_or_default()
}

/// Who holds the lock, in restic's words.
fn holder(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.find("locked").map(|at| line[at..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_can_only_be_read_is_told_without_restics_stack() {
        use std::os::unix::process::ExitStatusExt;
        let stderr = "Save(<lock/ab>) returned error, retrying after 1s: open /x/locks/ab: read-only file system\n\
                      open /x/locks/ab: read-only file system\nmain.main\n\t/restic/main.go:98\n\
                      unable to create lock in backend";
        let status = std::process::ExitStatus::from_raw(1 << 8);
        let error = failure("/x", &Output { status, stdout: Vec::new(), stderr: stderr.to_owned() });
        assert_eq!(error.class(), ErrorClass::Denied);
        let said =
            "The repository `/x` refuses the login, or what was to be done: open /x/locks/ab: read-only file system";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn texts_of_restic_0_14_to_0_18() {
        for (text, class) in [
            ("Fatal: wrong password or no key found", ErrorClass::Password),
            (
                "unable to create lock in backend: repository is already locked by PID 7 on a by root (UID 0, GID 0)",
                ErrorClass::Locked,
            ),
            (
                "Fatal: unable to open config file: stat /x/config: no such file or directory\nIs there a repository at the following location?\n/x",
                ErrorClass::NotFound,
            ),
            (
                "Fatal: unable to open config file: Get \"http://127.0.0.1:1/config\": dial tcp 127.0.0.1:1: connect: connection refused\nIs there a repository at the following location?",
                ErrorClass::Unreachable,
            ),
            ("Fatal: repository contains errors", ErrorClass::Damaged),
            (
                "Fatal: unable to open config file: unexpected HTTP response (401): 401 Unauthorized\nIs there a repository at the following location?",
                ErrorClass::Denied,
            ),
            (
                "Fatal: unable to open config file: client.Head: Head \"https://a/\": x509: certificate signed by unknown authority\nIs there a repository at the following location?",
                ErrorClass::Untrusted,
            ),
            (
                "subprocess ssh: Host key verification failed.\nFatal: unable to open repository at sftp:a:/b: unable to start the sftp session, error: EOF",
                ErrorClass::Untrusted,
            ),
        ] {
            assert_eq!(by_text(text), Some(class), "{text}");
        }
        assert_eq!(by_text("something else"), None);
        assert_eq!(said("subprocess ssh: why\nFatal: unable to start\n"), "why");
        assert_eq!(said("Fatal: no config\nIs there a repository at the following location?\n/x\n"), "no config");
        assert_eq!(by_status(Some(12)), Some(ErrorClass::Password));
    }
}
