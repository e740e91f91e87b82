//! A task's id: `UPID:node:pid:pstart:start:type:id:user:`.
//!
//! Source: pve-common `src/PVE/UPID.pm`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of a task. Ask [`Upid::node`] about it, which need not be the node that the request went to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upid {
    pub node: String,
    pub pid: u32,
    /// The worker's start in the kernel's ticks since boot; nine hex digits at most.
    pub process_start: u64,
    /// Seconds since 1970.
    pub start: u32,
    /// What it does: `qmcreate`, `qmstart`, `imgcopy` and so on.
    pub kind: String,
    /// What it does it to, such as a VMID; may be empty.
    pub id: String,
    /// `user@realm` or `user@realm!token`.
    pub user: String,
}

/// A text that is no UPID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a UPID")]
pub struct NotAUpid(pub String);

impl fmt::Display for Upid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, pid, process_start, start, kind, id, user } = self;
        write!(f, "UPID:{node}:{pid:08X}:{process_start:08X}:{start:08X}:{kind}:{id}:{user}:")
    }
}

impl FromStr for Upid {
    type Err = NotAUpid;

    fn from_str(text: &str) -> Result<Self, NotAUpid> {
        parse(text).ok_or_else(|| NotAUpid(text.to_owned()))
    }
}

impl TryFrom<String> for Upid {
    type Error = NotAUpid;

    fn try_from(text: String) -> Result<Self, NotAUpid> {
        text.parse()
    }
}

impl From<Upid> for String {
    fn from(upid: Upid) -> Self {
        upid.to_string()
    }
}

fn parse(text: &str) -> Option<Upid> {
    let fields: Vec<&str> = text.split(':').collect();
    let ["UPID", node, pid, process_start, start, kind, id, user, ""] = fields[..] else {
        return None;
    };
    let word = |text: &str| !text.contains('/') && !text.contains(char::is_whitespace);
    let sound = crate::syntax::is_node_name(node)
        && pid.len() == 8
        && (8..=9).contains(&process_start.len())
        && start.len() == 8
        && !kind.is_empty()
        && word(kind)
        && word(id)
        && !user.is_empty()
        && word(user);
    sound.then_some(())?;
    Some(Upid {
        node: node.to_owned(),
        pid: hex(pid)?.try_into().ok()?,
        process_start: hex(process_start)?,
        start: hex(start)?.try_into().ok()?,
        kind: kind.to_owned(),
        id: id.to_owned(),
        user: user.to_owned(),
    })
}

/// `from_str_radix` alone would also take a sign.
fn hex(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_recorded_upid_is_read() {
        let text = "UPID:pve:00000A85:000B264E:6B014552:qmdestroy:102:fedi@pve!pool:";
        let upid: Upid = text.parse().unwrap();
        assert_eq!(upid.node, "pve");
        assert_eq!(upid.pid, 0xA85);
        assert_eq!(upid.kind, "qmdestroy");
        assert_eq!(upid.id, "102");
        assert_eq!(upid.user, "fedi@pve!pool");
        assert_eq!(upid.to_string(), text);
    }

    #[test]
    fn what_is_no_upid_is_refused() {
        for text in [
            "",
            "foo",
            "UPID:pve:1:2:3:qmcreate:100:root@pam:",
            "UPID:pve:00000A85:000B264E:6B014552::102:root@pam:",
            "UPID:pve:00000A85:000B264E:6B014552:qmstart:102:root@pam",
            "UPID:pve:+0000A85:000B264E:6B014552:qmstart:102:root@pam:",
            "UPID:-pve:00000A85:000B264E:6B014552:qmstart:102:root@pam:",
        ] {
            assert!(text.parse::<Upid>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn print_and_parse_agree(
            node in "[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?",
            pid: u32,
            process_start in 0u64..0x10_0000_0000,
            start: u32,
            kind in "[a-z]{1,10}",
            id in "[a-zA-Z0-9._-]{0,10}",
            user in "[a-z]{1,8}@[a-z]{2,5}(![a-z]{2,6})?",
        ) {
            let upid = Upid { node, pid, process_start, start, kind, id, user };
            prop_assert_eq!(upid.to_string().parse::<Upid>(), Ok(upid));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(UPID)?[:A-F0-9a-z@! /-]{0,80}") {
            if let Ok(upid) = text.parse::<Upid>() {
                prop_assert_eq!(upid.to_string().to_lowercase(), text.to_lowercase());
            }
        }
    }
}
