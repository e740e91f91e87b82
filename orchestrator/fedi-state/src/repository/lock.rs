//! Locks on a repository: whose they are, and whether their owner is still there.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::Repository;
use crate::error::StateError;
use crate::work::Work;

/// Restic renews its locks every five minutes and counts older ones than this as
/// left behind (restic, `internal/restic/lock.go`, `StaleLockTimeout`).
const STALE: SignedDuration = SignedDuration::from_mins(30);

/// A lock on a repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Lock {
    /// When it was taken or last renewed.
    pub time: Timestamp,
    /// Whether nobody else may work meanwhile.
    #[serde(default)]
    pub exclusive: bool,
    /// The machine that holds it.
    #[serde(default)]
    pub hostname: String,
    /// The process that holds it, on that machine.
    #[serde(default)]
    pub pid: i32,
}

impl Lock {
    /// Whether its owner is gone: it was not renewed for long, or it is a process of
    /// this machine that does not exist.
    pub fn is_stale(&self, now: Timestamp, this_host: &str, is_alive: impl Fn(i32) -> bool) -> bool {
        now.duration_since(self.time) > STALE || (self.hostname == this_host && !is_alive(self.pid))
    }
}

impl Repository {
    /// The locks on the repository; reading them takes none.
    pub fn locks(&self, work: &Work) -> Result<Vec<Lock>, StateError> {
        let output = self.run(work, &["list", "locks", "--no-lock"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut locks = Vec::new();
        for id in text.split_whitespace() {
            let output = self.run(work, &["cat", "lock", id, "--no-lock"])?;
            let unreadable = |error| StateError::damaged(format!("A lock of the repository does not read: {error}"));
            locks.push(serde_json::from_slice(&output.stdout).map_err(unreadable)?);
        }
        Ok(locks)
    }

    /// Those locks whose owners are gone: what a crash left behind.
    pub fn stale_locks(&self, work: &Work) -> Result<Vec<Lock>, StateError> {
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy();
        let alive = |pid: i32| {
            // A process of another user refuses the signal, but is there.
            rustix::process::Pid::from_raw(pid)
                .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
        };
        let locks = self.locks(work)?;
        Ok(locks.into_iter().filter(|lock| lock.is_stale(Timestamp::now(), &host, alive)).collect())
    }

    /// Removes the locks whose owners are gone, and no others.
    pub fn remove_stale_locks(&self, work: &Work) -> Result<(), StateError> {
        self.run(work, &["unlock"]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_stale_when_its_owner_is_gone() {
        let lock: Lock = serde_json::from_str(
            r#"{"time":"2026-01-01T00:00:00.123456789+01:00","exclusive":false,"hostname":"here","username":"root","pid":7}"#,
        )
        .unwrap();
        let soon: Timestamp = "2025-12-31T23:05:00Z".parse().unwrap();
        let later: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
        assert!(!lock.is_stale(soon, "here", |_| true));
        assert!(lock.is_stale(soon, "here", |_| false));
        assert!(!lock.is_stale(soon, "elsewhere", |_| false));
        assert!(lock.is_stale(later, "elsewhere", |_| true));
    }
}
