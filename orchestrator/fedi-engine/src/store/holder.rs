//! Who a process is, so that others can say its name and see whether it is alive.

use std::fmt;
use std::fs;

use uuid::Uuid;

/// A process that may hold the writer lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who runs it.
    pub user: String,
    /// Host name of its machine.
    pub machine: String,
    /// Its process id, meaningful within `place`.
    pub pid: u32,
    /// When the process started, in the kernel's ticks since boot.
    pub process_start: u64,
    /// Where process ids mean the same: the boot of the machine and its process
    /// namespace. Empty where that is unknown; then only the heartbeat counts.
    pub place: String,
    /// This holder and no other, should one process be several.
    pub instance: Uuid,
}

impl Holder {
    /// This process.
    pub fn current() -> Self {
        let pid = std::process::id();
        let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        Self {
            user: user.unwrap_or_else(|| "unknown".to_owned()),
            machine: fs::read_to_string("/proc/sys/kernel/hostname")
                .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned()),
            pid,
            process_start: process_start(pid).unwrap_or_default(),
            place: place().unwrap_or_default(),
            instance: Uuid::new_v4(),
        }
    }

    /// Whether it is known to be dead, seen from `self`. A process elsewhere, or one
    /// that cannot be looked at, is not known to be.
    pub fn knows_dead(&self, other: &Self) -> bool {
        !self.place.is_empty() && self.place == other.place && process_start(other.pid) != Some(other.process_start)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} (pid {})", self.user, self.machine, self.pid)
    }
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)); the command in field 2 may hold anything,
/// so fields are counted from its closing parenthesis. `None` when there is no such
/// process; a zombie is none.
fn process_start(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        let holder = Holder::current();
        assert!(holder.process_start > 0);
        assert!(!Holder::current().knows_dead(&holder));
    }

    #[test]
    fn a_process_id_that_was_given_again_is_another_process() {
        let mut holder = Holder::current();
        holder.process_start += 1;
        assert!(Holder::current().knows_dead(&holder));
    }

    #[test]
    fn a_process_elsewhere_is_not_known_to_be_dead() {
        let mut holder = Holder::current();
        holder.process_start += 1;
        holder.place = "another boot".to_owned();
        assert!(!Holder::current().knows_dead(&holder));
        holder.place = String::new();
        assert!(!Holder::current().knows_dead(&holder));
    }

    #[test]
    fn a_process_that_ended_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let mut holder = Holder { pid: child.id(), ..Holder::current() };
        holder.process_start = process_start(child.id()).unwrap_or(1);
        child.wait().unwrap();
        assert!(Holder::current().knows_dead(&holder));
    }
}
