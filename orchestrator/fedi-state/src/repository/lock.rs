//! Locks on a repository: whose they are, and whether their owner is still there.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::Repository;
use crate::error::{ErrorClass, StateError};
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

/// Who has the process number of a lock on this machine.
enum Owner {
    Nobody,
    Restic,
    Another,
}

impl Lock {
    /// Whether its owner is gone: a process of this machine that does not exist, or one that
    /// did not renew it for long. Where restic is at work under that number here, only the
    /// clock was set; of another machine, time is all that is known. A time that is yet to
    /// come says nothing.
    fn is_stale(&self, now: Timestamp, this_host: &str, owner: impl Fn(i32) -> Owner) -> bool {
        match (self.hostname == this_host).then(|| owner(self.pid)) {
            Some(Owner::Nobody) => true,
            Some(Owner::Restic) => false,
            // The number was given again, or restic has another name.
            Some(Owner::Another) | None => self.is_old(now),
        }
    }

    /// What restic itself goes by, whoever holds it.
    fn is_old(&self, now: Timestamp) -> bool {
        now.duration_since(self.time) > STALE
    }
}

fn owner(pid: i32) -> Owner {
    // A process of another user refuses the signal, but is there.
    let is_there = rustix::process::Pid::from_raw(pid)
        .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        // `.restic-wrapped` on NixOS.
        Ok(name) if name.contains("restic") => Owner::Restic,
        _ if is_there => Owner::Another,
        _ => Owner::Nobody,
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
    pub fn stale_locks(&self, work: &Work, now: Timestamp) -> Result<Vec<Lock>, StateError> {
        let locks = self.locks(work)?;
        Ok(locks.into_iter().filter(|lock| lock.is_stale(now, &this_host(), owner)).collect())
    }

    /// Removes the locks whose owners are gone, and no others. Restic goes by their time
    /// alone, so that it is not asked while one that is held here looks old.
    pub fn remove_stale_locks(&self, work: &Work, now: Timestamp) -> Result<(), StateError> {
        let held = |lock: &&Lock| lock.is_old(now) && !lock.is_stale(now, &this_host(), owner);
        if let Some(Lock { pid, time, .. }) = self.locks(work)?.iter().find(held) {
            let message = format!("Restic is at work here (PID {pid}), though its lock was last renewed at {time}");
            return Err(StateError::refused(ErrorClass::Locked, message)
                .with_hint("The clock was set meanwhile, or it stands still: wait for it, or end it"));
        }
        self.run(work, &["unlock"]).map(drop)
    }
}

fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_stale_when_its_owner_is_gone_whatever_the_clock_says() {
        let lock: Lock = serde_json::from_str(
            r#"{"time":"2026-01-01T00:00:00.123456789+01:00","exclusive":false,"hostname":"here","username":"root","pid":7}"#,
        )
        .unwrap();
        let stale = |now: &str| {
            let now = now.parse().unwrap();
            [
                lock.is_stale(now, "elsewhere", |_| panic!("a number of another machine")),
                lock.is_stale(now, "here", |_| Owner::Nobody),
                lock.is_stale(now, "here", |_| Owner::Another),
                lock.is_stale(now, "here", |_| Owner::Restic),
            ]
        };
        assert_eq!(stale("2025-12-31T23:05:00Z"), [false, true, false, false]);
        // Forward by two hours, and by a year; back by a day.
        assert_eq!(stale("2026-01-01T01:00:00Z"), [true, true, true, false]);
        assert_eq!(stale("2027-01-01T01:00:00Z"), [true, true, true, false]);
        assert_eq!(stale("2025-12-30T23:00:00Z"), [false, true, false, false]);
    }
}
