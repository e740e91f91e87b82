//! What restic's failures mean: by exit status where the version has one for it
//! (0.17 on: docs, "Scripting", exit codes), else by what it says.

use crate::error::{ErrorClass, StateError, no_room};
use crate::tool::{self, Output};

/// Parts of restic's messages by what they mean, in the order of being looked for.
const TEXTS: [(ErrorClass, &[&str]); 5] = [
    (ErrorClass::Password, &["wrong password or no key found"]),
    (ErrorClass::Locked, &["repository is already locked", "unable to create lock"]),
    (
        ErrorClass::Unreachable,
        &[
            "connection refused",
            "no such host",
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
        if no_room(text) { Some(ErrorClass::Full) } else { by_status(output.status.code()).or_else(|| by_text(text)) };
    let said = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let repository = format!("repository `{location}`");
    let (message, hint) = match class {
        None => return tool::failure("restic", output),
        Some(ErrorClass::Password) => (format!("The password of the {repository} is wrong"), None),
        Some(ErrorClass::Locked) => (
            format!("The {repository} is locked: {}", holder(text).unwrap_or(said)),
            Some("Wait for the other run; if it crashed, its lock is recognised as such and can be removed"),
        ),
        Some(ErrorClass::NotFound) => (format!("Nothing found in the {repository}: {said}"), None),
        Some(ErrorClass::Unreachable) => (format!("The {repository} does not answer: {said}"), None),
        Some(ErrorClass::Full) => (format!("The {repository}, or this machine, has no room left: {said}"), None),
        Some(_) => (
            format!("The {repository} is damaged: {said}"),
            Some("Restore another snapshot, and check the disk below it"),
        ),
    };
    let error = StateError::refused(class.unwrap_or(ErrorClass::Tool), message);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
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
    TEXTS.iter().find(|(_, parts)| parts.iter().any(|part| text.contains(part))).map(|(class, _)| *class)
}

/// Who holds the lock, in restic's words.
fn holder(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.find("locked").map(|at| line[at..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(by_text(text), Some(class), "{text}");
        }
        assert_eq!(by_text("something else"), None);
        assert_eq!(by_status(Some(12)), Some(ErrorClass::Password));
    }
}
