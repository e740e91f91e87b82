//! `fedi secret`.

use insta::assert_snapshot;

use crate::support::{Machine, json_lines};

const NOWHERE: &str = "https://127.0.0.1:1";

#[test]
fn none_yet() {
    let machine = Machine::with_deployment(NOWHERE);
    assert_snapshot!(machine.fedi("secret list"), @"
    exit code: 0
    ----- stdout -----
    No secrets are stored yet; a deployment's first deploy makes them
    ");
    assert_snapshot!(machine.fedi("secret list notes"), @"
    exit code: 0
    ----- stdout -----
    `notes` has no secrets yet; its first deploy makes them
    ");
    assert_snapshot!(machine.fedi("secret list nots"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `nots`

    hint: Did you mean `notes`?
    ");
    assert_snapshot!(machine.fedi("secret show notes signing-key"), @"
    exit code: 2
    ----- stderr -----
    error: `notes` has no secret called `signing-key`

    hint: See `fedi secret list notes`
    ");
}

#[test]
fn set_show_and_list() {
    let machine = Machine::with_deployment(NOWHERE);
    assert_snapshot!(machine.fedi_with_input("secret set notes mail-password", "correct horse\n"), @"
    exit code: 0
    ----- stdout -----
    `mail-password` has version 1 now
    ----- stderr -----
    Run `fedi deploy notes` to bring it to the guest
    ");
    assert_snapshot!(machine.fedi("secret show notes mail-password"), @"
    exit code: 0
    ----- stdout -----
    correct horse
    ");
    assert_snapshot!(machine.fedi("secret list"), @"
    exit code: 0
    ----- stdout -----
    deployment  secret         class     version  stored
    notes       mail-password  provider  1        [TIME]
    ");
    assert_snapshot!(machine.fedi("secret show notes mail-pasword"), @"
    exit code: 2
    ----- stderr -----
    error: `notes` has no secret called `mail-pasword`

    hint: Did you mean `mail-password`?
    ");
    assert_snapshot!(machine.fedi_with_input("secret set notes mail-password", ""), @"
    exit code: 2
    ----- stderr -----
    error: The value is empty; nothing was stored
    ");
    assert_snapshot!(machine.fedi_with_input("secret set notes relay-password", "x"), @"
    exit code: 2
    ----- stderr -----
    error: `notes` has no secret called `relay-password`

    hint: Known: `cookie-key`, `mail-password` and `signing-key`
    ");
    assert_snapshot!(machine.fedi_with_input("secret set notes mail-password --json", "battery staple"), @r#"
    exit code: 0
    ----- stdout -----
    {"deployment":"notes","name":"mail-password","schema":1,"version":2}
    "#);
    assert_eq!(json_lines(&machine, "secret show notes mail-password")[0]["value"], "battery staple");
    assert_eq!(json_lines(&machine, "secret list notes")[0]["secrets"][0]["version"], 2);
}

#[test]
fn its_value_is_in_no_file_but_encrypted() {
    let machine = Machine::with_deployment(NOWHERE);
    machine.fedi_with_input("secret set notes mail-password -vv", "correct horse");
    let output =
        std::process::Command::new("grep").args(["-r", "correct horse"]).arg(machine.path("")).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn rotate() {
    let machine = Machine::with_deployment(NOWHERE);
    machine.fedi_with_input("secret set notes mail-password", "x");
    machine.fedi_with_input("secret set notes signing-key", "y");
    machine.fedi_with_input("secret set notes cookie-key", "z");
    assert_snapshot!(machine.fedi("secret rotate notes mail-password --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Only you can make a new value of `mail-password`: the mail relay's password

    hint: Set it with `fedi secret set notes mail-password`
    ");
    assert_snapshot!(machine.fedi("secret rotate notes signing-key --yes"), @"
    exit code: 2
    ----- stderr -----
    error: `signing-key` belongs to the identity of `notes`
      Caused by: With another value it is another server to its peers, or cannot read its own data

    hint: Add `--new-identity` if that is what you want
    ");
    assert_snapshot!(machine.fedi("secret rotate notes cookie-key"), @"
    exit code: 2
    ----- stderr -----
    error: There is nobody to ask for a confirmation

    hint: Add `--yes`
    ");
    assert_snapshot!(machine.fedi("secret rotate notes cookie-key --yes"), @"
    exit code: 0
    ----- stdout -----
    `cookie-key` has version 2 now
    ----- stderr -----
    Run `fedi deploy notes` to bring it to the guest
    ");
    assert_snapshot!(machine.fedi("secret rotate notes signing-key --yes --new-identity"), @"
    exit code: 0
    ----- stdout -----
    `signing-key` has version 2 now
    ----- stderr -----
    Run `fedi deploy notes` to bring it to the guest
    ");
    assert_snapshot!(machine.fedi("secret list notes"), @"
    exit code: 0
    ----- stdout -----
    deployment  secret         class     version  stored
    notes       cookie-key     session   2        [TIME]
    notes       mail-password  provider  1        [TIME]
    notes       signing-key    identity  2        [TIME]
    ");
    let value = json_lines(&machine, "secret show notes cookie-key")[0]["value"].as_str().unwrap().to_owned();
    assert_eq!(value.len(), 64, "32 bytes in hex: {value}");
}
