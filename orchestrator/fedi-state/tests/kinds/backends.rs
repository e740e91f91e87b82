//! The same repository on everything that restic reaches it through: a folder, a real
//! sshd, a real Garage behind TLS, a REST server.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use fedi_state::repository::{Keep, Password, Repository, S3Keys, SshLogin};
use fedi_state::{ErrorClass, Kind as _, Stage, Work};
use jiff::Timestamp;

use crate::repository::stage;
use crate::servers::cut::Cut;
use crate::servers::garage::Garage;
use crate::servers::rest::{LOGIN, Rest};
use crate::servers::sshd::{self, Sshd};
use crate::servers::tls::{Certificate, Front};
use crate::support::{Place, skipped};

const PASSWORD: &str = "correct horse battery";

/// What reaching a repository takes.
#[derive(Clone, Default)]
struct Way {
    location: String,
    s3: Option<(String, String)>,
    ca: Option<String>,
    ssh: Option<(String, String)>,
}

impl Way {
    fn open(&self, password: &str) -> Repository {
        Repository {
            location: self.location.clone(),
            password: Password::Value(password.to_owned().into()),
            s3: self.s3.clone().map(|(id, secret)| S3Keys { id, secret: secret.into(), region: "garage".to_owned() }),
            ca: self.ca.clone(),
            ssh: self.ssh.clone().map(|(key, known_hosts)| SshLogin { key: key.into_bytes().into(), known_hosts }),
            cache: None,
        }
    }

    fn class(&self) -> ErrorClass {
        let error = self.open(PASSWORD).init(&Work::default()).unwrap_err();
        for secret in self.secrets() {
            assert!(!format!("{error:?} {error}").contains(&secret), "{error}");
        }
        error.class()
    }

    /// What nobody may see.
    fn secrets(&self) -> Vec<String> {
        let mut secrets = vec![PASSWORD.to_owned(), LOGIN.1.replace('@', "%40"), "p%40ss".to_owned()];
        secrets.extend(self.s3.iter().map(|(_, secret)| secret.clone()));
        secrets.extend(self.ssh.iter().map(|(key, _)| key.lines().nth(1).unwrap().to_owned()));
        secrets
    }

    /// Somebody else's restic on the same repository.
    fn other(&self, place: &Place, words: &[&str]) -> Command {
        let file = |name: &str, content: &str| {
            sshd::private(&place.path(name), content);
            place.path(name)
        };
        let mut command = Command::new("restic");
        command.arg("--no-cache").arg("--repository-file").arg(file("other-location", &self.location));
        command.arg("--password-file").arg(file("other-password", PASSWORD));
        if let Some((id, secret)) = &self.s3 {
            command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
            command.env("AWS_DEFAULT_REGION", "garage");
        }
        if let Some(ca) = &self.ca {
            command.arg("--cacert").arg(file("other-ca", ca));
        }
        if let Some((key, known)) = &self.ssh {
            let (key, known) = (file("other-key", key), file("other-known", known));
            let ssh = format!(
                "ssh -F none -i {} -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile={} {} -s sftp",
                key.display(),
                known.display(),
                self.location.trim_start_matches("sftp://").split('/').next().unwrap().replace(':', " -p "),
            );
            command.arg("--option").arg(format!("sftp.command={ssh}"));
        }
        command.args(words);
        command
    }
}

/// A repository's life, from its making over another run's lock to a restore.
fn lives(place: &Place, way: &Way) {
    let (work, repository) = (&place.work, way.open(PASSWORD));
    assert_eq!(repository.is_there(work).unwrap_err().class(), ErrorClass::NotFound);
    repository.init(work).unwrap();
    repository.init(work).unwrap();
    let error = way.open("not the password").init(work).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Password, "{error}");
    let (stage, there) = stage(place);
    let added = repository.backup(work, &stage).unwrap();
    assert_eq!(repository.snapshots(work, "matrix").unwrap().len(), 1);
    assert_eq!(repository.manifest(work, &added.id).unwrap(), stage.read().unwrap());
    let back = repository.restore(work, &added.id, &place.path("back")).unwrap();
    let (snapshot, item) = (back.read().unwrap(), back.item("files").unwrap());
    there.restore(work, &item, &snapshot.items["files"]).unwrap();
    there.verify(work, &item, &snapshot.items["files"]).unwrap();

    // Another run, which reads what never comes; then it is gone, and its lock is not.
    let mut other = way.other(place, &["backup", "--stdin"]);
    let mut other = other.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while repository.locks(work).unwrap().is_empty() {
        assert!(std::time::Instant::now() < end, "the other run took no lock");
    }
    let error = repository.check(work, 0).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Locked, "{error:?}");
    assert!(error.to_string().contains(&format!("PID {}", other.id())), "{error}");
    assert_eq!(repository.stale_locks(work, Timestamp::now()).unwrap(), []);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(repository.stale_locks(work, Timestamp::now()).unwrap().len(), 1);
    repository.remove_stale_locks(work, Timestamp::now()).unwrap();
    repository.check(work, 100).unwrap();
    assert_seen(place, way);
}

