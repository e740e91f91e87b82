//! Repositories as the inventory has them, opened by the real command through real restic:
//! one for all, or one for each deployment. What guests store is stored here by restic
//! itself, with the passwords that docs/backups.md says how to get.

use std::process::{Command, Stdio};

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{Machine, json_lines};

const NOWHERE: &str = "https://127.0.0.1:1";

/// `printf 'fedi repository 1 notes' | openssl dgst -sha256 -hmac kept`, and that of `wiki`.
const NOTES: &str = "36f0e709ad988138059607c20eec263c92659871554c547a479f57151be011a8";
const WIKI: &str = "c7398b5c771ceb20ed6c9f65eef0220b62e9727a833486b61edc8cc4ccbee108";

/// Restic, or a skip.
fn restic_is_there() -> bool {
    let there = Command::new("restic").arg("version").output().is_ok();
    if !there {
        let why = "no restic on this machine";
        eprintln!("skipped: {why}");
        if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(log);
            let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{why}\n").as_bytes()));
        }
    }
    there
}

/// Deployments `notes` and `wiki`; the repository `main` keeps one snapshot of each, its
/// password is `kept`, as two keys read it.
fn machine(more: &str) -> Machine {
    let machine = Machine::with_deployment(NOWHERE).filter("(?m)[0-9a-f]{8}  ", "[ID]      ");
    machine.write("inventory/hosts/here/deployments/wiki.toml", "app = \"notes\"\ndomain = \"wiki.example.org\"\n");
    let elsewhere = Machine::with_inventory().read("config/age.key");
    let second = elsewhere.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    let fedi = format!(
        "name = \"test\"\n[secrets]\nrecipients = [\"{second}\"]\n[backups.main]\nlocation = \"{}\"\n\
         keep = {{ last = 1, daily = 0, weekly = 0, monthly = 0 }}\n{more}",
        machine.path("repository").display()
    );
    machine.write("inventory/fedi.toml", &fedi);
    let said = machine.fedi_with_input("secret set backups main", "kept\n");
    assert!(said.starts_with("exit code: 0"), "{said}");
    machine
}

/// Runs restic on a repository.
fn restic(machine: &Machine, place: &str, password: &str, words: &[&str]) -> String {
    machine.write_private("password", password);
    let mut restic = Command::new("restic");
    restic.args(["--no-cache", "--repo"]).arg(machine.path(place)).arg("--password-file").arg(machine.path("password"));
    let output = restic.args(words).current_dir(machine.path("stage")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Stores so many snapshots of a deployment.
fn store(machine: &Machine, place: &str, password: &str, deployment: &str, count: usize) {
    let manifest = format!(
        r#"{{"schema":1,"fedi":"0.1.0","deployment":"{deployment}","app":"notes","appVersion":"1.0","epoch":1,
            "began":"2026-01-01T00:00:00Z","ended":"2026-01-01T00:00:01Z","consistency":"quiesced","items":{{}},"order":[]}}"#
    );
    machine.write("stage/snapshot.json", &manifest);
    if !machine.path(place).join("config").exists() {
        restic(machine, place, password, &["init"]);
    }
    for _ in 0..count {
        let tag = format!("deployment:{deployment}");
        restic(machine, place, password, &["backup", "--tag", &tag, "--tag", "version:1.0", "snapshot.json"]);
    }
}

fn listed(machine: &Machine, line: &str) -> Vec<(String, String)> {
    let report = json_lines(machine, line).remove(0);
    let word = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    report["snapshots"].as_array().unwrap().iter().map(|it| (word(it, "deployment"), word(it, "id"))).collect()
}

