//! Tests of [`super`]. They give files away and so need to be root; otherwise
//! they use the user that runs them as the only owner.

use super::*;
use proptest::prelude::*;

struct Fixture {
    root: tempfile::TempDir,
    guest: Guest,
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    let guest = Guest::in_folder(root.path(), root.path());
    let fixture = Fixture { root, guest };
    fixture.add_user("me", rustix::process::geteuid().as_raw());
    fixture
}

impl Fixture {
    fn add_user(&self, name: &str, id: u32) {
        for (table, line) in
            [("passwd", format!("{name}:x:{id}:{id}::/:/bin/sh\n")), ("group", format!("{name}:x:{id}:\n"))]
        {
            let path = self.root.path().join("etc").join(table);
            let before = fs::read_to_string(&path).unwrap_or_default();
            fs::write(path, before + &line).unwrap();
        }
    }

    fn deliver(&self, secrets: &[Secret]) -> Result<SecretDelivered, GuestError> {
        deliver(&self.guest, &SecretsDeliver { app: app(), secrets: secrets.to_vec() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join("var/lib/fedi/secrets/matrix").join(name)
    }

    fn state(&self, secret: &str) -> SecretState {
        facts(&self.guest).unwrap()[&app()][&SecretName::new(secret).unwrap()].state
    }
}

fn app() -> AppName {
    AppName::new("matrix").unwrap()
}

fn secret(name: &str, version: u64, value: &str) -> Secret {
    Secret {
        name: SecretName::new(name).unwrap(),
        version,
        fingerprint: format!("hmac-sha256:{version}"),
        value: SecretValue::new(value),
        owner: "me".to_owned(),
        group: "me".to_owned(),
        mode: "0400".to_owned(),
    }
}

#[test]
fn delivers_changes_and_removes() {
    let fixture = fixture();
    let first = fixture.deliver(&[secret("key", 1, "one"), secret("password", 1, "p")]).unwrap();
    assert_eq!(first.written.len(), 2);
    assert_eq!(fs::read(fixture.file("key")).unwrap(), b"one");
    assert_eq!(fs::metadata(fixture.file("key")).unwrap().mode() & 0o7777, 0o400);

    let second = fixture.deliver(&[secret("key", 2, "two")]).unwrap();
    assert_eq!((second.written.len(), second.removed.as_slice()), (1, ["password".to_owned()].as_slice()));
    assert_eq!(fs::read(fixture.file("key")).unwrap(), b"two");
    assert!(!fixture.file("password").exists());

    let third = fixture.deliver(&[secret("key", 2, "two")]).unwrap();
    assert_eq!(third, SecretDelivered { unchanged: third.unchanged.clone(), ..SecretDelivered::default() });
    assert_eq!(facts(&fixture.guest).unwrap()[&app()].values().next().unwrap().version, 2);
}

#[test]
fn sees_and_mends_what_was_changed_by_hand() {
    let fixture = fixture();
    fixture.deliver(&[secret("key", 1, "one")]).unwrap();
    fs::remove_file(fixture.file("key")).unwrap();
    assert_eq!(fixture.state("key"), SecretState::Missing);
    std::os::unix::fs::symlink("/etc/hostname", fixture.file("key")).unwrap();
    assert_eq!(fixture.state("key"), SecretState::Changed);
    fixture.deliver(&[secret("key", 1, "one")]).unwrap();
    assert_eq!(fixture.state("key"), SecretState::Intact);
}

#[test]
fn waits_for_an_owner_that_comes_later() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: giving files to another user needs root");
        return;
    }
    let fixture = fixture();
    let late = Secret { owner: "synapse".to_owned(), group: "synapse".to_owned(), ..secret("key", 1, "one") };
    assert_eq!(fixture.deliver(std::slice::from_ref(&late)).unwrap().held.len(), 1);
    assert_eq!(fixture.state("key"), SecretState::Held);
    assert_eq!(settle(&fixture.guest, &app()).unwrap().held.len(), 1);

    fixture.add_user("synapse", 4242);
    assert_eq!(settle(&fixture.guest, &app()).unwrap().written.len(), 1);
    let found = fs::metadata(fixture.file("key")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (4242, 4242, 0o400));
    assert_eq!(fixture.state("key"), SecretState::Intact);
    let folder = fs::metadata(fixture.file("key").parent().unwrap()).unwrap();
    assert_eq!(folder.mode() & 0o7777, 0o711);
}

#[test]
fn refuses_loose_modes() {
    let fixture = fixture();
    for mode in ["0644", "0404", "4400", "0040", "rw", ""] {
        let loose = Secret { mode: mode.to_owned(), ..secret("key", 1, "one") };
        assert_eq!(fixture.deliver(&[loose]).unwrap_err().kind(), ErrorKind::Invalid, "{mode}");
    }
    let twice = [secret("key", 1, "a"), secret("key", 2, "b")];
    assert_eq!(fixture.deliver(&twice).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(!fixture.file("key").exists());
}

proptest! {
    #[test]
    fn no_value_in_facts_index_or_debug(value in "[a-zA-Z0-9]{12,40}") {
        let fixture = fixture();
        let secrets = [secret("key", 1, &value)];
        let answer = fixture.deliver(&secrets).unwrap();
        let index = fs::read_to_string(fixture.file(INDEX)).unwrap();
        let facts = serde_json::to_string(&facts(&fixture.guest).unwrap()).unwrap();
        for text in [index, facts, format!("{answer:?}"), format!("{secrets:?}")] {
            prop_assert!(!text.contains(&value));
        }
    }
}