/// Restic and what it starts are shown to everybody who asks for processes: no secret
/// stands in their arguments or environment, and what they read is theirs alone, in memory.
fn assert_seen(place: &Place, way: &Way) {
    let (tools, seen) = (place.path("tools"), place.path("seen"));
    fs::create_dir_all(&tools).unwrap();
    let restic = place.work.tools.find("restic").unwrap();
    let script = format!(
        "#!/bin/sh\n{{ printf '%s\\n' \"$@\"; env; for word in \"$@\" $AWS_SHARED_CREDENTIALS_FILE; do\n\
         [ ! -f \"$word\" ] || stat --dereference --format='mode %a %n' \"$word\"; done; }} >>{}\nexec {} \"$@\"\n",
        seen.display(),
        restic.display()
    );
    fedi_test::program(&tools.join("restic"), &script);
    let mut work = place.work.clone();
    work.tools.folders.insert(0, tools);
    way.open(PASSWORD).is_there(&work).unwrap();
    let seen = fs::read_to_string(seen).unwrap();
    for secret in way.secrets() {
        assert!(!seen.contains(&secret), "{seen}");
    }
    let modes: Vec<&str> = seen.lines().filter(|line| line.starts_with("mode ")).collect();
    let own = |mode: &&str| mode.starts_with("mode 600 /proc/");
    assert!(!modes.is_empty() && modes.iter().all(own), "{modes:?}");
}

/// Where restic is not there, nothing can be tested.
fn place() -> Option<Place> {
    let place = Place::new();
    if place.work.tools.find("restic").is_none() {
        skipped("restic is not installed");
        return None;
    }
    Some(place)
}

fn over_ssh(sshd: &Sshd, folder: &Path) -> Way {
    let login = (sshd.key.clone(), sshd.known_hosts.clone());
    Way { location: sshd.location(folder), ssh: Some(login), ..Way::default() }
}

fn over_s3(garage: &Garage, scheme: &str, port: u16) -> Way {
    let location = format!("s3:{scheme}://127.0.0.1:{port}/media/backups");
    Way { location, s3: Some((garage.key.clone(), garage.secret.clone())), ..Way::default() }
}

fn over_rest(certificate: &Certificate, port: u16) -> Way {
    let login = "guest:p%40ss%2Fword%20of%20a%20guest";
    let location = format!("rest:https://{login}@127.0.0.1:{port}/main/");
    Way { location, ca: Some(certificate.ca.clone()), ..Way::default() }
}

#[test]
fn a_folder() {
    let Some(place) = place() else { return };
    let way = Way { location: place.path("deep/repository").display().to_string(), ..Way::default() };
    lives(&place, &way);
}

#[test]
fn an_sftp_server() {
    let Some(place) = place() else { return };
    let Some(mut sshd) = Sshd::start(&place.path("sshd")) else { return };
    let way = over_ssh(&sshd, &place.path("deep/repository"));
    lives(&place, &way);

    let (key, line) = sshd.another_key();
    let stranger = Way { ssh: Some((key, sshd.known_hosts.clone())), ..way.clone() };
    assert_eq!(stranger.class(), ErrorClass::Denied);
    let changed = Way { ssh: Some((sshd.key.clone(), line)), ..way.clone() };
    assert_eq!(changed.class(), ErrorClass::Untrusted);
    let unknown = Way { ssh: Some((sshd.key.clone(), String::new())), ..way.clone() };
    assert_eq!(unknown.class(), ErrorClass::Untrusted);
    sshd.stop();
    assert_eq!(way.class(), ErrorClass::Unreachable);
}

#[test]
fn a_garage_behind_tls() {
    let Some(place) = place() else { return };
    let Some(mut garage) = Garage::start(&place.path("garage"), 0x3c) else { return };
    let certificate = Certificate::new();
    let front = Front::before(garage.port, &certificate);
    let way = Way { ca: Some(certificate.ca.clone()), ..over_s3(&garage, "https", front.port) };
    lives(&place, &way);

    let stranger = Way { s3: Some((format!("GK{}", "ee".repeat(12)), garage.secret.clone())), ..way.clone() };
    assert_eq!(stranger.class(), ErrorClass::Denied);
    let forged = Way { s3: Some((garage.key.clone(), "ff".repeat(32))), ..way.clone() };
    assert_eq!(forged.class(), ErrorClass::Denied);
    let other = Way { ca: Some(Certificate::new().ca), ..way.clone() };
    assert_eq!(other.class(), ErrorClass::Untrusted);
    garage.server.stop();
    let plain = over_s3(&garage, "http", garage.port);
    assert_eq!(plain.class(), ErrorClass::Unreachable);
}

