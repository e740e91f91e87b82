//! The command that restic speaks SFTP through. It never asks, and trusts and presents
//! nothing but what it is given.

use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{ErrorClass, StateError};

/// How to log in to an SFTP server.
pub struct SshLogin {
    /// Private key in OpenSSH's form, without a passphrase.
    pub key: Zeroizing<Vec<u8>>,
    /// The server's keys, as lines of `known_hosts`.
    pub known_hosts: String,
}

/// A server that is silent for a minute is gone.
const ALIVE: &str = "-o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4";

/// The command for a location, which writes what it has to say into `log`; `files` are
/// the private key and the known hosts, without which this user's own settings decide.
pub(super) fn command(
    location: &str,
    ssh: &Path,
    log: &Path,
    files: Option<(&Path, &Path)>,
) -> Result<String, StateError> {
    let (target, port) = target(location)?;
    let port = port.map(|port| format!(" -p {port}")).unwrap_or_default();
    let login = match files {
        None => String::new(),
        Some((key, known)) => format!(
            " -F none -i {} -o IdentitiesOnly=yes -o IdentityAgent=none -o PreferredAuthentications=publickey \
             -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} -o GlobalKnownHostsFile=none \
             -o UpdateHostKeys=no",
            word(key)?,
            word(known)?
        ),
    };
    Ok(format!("{} -E {} {ALIVE}{login}{port} {target} -s sftp", word(ssh)?, word(log)?))
}

/// `user@host` and the port of `sftp:user@host:/path` or `sftp://user@host:port//path`.
fn target(location: &str) -> Result<(&str, Option<u16>), StateError> {
    let invalid = || {
        let message = "An SFTP repository is written `sftp:user@host:/path` or `sftp://user@host:port//path`";
        StateError::refused(ErrorClass::Incompatible, message)
    };
    let rest = location.strip_prefix("sftp:").ok_or_else(invalid)?;
    let (target, port) = match rest.strip_prefix("//") {
        Some(rest) => {
            let authority = rest.split('/').next().unwrap_or_default();
            match authority.rsplit_once(':') {
                Some((target, port)) => (target, Some(port.parse().map_err(|_| invalid())?)),
                None => (authority, None),
            }
        }
        None => (rest.split_once(':').ok_or_else(invalid)?.0, None),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._@".contains(&b);
    if target.is_empty() || target.starts_with('-') || !target.bytes().all(plain) {
        return Err(invalid());
    }
    Ok((target, port))
}

/// A path as one word of restic's shell-like splitting, and of ssh's options.
fn word(path: &Path) -> Result<String, StateError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._".contains(c);
    match path.to_str() {
        Some(text) if text.chars().all(plain) => Ok(text.to_owned()),
        _ => {
            let message = format!("`{}` cannot stand in ssh's arguments", path.display());
            Err(StateError::refused(ErrorClass::Incompatible, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sftp_hosts() {
        let files = Some((Path::new("/k"), Path::new("/h")));
        assert!(
            command("sftp:me@host:/srv", Path::new("/ssh"), Path::new("/l"), files)
                .unwrap()
                .ends_with(" me@host -s sftp")
        );
        assert!(
            command("sftp://me@host:2222//srv", Path::new("/ssh"), Path::new("/l"), files)
                .unwrap()
                .ends_with(" -p 2222 me@host -s sftp")
        );
        for bad in ["/srv", "sftp:host", "sftp:-oProxyCommand=x:/srv", "sftp:a b:/srv", "sftp://host:x/srv"] {
            assert!(command(bad, Path::new("/ssh"), Path::new("/l"), files).is_err(), "{bad}");
        }
        assert!(
            command(
                "sftp:me@host:/srv",
                Path::new("/ssh"),
                Path::new("/l"),
                Some((Path::new("/a b"), Path::new("/h")))
            )
            .is_err()
        );
    }

    #[test]
    fn it_never_asks() {
        for files in [None, Some((Path::new("/k"), Path::new("/h")))] {
            assert!(
                command("sftp:me@host:/srv", Path::new("/ssh"), Path::new("/l"), files)
                    .unwrap()
                    .contains("BatchMode=yes")
            );
        }
        let own = command("sftp:me@host:/srv", Path::new("/ssh"), Path::new("/l"), None).unwrap();
        assert!(!own.contains("-F none") && !own.contains("KnownHosts"), "{own}");
    }
}
