//! Repositories that are reached over a network: a real sshd, a real Garage behind TLS.

use fedi_guest::protocol::{ErrorKind, RepositoryAccess, S3Access, SecretValue, SftpAccess};
use fedi_model::state::Consistency::DumpThenFiles;

use crate::machine::{Machine, PASSWORD, captures, restores};
use crate::servers::garage::Garage;
use crate::servers::sshd::Sshd;
use crate::servers::tls::{Certificate, Front};

fn access(location: String) -> RepositoryAccess {
    RepositoryAccess { location, password: SecretValue::new(PASSWORD), rest: None, s3: None, sftp: None, ca: None }
}

/// Captured on one guest and brought back on another; a wrong password is told as such.
fn moves(source: &Machine, repository: &RepositoryAccess) {
    let captured = source.call(captures(repository, DumpThenFiles, "one")).unwrap();
    let again = source.call(captures(repository, DumpThenFiles, "one")).unwrap();
    assert_eq!(again.snapshot, captured.snapshot);
    let wrong = RepositoryAccess { password: SecretValue::new("another"), ..repository.clone() };
    assert_eq!(source.refuses(captures(&wrong, DumpThenFiles, "two")).0, ErrorKind::Password);
    let target = Machine::dormant("1.5").unwrap();
    target.call(restores(repository, &captured)).unwrap();
    assert_eq!(target.sql("toy", "SELECT count(*) FROM notes"), "1000");
    assert!(source.has_no_stage() && target.has_no_stage());
}

/// Refused for one reason, without a secret in what is said.
fn refused(source: &Machine, repository: &RepositoryAccess, wanted: ErrorKind) {
    let (kind, message) = source.refuses(captures(repository, DumpThenFiles, "three"));
    assert_eq!(kind, wanted, "{message}");
    let sftp = repository.sftp.as_ref().map(|it| it.private_key.expose().to_vec());
    let s3 = repository.s3.as_ref().map(|it| it.secret.expose().to_vec());
    for secret in [sftp, s3, Some(PASSWORD.as_bytes().to_vec())].into_iter().flatten() {
        let secret = String::from_utf8(secret).unwrap();
        assert!(secret.lines().all(|line| !message.contains(line)), "{message}");
    }
    assert!(source.has_no_stage());
}

#[test]
fn over_sftp() {
    let Some(source) = Machine::with_application() else { return };
    let Some(sshd) = Sshd::start(&source.root().join("sshd")) else { return };
    let login = |key: &str, known_hosts: &str| {
        Some(SftpAccess { private_key: SecretValue::new(key), known_hosts: known_hosts.to_owned() })
    };
    let mut repository = access(sshd.location(&source.root().join("repository")));
    repository.sftp = login(&sshd.key, &sshd.known_hosts);
    moves(&source, &repository);
    let (key, line) = sshd.another_key();
    let stranger = RepositoryAccess { sftp: login(&key, &sshd.known_hosts), ..repository.clone() };
    refused(&source, &stranger, ErrorKind::Denied);
    let changed = RepositoryAccess { sftp: login(&sshd.key, &line), ..repository };
    refused(&source, &changed, ErrorKind::Untrusted);
}

#[test]
fn over_s3() {
    let Some(source) = Machine::with_application() else { return };
    let Some(garage) = Garage::start(&source.root().join("garage"), 0x5e) else { return };
    let certificate = Certificate::new();
    let front = Front::before(garage.port, &certificate);
    let keys = |secret: &str| {
        Some(S3Access { id: garage.key.clone(), secret: SecretValue::new(secret), region: "garage".to_owned() })
    };
    let mut repository = access(format!("s3:https://127.0.0.1:{}/media/backups/toy/", front.port));
    (repository.s3, repository.ca) = (keys(&garage.secret), Some(certificate.ca.clone()));
    moves(&source, &repository);
    let stranger = RepositoryAccess { s3: keys(&"ab".repeat(32)), ..repository.clone() };
    refused(&source, &stranger, ErrorKind::Denied);
    let impostor = RepositoryAccess { ca: Some(Certificate::new().ca), ..repository };
    refused(&source, &impostor, ErrorKind::Untrusted);
}
