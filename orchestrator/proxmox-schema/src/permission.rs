//! Who may call an endpoint: the check that Proxmox makes before the method runs.

use std::fmt;

/// What Proxmox's `permissions` say about an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Anyone, without a login.
    World,
    /// Anyone who is logged in; the method itself may check more.
    User,
    /// Only `root@pam`, and none of its tokens.
    Root,
    Check(Check),
}

/// A condition on the caller's privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    And(Vec<Check>),
    Or(Vec<Check>),
    Privileges {
        /// May hold placeholders of parameters, as in `/vms/{vmid}`.
        path: String,
        privileges: Vec<String>,
        /// One is enough; else all are needed.
        any: bool,
        /// The branch holds only if this parameter is given.
        if_given: Option<String>,
    },
    /// May change the ACL of the path.
    ModifyAcl {
        path: String,
    },
    /// The caller is the user named in `userid`.
    IsSelf,
    /// Has one of these privileges on a group of the user named in `userid`.
    UserGroup(Vec<String>),
}

impl Allow {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "world" => Ok(Self::World),
            "user" => Ok(Self::User),
            "root" => Ok(Self::Root),
            _ => {
                let spaced = text.replace('(', " ( ").replace(')', " ) ");
                let mut words = Words { words: spaced.split_whitespace().collect(), next: 0 };
                let check = words.alternatives()?;
                match words.peek() {
                    None => Ok(Self::Check(check)),
                    Some(word) => Err(format!("`{word}` is left over")),
                }
            }
        }
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self) -> Result<&'a str, String> {
        let word = self.peek().ok_or("the line ends too early")?;
        self.next += 1;
        Ok(word)
    }

    fn take_if(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        let found = self.take()?;
        if found == word { Ok(()) } else { Err(format!("`{word}` expected, not `{found}`")) }
    }

    fn alternatives(&mut self) -> Result<Check, String> {
        let mut checks = vec![self.conjunction()?];
        while self.take_if("or") {
            checks.push(self.conjunction()?);
        }
        Ok(single_or(checks, Check::Or))
    }

    fn conjunction(&mut self) -> Result<Check, String> {
        let mut checks = vec![self.term()?];
        while self.take_if("and") {
            checks.push(self.term()?);
        }
        Ok(single_or(checks, Check::And))
    }

    fn term(&mut self) -> Result<Check, String> {
        match self.take()? {
            "(" => {
                let check = self.alternatives()?;
                self.expect(")")?;
                Ok(check)
            }
            "is-self" => Ok(Check::IsSelf),
            "acl-modify" => {
                self.expect("on")?;
                Ok(Check::ModifyAcl { path: self.take()?.to_owned() })
            }
            "user-group" => Ok(Check::UserGroup(self.take()?.split('&').map(str::to_owned).collect())),
            privileges => {
                let any = privileges.contains('|');
                let privileges = privileges.split(['|', '&']).map(str::to_owned).collect();
                self.expect("on")?;
                let path = self.take()?.to_owned();
                let if_given = if self.take_if("if") { Some(self.take()?.to_owned()) } else { None };
                Ok(Check::Privileges { path, privileges, any, if_given })
            }
        }
    }
}

fn single_or(mut checks: Vec<Check>, many: fn(Vec<Check>) -> Check) -> Check {
    if checks.len() == 1 { checks.remove(0) } else { many(checks) }
}

impl fmt::Display for Check {
    /// As the tables write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, checks: &[Check], word: &str| {
            for (index, check) in checks.iter().enumerate() {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                match check {
                    Check::And(_) | Check::Or(_) => write!(f, "({check})")?,
                    _ => write!(f, "{check}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::And(checks) => joined(f, checks, "and"),
            Self::Or(checks) => joined(f, checks, "or"),
            Self::Privileges { path, privileges, any, if_given } => {
                let names = privileges.join(if *any { "|" } else { "&" });
                write!(f, "{names} on {path}")?;
                if_given.as_ref().map_or(Ok(()), |given| write!(f, " if {given}"))
            }
            Self::ModifyAcl { path } => write!(f, "acl-modify on {path}"),
            Self::IsSelf => f.write_str("is-self"),
            Self::UserGroup(privileges) => write!(f, "user-group {}", privileges.join("&")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_and_printed() {
        for text in [
            "VM.Allocate on /vms/{vmid}",
            "Sys.Audit&Sys.Modify on / or Sys.AccessNetwork on /nodes/{node}",
            "VM.Clone on /vms/{vmid} and (VM.Allocate on /vms/{newid} or VM.Allocate on /pool/{pool} if pool)",
            "is-self or user-group User.Modify",
            "acl-modify on {path}",
        ] {
            let Allow::Check(check) = Allow::parse(text).unwrap() else { panic!("{text} is a check") };
            assert_eq!(check.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_the_language_is_refused() {
        for text in ["", "VM.Audit", "VM.Audit on", "(VM.Audit on /", "VM.Audit on / VM.Audit on /"] {
            assert!(Allow::parse(text).is_err(), "{text}");
        }
    }
}
