//! What a process that is killed in the middle of restic's work leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use fedi_state::Work;
use fedi_state::repository::{Password, Repository, S3Keys, SshLogin};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::Place;

/// Where the process that is to be killed works.
const PLACE: &str = "FEDI_TEST_KILLED_IN";
const SECRETS: [&str; 5] = ["the password", "the secret half", "the private key", "the known hosts", "the authority"];

/// Everything that restic can be given, at once.
fn repository() -> Repository {
    let [password, secret, key, known_hosts, ca] = SECRETS.map(str::to_owned);
    Repository {
        location: "sftp:user@host:/the-location".to_owned(),
        password: Password::Value(password.into()),
        s3: Some(S3Keys { id: "id".to_owned(), secret: secret.into(), region: "garage".to_owned() }),
        ca: Some(ca),
        ssh: Some(SshLogin { key: key.into_bytes().into(), known_hosts }),
        cache: None,
    }
}

/// Stands in restic's place: copies what it is given to read, and does not end by itself.
fn restic(place: &Place) -> PathBuf {
    let tools = place.path("tools");
    fs::create_dir(&tools).unwrap();
    let given = place.path("given");
    let script = format!(
        "#!/bin/sh\nfor word in $* $AWS_SHARED_CREDENTIALS_FILE; do\n\
         case \"${{word#*=}}\" in /proc/*|/tmp/*|{home}/*) echo \"${{word#*=}}\"; cat \"${{word#*=}}\"; echo;; esac\n\
         done >{given}.new\necho $$ >{given}.pid\nmv {given}.new {given}\nexec sleep 1000\n",
        given = given.display(),
        home = place.path("home").display(),
    );
    fedi_test::program(&tools.join("restic"), &script);
    tools
}

/// This test's process once more, at work with the stand-in.
fn at_work(place: &Place) -> Child {
    let (tools, home) = (restic(place), place.path("home"));
    fs::create_dir(&home).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "left::a_killed_process_leaves_no_secret_behind", "--nocapture"]);
    for name in ["TMPDIR", "HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
        command.env(name, &home);
    }
    command.env(PLACE, tools).spawn().unwrap()
}

/// The content of what restic was given, by path.
fn given(text: &str) -> BTreeMap<&str, String> {
    let mut files = BTreeMap::<&str, String>::new();
    let mut path = "";
    for line in text.lines() {
        if line.starts_with('/') {
            path = line;
        } else {
            files.entry(path).or_default().push_str(line);
        }
    }
    files
}

#[test]
fn a_killed_process_leaves_no_secret_behind() {
    if let Some(tools) = std::env::var_os(PLACE) {
        let mut work = Work::default();
        work.tools.folders.insert(0, tools.into());
        let _ = repository().is_there(&work);
        return;
    }
    let place = Place::new();
    let mut process = at_work(&place);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !place.path("given").exists() {
        assert!(std::time::Instant::now() < end && process.try_wait().unwrap().is_none(), "it did not get to restic");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let pid = fs::read_to_string(place.path("given.pid")).unwrap();
    kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();

    let text = fs::read_to_string(place.path("given")).unwrap();
    for secret in SECRETS {
        assert!(text.contains(secret), "restic did not get {secret}: {text}");
    }
    for (path, content) in given(&text) {
        assert!(fs::read_to_string(path).is_err(), "{path} is left, with {content:?}");
    }
    let left = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert_eq!(left(&place.path("home")), Vec::<PathBuf>::new());
}
