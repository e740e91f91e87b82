//! Users and groups of this machine: files keep their owners by name, since
//! another machine numbers them otherwise.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::{ErrorClass, StateError};

/// A user that a program is run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

impl Account {
    /// Makes a command run as this user, unless it is this process's own.
    pub(crate) fn applied(self, mut command: Command) -> Command {
        if rustix::process::geteuid().as_raw() != self.uid {
            command.gid(self.gid).uid(self.uid);
        }
        command
    }
}

/// The users and groups of a machine by name and number.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: BTreeMap<String, Account>,
    groups: BTreeMap<String, u32>,
    user_names: BTreeMap<u32, String>,
    group_names: BTreeMap<u32, String>,
}

impl Accounts {
    /// Reads `/etc/passwd` and `/etc/group`.
    pub fn load() -> Result<Self, StateError> {
        let read = |path: &str| std::fs::read_to_string(path).map_err(StateError::file("read", Path::new(path)));
        Ok(Self::parse(&read("/etc/passwd")?, &read("/etc/group")?))
    }

    /// Reads texts of the form of passwd(5) and group(5).
    pub fn parse(passwd: &str, group: &str) -> Self {
        let mut accounts = Self::default();
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [name, _, uid, gid, ..] = fields[..]
                && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
            {
                accounts.users.entry(name.to_owned()).or_insert(Account { uid, gid });
                accounts.user_names.entry(uid).or_insert_with(|| name.to_owned());
            }
        }
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [name, _, gid, ..] = fields[..]
                && let Ok(gid) = gid.parse()
            {
                accounts.groups.entry(name.to_owned()).or_insert(gid);
                accounts.group_names.entry(gid).or_insert_with(|| name.to_owned());
            }
        }
        accounts
    }

    /// The user of that name or, for digits, of that number.
    pub fn user(&self, name: &str) -> Result<Account, StateError> {
        if let Some(account) = self.users.get(name) {
            return Ok(*account);
        }
        match name.parse() {
            Ok(uid) => Ok(Account { uid, gid: uid }),
            Err(_) => Err(missing("user", name)),
        }
    }

    /// The group of that name or, for digits, of that number.
    pub fn group(&self, name: &str) -> Result<u32, StateError> {
        if let Some(gid) = self.groups.get(name) {
            return Ok(*gid);
        }
        name.parse().map_err(|_| missing("group", name))
    }

    /// A user's name; its number if it has none.
    pub fn user_name(&self, uid: u32) -> String {
        self.user_names.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// A group's name; its number if it has none.
    pub fn group_name(&self, gid: u32) -> String {
        self.group_names.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

fn missing(kind: &str, name: &str) -> StateError {
    StateError::refused(ErrorClass::Missing, format!("This machine has no {kind} `{name}`"))
        .with_hint("Activate the application's system first; it makes its users")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let accounts =
            Accounts::parse("root:x:0:0::/:/bin/sh\nbroken\nsynapse:x:990:980::/:\n", "root:x:0:\nmedia:x:980:\n");
        assert_eq!(accounts.user("synapse").unwrap(), Account { uid: 990, gid: 980 });
        assert_eq!(accounts.user("1234").unwrap().uid, 1234);
        assert_eq!(accounts.user("nobody-here").unwrap_err().class(), ErrorClass::Missing);
        assert_eq!(accounts.group_name(980), "media");
        assert_eq!(accounts.user_name(77), "77");
    }
}
