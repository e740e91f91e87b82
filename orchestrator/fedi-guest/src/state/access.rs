//! How a repository is reached from here.

use fedi_state::Work;
use fedi_state::repository::{Password, Repository, S3Keys, SshLogin};
use zeroize::Zeroizing;

use crate::error::GuestError;
use crate::file;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, RepositoryAccess, RestLogin, SecretValue};

/// What restic remembers of repositories; can be removed at any time.
const CACHE: &str = "/var/cache/fedi-restic";

/// A repository that this guest may open.
pub(super) struct Opened {
    pub(super) repository: Repository,
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
        let ssh = access.sftp.as_ref().map(|sftp| SshLogin {
            key: Zeroizing::new(sftp.private_key.expose().to_vec()),
            known_hosts: sftp.known_hosts.clone(),
        });
        let cache = guest.path(CACHE);
        file::folder(&cache, 0o700)?;
        let repository = Repository {
            location,
            password: Password::Value(text(&access.password, "repository's password")?),
            s3,
            ca: access.ca.clone(),
            ssh,
            cache: Some(cache),
        };
        Ok(Self { repository })
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
}
