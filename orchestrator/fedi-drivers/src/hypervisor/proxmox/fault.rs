//! Proxmox's errors in fedi's words: what follows, and what to do.

use fedi_engine::drivers::{DriverError, DriverErrorKind};
use proxmox_api::{Class, Conflict, Error};

use super::ProxmoxHost;

impl ProxmoxHost {
    /// What an error means for whoever was doing `what`.
    pub(super) fn fault(&self, error: &Error, what: impl Into<String>) -> DriverError {
        let host = &self.name;
        let (kind, hint) = match error.class() {
            Class::NotSent | Class::Transient => (
                DriverErrorKind::Unavailable,
                Some(format!("Is `{}` up, and reachable from here?", self.client.endpoint())),
            ),
            Class::Ambiguous | Class::Deadline | Class::Aborted => (
                DriverErrorKind::Unavailable,
                Some(format!("The tasks of node `{}` say what became of it", self.settings.node)),
            ),
            Class::Checksum | Class::Conflict(Conflict::Locked | Conflict::Digest) => {
                (DriverErrorKind::Unavailable, None)
            }
            Class::Quorum => (
                DriverErrorKind::Unavailable,
                Some("Nothing can be changed on a cluster without quorum; bring its other nodes back".to_owned()),
            ),
            Class::NoSpace => (
                DriverErrorKind::Exhausted,
                Some(format!("Make room on `{host}`, or name another storage in host.toml")),
            ),
            Class::Permission { .. } => {
                (DriverErrorKind::Denied, Some(format!("Run `fedi doctor {host}` for the commands that grant it")))
            }
            Class::Credentials => (
                DriverErrorKind::Denied,
                Some(format!(
                    "Is the token in `hypervisor.token` of hosts/{host}/host.toml whole, enabled and not expired?"
                )),
            ),
            Class::Certificate { presented } => (
                DriverErrorKind::Denied,
                Some(match presented {
                    Some(presented) => format!(
                        "It shows {presented}; compare with `pvenode cert info` on the host before you put it into host.toml"
                    ),
                    None => format!("See `hypervisor.tls` in hosts/{host}/host.toml"),
                }),
            ),
            Class::Unsupported => (DriverErrorKind::Invalid, Some("fedi needs Proxmox VE 8.4 or newer".to_owned())),
            Class::Permanent => (
                DriverErrorKind::Failed,
                Some(format!("The tasks and the system log of node `{}` may say more", self.settings.node)),
            ),
            _ => (DriverErrorKind::Failed, None),
        };
        let mut made = DriverError::new(kind, what);
        made = match error.class() {
            // The message is the innermost cause; what lies between is the libraries' own talk.
            Class::NotSent | Class::Transient | Class::Ambiguous | Class::Certificate { .. } => {
                made.cause(error.to_string()).cause(error.message())
            }
            _ => made.because(error),
        };
        made.hint = hint;
        made
    }
}
