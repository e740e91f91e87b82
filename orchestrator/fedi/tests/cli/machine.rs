//! What programs and pipes get: JSON, quiet, colours, a closed stdout, completions, man
//! pages, schemas.

use std::process::Stdio;

use insta::assert_snapshot;

use crate::support::{Machine, json_lines};

const NOWHERE: &str = "https://127.0.0.1:1";

#[test]
fn every_command_speaks_json() {
    let machine = Machine::with_deployment(NOWHERE);
    for line in [
        "init",
        "host list",
        "host check",
        "doctor",
        "plan",
        "plan notes",
        "status",
        "deploy notes",
        "deploy nots",
        "destroy notes",
        "run list",
        "run show 1",
        "run resume",
        "run undo",
        "run abandon",
        "secret list",
        "secret show notes x",
        "secret rotate notes x",
        "image list here",
        "image push here",
        "image prune here",
        "schema host",
        "completions zsh",
        "man pages",
        "status --interval 0",
        "no-such-command",
    ] {
        assert_eq!(json_lines(&machine, line).len(), 1, "{line}");
    }
}

#[test]
fn an_error_for_programs() {
    let machine = Machine::with_deployment(NOWHERE);
    assert_snapshot!(machine.fedi("deploy notes --yes --json"), @r#"
    exit code: 1
    ----- stdout -----
    {"error":{"causes":["Proxmox could not be reached","Connection refused (os error 111)"],"exit":"failed","hint":"Is `https://127.0.0.1:[PORT]` up, and reachable from here?","message":"Failed to look for VM `notes` on host `here`"},"schema":1}
    ----- stderr -----
    error: Failed to look for VM `notes` on host `here`
      Caused by: Proxmox could not be reached
      Caused by: Connection refused (os error 111)

    hint: Is `https://127.0.0.1:[PORT]` up, and reachable from here?
    "#);
}

#[test]
fn quiet_says_results_and_errors() {
    let machine = Machine::with_inventory();
    assert_snapshot!(machine.fedi("plan"), @"
    exit code: 0
    ----- stdout -----
    The inventory has no deployments
    ----- stderr -----
    Make one with `fedi deploy --host <host> <name> --domain <domain>`
    ");
    assert_snapshot!(machine.fedi("plan -q"), @"
    exit code: 0
    ----- stdout -----
    The inventory has no deployments
    ");
    assert_snapshot!(machine.fedi("run resume -q"), @"
    exit code: 2
    ----- stderr -----
    error: Every run is finished

    hint: `fedi run list` shows them
    ");
    assert_snapshot!(machine.fedi("plan -q -v"), @"
    exit code: 2
    ----- stderr -----
    error: the argument '--quiet' cannot be used with '--verbose...'

    Usage: fedi plan --quiet [DEPLOYMENTS]...

    For more information, try '--help'.
    ");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let machine = Machine::with_deployment(NOWHERE);
    let escape = '\u{1b}';
    assert!(!machine.fedi("status").contains(escape), "not into a pipe");
    assert!(machine.fedi("status --color always").contains(escape));
    assert!(!machine.fedi("status --color never").contains(escape));
    assert!(machine.fedi("run resume --color always").contains("\u{1b}[1;31merror:"));
    assert!(!machine.fedi("status --json --color always").contains(escape), "never in JSON");
}

#[test]
fn a_closed_stdout_is_no_failure() {
    let machine = Machine::with_deployment(NOWHERE);
    for line in ["status", "host list", "schema host", "completions bash", "reference", "--help", "run list --json"] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let mut child = machine.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn schemas_are_json_schemas() {
    let machine = Machine::new();
    for file in ["fedi", "host", "deployment"] {
        let output = machine.command(&["schema", file]).output().unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(schema["$schema"].as_str().unwrap().starts_with("https://json-schema.org/"), "{file}");
    }
    assert_snapshot!(machine.fedi("schema hosts"), @"
    exit code: 2
    ----- stderr -----
    error: invalid value 'hosts' for '<FILE>'
      [possible values: fedi, host, deployment]

      tip: a similar value exists: 'host'

    For more information, try '--help'.
    ");
}

#[test]
fn shells_accept_their_completions() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = machine.command(&["completions", shell]).output().unwrap().stdout;
        machine.write("completions", std::str::from_utf8(&script).unwrap());
        assert!(script.len() > 1000, "{shell}");
        match std::process::Command::new(shell).arg("-n").arg(machine.path("completions")).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => eprintln!("skipped: {shell} is not installed; its script is not parsed"),
        }
    }
}

#[test]
fn man_pages() {
    let machine = Machine::new();
    assert_snapshot!(machine.fedi("man man/pages"), @"
    exit code: 0
    ----- stderr -----
    Wrote the man pages into `man/pages`
    ");
    let mut pages: Vec<String> = std::fs::read_dir(machine.path("inventory/man/pages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert_snapshot!(pages.join("\n"), @"
    fedi-backup-check.1
    fedi-backup-create.1
    fedi-backup-drill.1
    fedi-backup-list.1
    fedi-backup-prune.1
    fedi-backup-restore.1
    fedi-backup-show.1
    fedi-backup.1
    fedi-clone.1
    fedi-completions.1
    fedi-deploy.1
    fedi-destroy.1
    fedi-doctor.1
    fedi-host-add.1
    fedi-host-check.1
    fedi-host-list.1
    fedi-host.1
    fedi-image-list.1
    fedi-image-prune.1
    fedi-image-push.1
    fedi-image.1
    fedi-init.1
    fedi-man.1
    fedi-plan.1
    fedi-run-abandon.1
    fedi-run-list.1
    fedi-run-resume.1
    fedi-run-show.1
    fedi-run-undo.1
    fedi-run.1
    fedi-sandbox-down.1
    fedi-sandbox-run.1
    fedi-sandbox-status.1
    fedi-sandbox-up.1
    fedi-sandbox.1
    fedi-schema.1
    fedi-secret-list.1
    fedi-secret-rotate.1
    fedi-secret-set.1
    fedi-secret-show.1
    fedi-secret.1
    fedi-status.1
    fedi.1
    ");
    assert_snapshot!(machine.fedi("man /proc/nowhere"), @"
    exit code: 1
    ----- stderr -----
    error: Failed to write man pages into `/proc/nowhere`
      Caused by: No such file or directory (os error 2)
    ");
}

#[test]
fn version() {
    let machine = Machine::new();
    let output = machine.command(&["--version"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("fedi {}\n", env!("CARGO_PKG_VERSION")));
}
