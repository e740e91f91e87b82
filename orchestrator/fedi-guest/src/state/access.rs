//! How a repository is reached from here. What restic or ssh must read from a file is in
//! a folder that only root enters, gone with the operation.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use fedi_state::Work;
use fedi_state::repository::{Password, Repository, S3Keys};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::error::GuestError;
use crate::file;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, RepositoryAccess, RestLogin, SecretValue, SftpAccess};

/// What restic remembers of repositories; can be removed at any time.
const CACHE: &str = "/var/cache/fedi-restic";

/// A repository with the files that reaching it needs.
pub(super) struct Opened {
    pub(super) repository: Repository,
    _files: Option<TempDir>,
}

impl Opened {
    pub(super) fn new(guest: &Guest, work: &Work, access: &RepositoryAccess) -> Result<Self, GuestError> {
        if !work.tools.folders.iter().any(|folder| folder.join("restic").is_file()) {
            return Err(GuestError::refused(ErrorKind::ToolMissing, "`restic` is not installed on the guest")
                .with_hint("Deploy the guest's system anew: its agent comes with restic"));
        }
        let location = match &access.rest {
            Some(login) => with_login(&access.location, login)?,
            None => access.location.clone(),
        };
        let s3 = match &access.s3 {
            Some(keys) => {
                let secret = text(&keys.secret, "S3 key")?;
                Some(S3Keys { id: keys.id.clone(), secret, region: keys.region.clone() })
            }
            None => None,
        };
        let (sftp_command, files) = match &access.sftp {
            Some(sftp) => {
                let (command, files) = ssh(&access.location, sftp)?;
                (Some(command), Some(files))
            }
            None => (None, None),
        };
        let cache = guest.path(CACHE);
        file::folder(&cache, 0o700)?;
        let repository = Repository {
            location,
            password: Password::Value(text(&access.password, "repository's password")?),
            s3,
            ca: access.ca.clone(),
            sftp_command,
            cache: Some(cache),
        };
        Ok(Self { repository, _files: files })
    }
}

/// A secret that is text.
pub(super) fn text(value: &SecretValue, what: &str) -> Result<Zeroizing<String>, GuestError> {
    let text = std::str::from_utf8(value.expose())
        .map_err(|_| GuestError::refused(ErrorKind::Invalid, format!("The {what} is not UTF-8")))?;
    Ok(Zeroizing::new(text.trim_end_matches('\n').to_owned()))
}

/// `rest:https://host/path` with user and password, as restic reads them from a file.
fn with_login(location: &str, login: &RestLogin) -> Result<String, GuestError> {
    let Some((scheme, rest)) = location.split_once("://").filter(|(scheme, _)| scheme.starts_with("rest:http")) else {
        let message = "A login goes with a `rest:https://` repository only";
        return Err(GuestError::refused(ErrorKind::Invalid, message));
    };
    let password = text(&login.password, "login's password")?;
    Ok(format!("{scheme}://{}:{}@{rest}", escaped(&login.user), escaped(&password)))
}

/// Percent-encoded but for unreserved characters (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push_str(&hex::encode_upper([byte]));
        }
    }
    escaped
}

/// The command that restic speaks SFTP through, and the files that it reads.
fn ssh(location: &str, sftp: &SftpAccess) -> Result<(String, TempDir), GuestError> {
    let invalid = || {
        let message = "An SFTP repository is written `sftp:user@host:/path` or `sftp://user@host:port/path`";
        GuestError::refused(ErrorKind::Invalid, message)
    };
    let rest = location.strip_prefix("sftp:").ok_or_else(invalid)?;
    let (target, port) = match rest.strip_prefix("//") {
        Some(rest) => {
            let authority = rest.split('/').next().unwrap_or_default();
            match authority.rsplit_once(':') {
                Some((target, port)) => (target, Some(port.parse::<u16>().map_err(|_| invalid())?)),
                None => (authority, None),
            }
        }
        None => (rest.split_once(':').ok_or_else(invalid)?.0, None),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._@".contains(&b);
    if target.is_empty() || target.starts_with('-') || !target.bytes().all(plain) {
        return Err(invalid());
    }
    let files = TempDir::new().map_err(GuestError::file("make a folder in", &std::env::temp_dir()))?;
    let write = |name: &str, bytes: &[u8]| -> Result<PathBuf, GuestError> {
        let path = files.path().join(name);
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        opened.and_then(|mut file| file.write_all(bytes)).map_err(GuestError::file("write", &path))?;
        Ok(path)
    };
    let key = write("key", sftp.private_key.expose())?;
    let known = write("known_hosts", sftp.known_hosts.as_bytes())?;
    let port = port.map(|port| format!(" -p {port}")).unwrap_or_default();
    let command = format!(
        "ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes \
         -o UserKnownHostsFile={} -o GlobalKnownHostsFile=none{port} {target} -s sftp",
        key.display(),
        known.display()
    );
    Ok((command, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_escaped() {
        let login = RestLogin { user: "m@trix".to_owned(), password: SecretValue::new("a/b:ü\n") };
        let location = with_login("rest:https://host:8000/main/", &login).unwrap();
        assert_eq!(location, "rest:https://m%40trix:a%2Fb%3A%C3%BC@host:8000/main/");
        assert!(with_login("/srv/backup", &login).is_err());
    }

    #[test]
    fn without_restic_it_says_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let guest = Guest::in_folder(root.path(), root.path());
        let password = SecretValue::new("secret");
        let access =
            RepositoryAccess { location: "/srv".to_owned(), password, rest: None, s3: None, sftp: None, ca: None };
        let error = Opened::new(&guest, &Work::default(), &access).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ToolMissing);
        assert!(error.to_string().contains("`restic`") && error.hint().is_some());
    }

    #[test]
    fn sftp_hosts() {
        let sftp = SftpAccess { private_key: SecretValue::new("key"), known_hosts: String::new() };
        assert!(ssh("sftp:me@host:/srv", &sftp).unwrap().0.ends_with(" me@host -s sftp"));
        assert!(ssh("sftp://me@host:2222/srv", &sftp).unwrap().0.ends_with(" -p 2222 me@host -s sftp"));
        for bad in ["/srv", "sftp:host", "sftp:-oProxyCommand=x:/srv", "sftp:a b:/srv", "sftp://host:x/srv"] {
            assert!(ssh(bad, &sftp).is_err(), "{bad}");
        }
    }
}
