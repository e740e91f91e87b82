//! Names that are not there, and names that cannot be taken.

use insta::assert_snapshot;

use crate::support::{Machine, TOKEN};

const NOWHERE: &str = "https://127.0.0.1:1";

#[test]
fn an_unknown_deployment() {
    let machine = Machine::with_deployment(NOWHERE);
    assert_snapshot!(machine.fedi("plan note"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `note`

    hint: Did you mean `notes`?
    ");
    assert_snapshot!(machine.fedi("status wiki"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `wiki`

    hint: Known: `notes`
    ");
    assert_snapshot!(machine.fedi("destroy ntoes"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `ntoes`

    hint: Did you mean `notes`?
    ");
    assert_snapshot!(machine.fedi("deploy ntoes"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `ntoes`

    hint: Did you mean `notes`?
          A new one is made by `fedi deploy --host <host> ntoes --domain <domain>`
    ");
    assert_snapshot!(machine.fedi("deploy wiki --host here"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `wiki`

    hint: A new one is made by `fedi deploy --host here wiki --domain <domain>`
    ");
}

#[test]
fn an_unknown_host() {
    let machine = Machine::with_host(NOWHERE);
    assert_snapshot!(machine.fedi("doctor hear"), @"
    exit code: 2
    ----- stderr -----
    error: No host is called `hear`

    hint: Did you mean `here`?
    ");
    assert_snapshot!(machine.fedi("deploy wiki --host elsewhere --domain wiki.example.org"), @"
    exit code: 2
    ----- stderr -----
    error: No host is called `elsewhere`

    hint: Known: `here`
    ");
    assert_snapshot!(Machine::with_inventory().fedi("image list pve1"), @"
    exit code: 2
    ----- stderr -----
    error: No host is called `pve1`

    hint: Run `fedi host add pve1` to describe one
    ");
}

#[test]
fn an_unknown_command_or_option() {
    let machine = Machine::new();
    assert_snapshot!(machine.fedi("delpoy"), @"
    exit code: 2
    ----- stderr -----
    error: unrecognized subcommand 'delpoy'

      tip: some similar subcommands exist: 'destroy', 'help', 'deploy'

    Usage: fedi [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(machine.fedi("plan --chek"), @"
    exit code: 2
    ----- stderr -----
    error: unexpected argument '--chek' found

      tip: a similar argument exists: '--check'

    Usage: fedi plan --check [DEPLOYMENTS]...

    For more information, try '--help'.
    ");
    assert_snapshot!(machine.fedi("plan --chek --json"), @r#"
    exit code: 2
    ----- stdout -----
    {"error":{"causes":[],"exit":"refused","message":"unexpected argument '--chek' found"},"schema":1}
    ----- stderr -----
    error: unexpected argument '--chek' found

      tip: a similar argument exists: '--check'

    Usage: fedi plan --check [DEPLOYMENTS]...

    For more information, try '--help'.
    "#);
}

#[test]
fn a_new_deployment_that_cannot_be() {
    let machine = Machine::with_deployment(NOWHERE);
    let file = machine.path("inventory/hosts/here/deployments/wiki.toml");
    for (line, wanted) in [
        ("deploy wiki --host here --domain wiki.example.net --app notes", "lies in no zone"),
        ("deploy wiki --host here --domain notes.example.org --app notes", "belongs to"),
        ("deploy wiki --host here --domain wiki", "at least two labels"),
        ("deploy Wiki --host here --domain wiki.example.org", "lower-case"),
    ] {
        let told = machine.fedi(line);
        assert!(told.contains(wanted), "{line}: {told}");
        assert!(told.starts_with("exit code: 2"), "{line}: {told}");
        assert!(!file.exists(), "{line}: the file stayed");
    }
    assert_snapshot!(machine.fedi("deploy wiki --host here --domain wiki.example.net --app notes"), @"
    exit code: 2
    ----- stderr -----
    error: Cannot deploy `wiki` on host `here`
      Caused by: `wiki.example.net` lies in no zone of host `here`

    hint: `here` has `example.org`; take a name in one, or add a zone to its `host.toml`
    ");
    assert_snapshot!(machine.fedi("deploy wiki --host here --domain notes.example.org --app notes"), @"
    exit code: 2
    ----- stderr -----
    error: Cannot deploy `wiki` on host `here`
      Caused by: The domain `notes.example.org` belongs to deployment `notes` too

    hint: Give one of them another domain, or remove its file
    ");
    assert_snapshot!(machine.fedi("deploy wiki --host here --domain wiki"), @"
    exit code: 2
    ----- stderr -----
    error: `wiki` is no valid domain: it needs at least two labels, as in `social.example.org`
    ");
    assert_snapshot!(machine.fedi("deploy Wiki --host here --domain wiki.example.org"), @"
    exit code: 2
    ----- stderr -----
    error: `Wiki` is no valid deployment name: only lower-case letters, digits and `-` are allowed
    ");
    assert_snapshot!(machine.fedi("deploy wiki --host here --domain wiki.example.org"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to prepare the system of `wiki`
      Caused by: `[INVENTORY]/systems/wiki` holds no system

    hint: Is `app` right, and `system.folder` in host.toml?
    ");
    assert!(!file.exists());
}

#[test]
fn flags_that_say_something_else_than_the_file() {
    let machine = Machine::with_deployment(NOWHERE);
    assert_snapshot!(machine.fedi("deploy notes --host there"), @"
    exit code: 2
    ----- stderr -----
    error: `notes` has the host `here`, not `there`

    hint: A deployment is not moved by deploying it; a second one needs a name of its own
    ");
    assert_snapshot!(machine.fedi("deploy notes --domain other.example.org"), @"
    exit code: 2
    ----- stderr -----
    error: `notes` has the domain `notes.example.org`, not `other.example.org`

    hint: Change `domain` in `hosts/here/deployments/notes.toml`
    ");
    assert_snapshot!(machine.fedi("deploy notes --app wiki"), @"
    exit code: 2
    ----- stderr -----
    error: `notes` has the application `notes`, not `wiki`

    hint: Change `app` in `hosts/here/deployments/notes.toml`
    ");
}

#[test]
fn nothing_is_left_of_what_was_never_deployed() {
    let machine = Machine::with_deployment(NOWHERE);
    assert_snapshot!(machine.fedi("destroy notes"), @"
    exit code: 0
    ----- stdout -----
    Nothing of `notes` is left
    ");
}

/// Nix sees only the files of a repository that git knows.
#[test]
fn a_new_file_in_a_flake_is_known_to_git_while_it_is_there() {
    let machine = Machine::with_inventory();
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .args(arguments)
            .current_dir(machine.path("inventory"))
            .env("HOME", machine.path("home"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "--quiet"]);
    machine.fedi(
        "host add pve1 --endpoint https://127.0.0.1:1 --node pve1 --image guest.qcow2 --resolver 192.0.2.1 \
         --zone example.org --addresses 192.0.2.0/24,192.0.2.1,192.0.2.100,192.0.2.199 \
         --fingerprint 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF",
    );
    machine.write_private("config/credentials/pve1/proxmox-token", TOKEN);
    // A `nix` that says what git knows when it is asked to evaluate, and fails.
    machine.write(
        "bin/nix",
        "#!/bin/sh\ntest \"$1\" = --version && echo 'nix (Nix) 2.30.0' && exit\ngit ls-files >&2\nexit 1\n",
    );
    machine.chmod("bin/nix", 0o755);
    let path = format!("{}:{}", machine.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = machine.command(&["deploy", "wiki", "--host", "pve1", "--domain", "wiki.example.org"]);
    let told = machine.tell(&command.env("PATH", path).output().unwrap());
    assert!(told.contains("hosts/pve1/deployments/wiki.toml"), "{told}");
    assert_eq!(git(&["ls-files"]), "");
    assert!(!machine.path("inventory/hosts/pve1/deployments/wiki.toml").exists());
}