#[test]
fn a_rest_server() {
    let Some(place) = place() else { return };
    let certificate = Certificate::new();
    let data = place.path("data");
    let Some(mut rest) = Rest::start(&place.path("rest"), &data, &certificate, false) else { return };
    let way = over_rest(&certificate, rest.port);
    lives(&place, &way);

    let stranger = Way { location: way.location.replace("word", "pass"), ..way.clone() };
    assert_eq!(stranger.class(), ErrorClass::Denied);
    let other = Way { ca: Some(Certificate::new().ca), ..way.clone() };
    assert_eq!(other.class(), ErrorClass::Untrusted);

    // One that takes additions only: nothing that is there can be removed through it.
    let Some(additions) = Rest::start(&place.path("additions"), &data, &certificate, true) else { return };
    let adds = over_rest(&certificate, additions.port).open(PASSWORD);
    let added = adds.backup(&place.work, &stage(&place).0).unwrap();
    adds.backup(&place.work, &stage(&place).0).unwrap();
    let keep = Keep { last: 1, daily: 0, weekly: 0, monthly: 0 };
    let forgotten = adds.forget(&place.work, "matrix", &keep, &[]);
    let kept = way.open(PASSWORD).snapshots(&place.work, "matrix").unwrap();
    assert!(kept.iter().any(|one| one.id == added.id), "{kept:?}");
    assert_eq!(forgotten.unwrap_err().class(), ErrorClass::Denied);
    rest.stop();
    assert_eq!(way.class(), ErrorClass::Unreachable);
}

/// The source of a backup that takes longer than [`PASSES`].
fn large(place: &Place) -> Stage {
    let (stage, _) = stage(place);
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed.to_le_bytes()[7]
    };
    let noise: Vec<u8> = (0..8 << 20).map(|_| next()).collect();
    fs::write(stage.root().join("items/files/noise"), noise).unwrap();
    stage
}

/// A server that is away for a moment in the middle of a backup; restic comes back to it.
fn comes_back(place: &Place, way: &Way, through: &Way, cut: &Cut) {
    let (work, repository) = (&place.work, way.open(PASSWORD));
    repository.init(work).unwrap();
    let stage = large(place);
    let added = through.open(PASSWORD).backup(work, &stage).unwrap();
    assert!(cut.is_gone());
    repository.check(work, 100).unwrap();
    let back = repository.restore(work, &added.id, &place.path("back")).unwrap();
    let noise = |stage: &Stage| fs::read(stage.root().join("items/files/noise")).unwrap();
    assert!(noise(&back) == noise(&stage));
}

/// So much passes that the backup has begun for sure.
const PASSES: u64 = 3 << 20;

#[test]
fn an_sftp_server_that_goes_away() {
    let Some(place) = place() else { return };
    let Some(sshd) = Sshd::start(&place.path("sshd")) else { return };
    let cut = Cut::before(sshd.port, PASSES, u32::MAX);
    let way = over_ssh(&sshd, &place.path("repository"));
    let known = sshd.known_hosts.replace(&format!(":{} ", sshd.port), &format!(":{} ", cut.port()));
    let location = sshd::at(cut.port(), &place.path("repository"));
    let through = Way { location, ssh: Some((sshd.key.clone(), known)), ..Way::default() };
    let (work, repository) = (&place.work, way.open(PASSWORD));
    repository.init(work).unwrap();
    let stage = large(&place);
    let error = through.open(PASSWORD).backup(work, &stage).unwrap_err();
    assert!(cut.is_gone());
    assert_eq!(error.class(), ErrorClass::Unreachable, "{error}");
    // What came through is no snapshot, and the lock that stays does not keep the next one out.
    assert_eq!(repository.snapshots(work, "matrix").unwrap(), []);
    assert_eq!(repository.stale_locks(work, Timestamp::now()).unwrap().len(), 1);
    let added = repository.backup(work, &stage).unwrap();
    repository.restore(work, &added.id, &place.path("back")).unwrap();
    repository.remove_stale_locks(work, Timestamp::now()).unwrap();
    repository.check(work, 100).unwrap();
}

#[test]
fn a_garage_that_is_away_for_a_moment() {
    let Some(place) = place() else { return };
    let Some(garage) = Garage::start(&place.path("garage"), 0x4d) else { return };
    let cut = Cut::before(garage.port, PASSES, 3);
    comes_back(&place, &over_s3(&garage, "http", garage.port), &over_s3(&garage, "http", cut.port()), &cut);
}

#[test]
fn a_rest_server_that_is_away_for_a_moment() {
    let Some(place) = place() else { return };
    let certificate = Certificate::new();
    let Some(rest) = Rest::start(&place.path("rest"), &place.path("data"), &certificate, false) else { return };
    let cut = Cut::before(rest.port, PASSES, 3);
    comes_back(&place, &over_rest(&certificate, rest.port), &over_rest(&certificate, cut.port()), &cut);
}