#[test]
fn one_for_each_deployment() {
    if !restic_is_there() {
        return;
    }
    let machine = machine("per-deployment = true\n");
    store(&machine, "repository/notes", NOTES, "notes", 2);
    store(&machine, "repository/wiki", WIKI, "wiki", 2);
    let all = listed(&machine, "backup list");
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["notes", "notes", "wiki", "wiki"]);
    let wiki = listed(&machine, "backup list wiki");
    assert_eq!(wiki, all[2..]);
    assert_snapshot!(machine.fedi(&format!("backup show notes {}", wiki[0].1)).replace(&wiki[0].1, "[ID]"), @"
    exit code: 2
    ----- stderr -----
    error: Repository `main` has no snapshot `[ID]` of `notes`

    hint: `fedi backup list notes` shows them
    ");
    let shown = json_lines(&machine, "backup show wiki").remove(0);
    assert_eq!(
        (&shown["manifest"]["deployment"], &shown["snapshot"]["id"]),
        (&"wiki".into(), &wiki[1].1.clone().into())
    );
    assert_snapshot!(machine.fedi("backup check"), @"
    exit code: 0
    ----- stdout -----
    Repository `main` of `notes` is whole
    Repository `main` of `wiki` is whole
    ");

    let pruned = json_lines(&machine, "backup prune --yes notes").remove(0);
    assert_eq!(pruned["forgotten"][0]["snapshots"], serde_json::json!([all[0].1]));
    assert_eq!(listed(&machine, "backup list"), all[1..]);

    // One whose password is another: the others are still reached.
    store(&machine, "repository/other", WIKI, "other", 1);
    machine.write("inventory/hosts/here/deployments/other.toml", "app = \"notes\"\ndomain = \"other.example.org\"\n");
    assert_snapshot!(machine.fedi("backup list other"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to list the snapshots in repository `main`
      Caused by: The password of the repository `[HOME]/repository/other/` is wrong

    hint: Was the repository made by another inventory? Set its password with `fedi secret set backups main`
    ");
    assert_eq!(listed(&machine, "backup list wiki"), wiki);
}

#[test]
fn one_for_all() {
    if !restic_is_there() {
        return;
    }
    let machine = machine("");
    store(&machine, "repository", "kept", "notes", 2);
    store(&machine, "repository", "kept", "wiki", 1);
    let all = listed(&machine, "backup list");
    assert_eq!(all.len(), 3);
    assert_eq!(listed(&machine, "backup list wiki"), all[2..]);
    assert_snapshot!(machine.fedi("backup check"), @"
    exit code: 0
    ----- stdout -----
    Repository `main` is whole
    ");
    assert_snapshot!(machine.fedi("backup prune --yes").replace(&all[0].1[..8], "[ID]"), @"
    exit code: 0
    ----- stdout -----
    Forgot 1 snapshot
    ----- stderr -----
    - snapshot [ID] of `notes`, taken [TIME]
    ");
    assert_eq!(listed(&machine, "backup list"), all[1..]);
}

/// What a crash left locked is told, and removed when asked to.
#[test]
fn what_a_crash_left_locked() {
    if !restic_is_there() {
        return;
    }
    let machine = machine("");
    store(&machine, "repository", "kept", "notes", 2);
    // A restic that is killed at work: the index that it wants to read is a pipe.
    let index = std::fs::read_dir(machine.path("repository/index")).unwrap().next().unwrap().unwrap().path();
    let aside = machine.path("index-file");
    std::fs::rename(&index, &aside).unwrap();
    assert!(Command::new("mkfifo").arg(&index).status().unwrap().success());
    let mut check = Command::new("restic");
    check.args(["--no-cache", "check", "--repo"]).arg(machine.path("repository"));
    check.arg("--password-file").arg(machine.path("password")).stdout(Stdio::null());
    let mut check = check.spawn().unwrap();
    let is_lock = |file: std::fs::DirEntry| file.file_name().len() == 64;
    while !std::fs::read_dir(machine.path("repository/locks")).unwrap().flatten().any(is_lock) {
        assert!(check.try_wait().unwrap().is_none(), "restic ended without a lock");
        std::thread::yield_now();
    }
    check.kill().unwrap();
    check.wait().unwrap();
    std::fs::rename(&aside, &index).unwrap();

    let machine =
        machine.filter(r"PID \d+ on .*", "PID [PID]").filter(r"behind by \S+ \(pid \d+\)", "behind by [HOLDER]");
    assert_snapshot!(machine.fedi("backup prune --yes").lines().skip(3).collect::<Vec<_>>().join("\n"), @"
    error: Failed to forget snapshots in repository `main`
      Caused by: The repository `[HOME]/repository` is locked: locked exclusively by PID [PID]

    hint: Wait for the other run; what a crash left locked is set free by `fedi backup check --unlock`
    ");
    assert_snapshot!(machine.fedi("backup check --unlock"), @"
    exit code: 0
    ----- stdout -----
    Repository `main` is whole
    ----- stderr -----
    Repository `main` has a lock left behind by [HOLDER], [TIME]
    ");
    assert_eq!(
        json_lines(&machine, "backup prune --yes").remove(0)["forgotten"][0]["snapshots"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn the_password_of_a_repository() {
    let machine = machine("");
    assert_snapshot!(machine.fedi_with_input("secret set backups main", "another\n"), @"
    exit code: 0
    ----- stdout -----
    The password of repository `main` has version 2 now
    ----- stderr -----
    Run `fedi backup list` to see whether it opens it
    ");
    assert_snapshot!(machine.fedi("secret show backups main"), @"
    exit code: 0
    ----- stdout -----
    another
    ");
    assert_snapshot!(machine.fedi_with_input("secret set backups mian", "kept\n"), @"
    exit code: 2
    ----- stderr -----
    error: No repository is called `mian`

    hint: Did you mean `main`?
    ");
    let fedi = machine.read("inventory/fedi.toml");
    let one: Vec<&str> = fedi.lines().filter(|line| !line.starts_with("recipients")).collect();
    machine.write("inventory/fedi.toml", &one.join("\n"));
    assert_snapshot!(machine.fedi_with_input("secret set backups main", "another\n"), @"
    exit code: 2
    ----- stderr -----
    error: The password of repository `main` would be for one key only
      Caused by: Who loses that key loses every backup

    hint: Add the public half of a second key, kept elsewhere, to `secrets.recipients` in fedi.toml
    ");
    assert_snapshot!(machine.fedi("secret rotate backups main --new-identity --yes"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `backups`

    hint: Known: `notes` and `wiki`
    ");
    assert_snapshot!(machine.fedi("secret show backups main"), @"
    exit code: 0
    ----- stdout -----
    another
    ");
}
