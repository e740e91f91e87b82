//! `fedi.toml`.

use fedi_model::inventory::{FediFile, RepositoryCredentials};
use fedi_model::name::HostName;

use super::{Findings, at, is_mail_address};
use crate::read::InventoryFile;
use crate::schema::FileKind;

impl InventoryFile for FediFile {
    const KIND: FileKind = FileKind::Fedi;

    fn check(&self, findings: &mut Findings<'_>) {
        check(self, findings);
    }
}

fn check(file: &FediFile, findings: &mut Findings<'_>) {
    // The same rule as for a host, in other words.
    if HostName::new(file.name.as_str()).is_err() {
        findings.add_with_hint(
            &at(&["name"]),
            format!("`{}` cannot name an inventory", file.name),
            "Use lower-case letters, digits and `-`, beginning with a letter, at most 40",
        );
    }
    if let Some(email) = &file.operator.email
        && !is_mail_address(email)
    {
        findings.add(&at(&["operator", "email"]), format!("`{email}` is no mail address"));
    }
    if file.ssh.key.trim().is_empty() {
        findings.add(&at(&["ssh", "key"]), "`ssh.key` is empty");
    }
    for (index, key) in file.ssh.authorized_keys.iter().enumerate() {
        if let Some(reason) = no_public_key(key) {
            let place = at(&["ssh", "authorized-keys"]).index(index);
            findings.add_with_hint(
                &place,
                format!("This is no public SSH key: {reason}"),
                "Copy the line of a `.pub` file: `ssh-ed25519 AAAA... name`",
            );
        }
    }
    for (name, repository) in &file.backups {
        let places =
            [("location", Some(&repository.location)), ("operator-location", repository.operator_location.as_ref())];
        for (key, location) in places {
            if let Some((what, hint)) = location.and_then(|location| no_location(location)) {
                let place = at(&["backups", name.as_str(), key]);
                findings.add_with_hint(&place, format!("This is no location of a repository: {what}"), hint);
            }
        }
        let ways = [
            ("credentials", &repository.location, &repository.credentials),
            (
                "operator-credentials",
                repository.operator_location.as_ref().unwrap_or(&repository.location),
                &repository.operator_credentials,
            ),
        ];
        for (key, location, credentials) in ways {
            if let Some((what, hint)) = credentials.as_ref().and_then(|it| no_login(location, it)) {
                findings.add_with_hint(&at(&["backups", name.as_str(), key]), what, hint);
            }
        }
        if repository.location.starts_with("sftp:") && repository.credentials.is_none() {
            findings.add_with_hint(
                &at(&["backups", name.as_str(), "location"]),
                "A guest cannot log in to this SFTP server",
                "Give it a key: `credentials = { ssh = { key = ..., known-hosts = \"...\" } }`",
            );
        }
        if repository.keep.last == 0 {
            findings.add(
                &at(&["backups", name.as_str(), "keep", "last"]),
                "The newest snapshot is always kept: 1 at least",
            );
        }
    }
    if file.secrets.identity.trim().is_empty() {
        findings.add(&at(&["secrets", "identity"]), "`secrets.identity` is empty");
    }
    for (index, recipient) in file.secrets.recipients.iter().enumerate() {
        let place = at(&["secrets", "recipients"]).index(index);
        if recipient.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            findings.add_with_hint(
                &place,
                "This is a private age key, not a recipient",
                "Take it out of this file, make a new one, and write its public half (`age-keygen -y`)",
            );
        } else if !is_age_recipient(recipient) {
            findings.add_with_hint(
                &place,
                "This is no age recipient",
                "A recipient begins with `age1`; `age-keygen -y <file>` prints it",
            );
        }
    }
}

/// A repository's location. Never quotes it: somebody may have put a password there.
fn no_location(text: &str) -> Option<(&'static str, &'static str)> {
    if text.trim().is_empty() {
        return Some(("It is empty", "Write it as restic takes it: `rest:https://host:8000/`"));
    }
    let authority = text.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    if authority.is_some_and(|authority| authority.rsplit_once('@').is_some_and(|(login, _)| login.contains(':'))) {
        return Some((
            "A password stands in it",
            "Take it out, change it, and name a file that holds the new one: `credentials.login`",
        ));
    }
    if text.starts_with("rest:http://") || text.starts_with("s3:http://") {
        return Some(("It is not encrypted on the way", "Use `https://`; `ca-file` names the authority of the server"));
    }
    let known = ["rest:https://", "s3:https://", "sftp:", "/"];
    if !known.iter().any(|start| text.starts_with(start)) {
        return Some((
            "It is of no known kind",
            "Begin it with `rest:https://`, `s3:https://`, `sftp:user@host:`, or `/` for a folder",
        ));
    }
    None
}

/// Why credentials do not go with a location.
fn no_login(location: &str, credentials: &RepositoryCredentials) -> Option<(&'static str, &'static str)> {
    let (start, what) = match credentials {
        RepositoryCredentials::Login { .. } => ("rest:", "A login goes with a `rest:` repository only"),
        RepositoryCredentials::Keys { .. } => ("s3:", "Keys go with an `s3:` repository only"),
        RepositoryCredentials::Ssh { .. } => ("sftp:", "An SSH key goes with an `sftp:` repository only"),
    };
    if !location.starts_with(start) {
        return Some((what, "`login` is for `rest:`, `keys` for `s3:`, `ssh` for `sftp:`; a folder needs none"));
    }
    match credentials {
        RepositoryCredentials::Ssh { known_hosts, .. } if known_hosts.trim().is_empty() => Some((
            "`known-hosts` is empty: the server could be anybody",
            "Copy its line from `ssh-keyscan`, after comparing it with the server's own `ssh_host_ed25519_key.pub`",
        )),
        _ => None,
    }
}

/// The shape of an X25519 recipient: `age1` and 58 Bech32 characters.
fn is_age_recipient(text: &str) -> bool {
    let bech32 = |c: char| c.is_ascii_lowercase() && !"bio".contains(c) || c.is_ascii_digit() && c != '1';
    text.strip_prefix("age1").is_some_and(|rest| rest.len() == 58 && rest.chars().all(bech32))
}

/// Why a line is no public key of OpenSSH. Never quotes it: it may be a private one.
fn no_public_key(line: &str) -> Option<&'static str> {
    if line.contains("PRIVATE KEY") {
        return Some("it is a private key");
    }
    if line.lines().count() != 1 {
        return Some("it must be one line");
    }
    let mut words = line.split_whitespace();
    let (Some(kind), Some(key)) = (words.next(), words.next()) else { return Some("it needs a type and a key") };
    if !["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|prefix| kind.starts_with(prefix)) {
        return Some("it does not begin with a key type such as `ssh-ed25519`");
    }
    (!key.starts_with("AAAA")).then_some("its key does not begin with `AAAA`")
}
