//! What restic tries again by itself. Since 0.17 it does so for 15 minutes, whatever the
//! error: with a wrong key as with a server that is being restarted. What waiting does not
//! mend ends it at once, with the error; of the rest the operator is told.

use super::{Repository, classify};
use crate::error::{ErrorClass, StateError};
use crate::work::Work;

/// So many times a question that nothing hangs on is repeated: about ten seconds.
const FEW: u32 = 3;

/// Who may only add cannot remove a lock, and has stored all the same.
const REMOVING: &str = "Remove(";

/// How long a server that does not answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Where nothing has begun.
    Little,
    /// As long as restic has patience.
    Full,
}

/// Follows what one restic says.
pub(super) struct Retries<'a> {
    work: &'a Work,
    location: String,
    patience: Patience,
    seen: u32,
}

impl Repository {
    pub(super) fn retries<'a>(&self, work: &'a Work, patience: Patience) -> Retries<'a> {
        Retries { work, location: self.shown(), patience, seen: 0 }
    }
}

impl Retries<'_> {
    /// Reads what restic said since the last call; the error that ends it.
    pub(super) fn heed(&mut self, said: &str) -> Result<(), StateError> {
        for line in said.lines() {
            let Some(error) = classify::retried(&self.location, line) else { continue };
            self.seen += 1;
            let waits = error.class() == ErrorClass::Unreachable || line.starts_with(REMOVING);
            if !waits || (self.patience == Patience::Little && self.seen >= FEW) {
                return Err(error);
            }
            if self.seen == 1 {
                self.work.observer.notice(&format!("{error}; restic tries again"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Password;

    fn heed(patience: Patience, lines: &[&str]) -> Vec<Option<ErrorClass>> {
        let password = Password::File("/nonexistent".into());
        let location = "rest:https://host/".to_owned();
        let repository = Repository { location, password, s3: None, ca: None, ssh: None, cache: None };
        let work = Work::default();
        let mut retries = repository.retries(&work, patience);
        lines.iter().map(|line| retries.heed(line).err().map(|error| error.class())).collect()
    }

    #[test]
    fn what_waiting_does_not_mend_ends_it() {
        let refused = "Stat(<config/>) returned error, retrying after 1.46s: Head \"https://host/config\": dial tcp: connect: connection refused";
        let unreachable = Some(ErrorClass::Unreachable);
        assert_eq!(heed(Patience::Little, &[refused; 3]), [None, None, unreachable]);
        assert_eq!(heed(Patience::Full, &[refused; 3]), [None; 3]);
        for (line, class) in [
            (
                "Stat(<config/>) returned error, retrying after 1.01s: Head \"https://host/config\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
                ErrorClass::Untrusted,
            ),
            (
                "Load(<config/>, 0, 0) returned error, retrying after 1s: unexpected HTTP response (401): 401 Unauthorized",
                ErrorClass::Denied,
            ),
            ("Save(<data/0123>) returned error, retrying after 1s: write: no space left on device", ErrorClass::Full),
        ] {
            assert_eq!(heed(Patience::Full, &[line]), [Some(class)], "{line}");
        }
        let removing = "Remove(<lock/0123>) returned error, retrying after 1s: 403 Forbidden";
        assert_eq!(heed(Patience::Full, &[removing]), [None]);
        // What is not known, or no retry, is restic's own matter.
        assert_eq!(
            heed(Patience::Full, &["Save(<data/01>) returned error, retrying after 1s: odd", "connection refused"]),
            [None; 2]
        );
    }
}
