//! Copies: what is refused before anything is touched, and that a refused copy leaves no
//! file. That a copy is made is in `tests/state/run`.

use insta::assert_snapshot;

use crate::support::Machine;

const NOWHERE: &str = "https://127.0.0.1:1";

/// A machine with `notes`, whose application can be copied.
fn machine() -> Machine {
    let machine = Machine::with_deployment(NOWHERE);
    let path = "inventory/systems/notes/manifest.json.tera";
    let mut manifest: serde_json::Value = serde_json::from_str(&machine.read(path)).unwrap();
    manifest["apps"]["notes"]["fence"] =
        serde_json::json!({ "set": { "federation.enable": false }, "unset": ["smtp"] });
    machine.write(path, &serde_json::to_string_pretty(&manifest).unwrap());
    machine
}

fn has_file(machine: &Machine) -> bool {
    machine.path("inventory/hosts/here/deployments/copy.toml").exists()
}

#[test]
fn an_application_that_cannot_be_copied() {
    let machine = Machine::with_deployment(NOWHERE);
    assert_snapshot!(machine.fedi("clone notes copy --domain copy.example.org --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Cannot clone to `copy`
      Caused by: The state of notes says everywhere that it is `notes`'s, and notes knows no settings that would fence a copy in (`fence` of its manifest); a copy would federate as `notes`

    hint: Deploy a new notes under the other domain; people move with its own means
    ");
    assert!(!has_file(&machine));
}

#[test]
fn names_that_are_the_first_s() {
    let machine = machine();
    assert_snapshot!(machine.fedi("clone notes notes --domain copy.example.org --yes"), @"
    exit code: 2
    ----- stderr -----
    error: `notes` cannot be a copy of itself

    hint: A clone needs a name of its own
    ");
    assert_snapshot!(machine.fedi("clone notes copy --domain notes.example.org --yes"), @"
    exit code: 2
    ----- stderr -----
    error: `notes` has the domain `notes.example.org`

    hint: A clone needs a domain of its own
    ");
    assert_snapshot!(machine.fedi("clone notes copy --yes"), @"
    exit code: 2
    ----- stderr -----
    error: No deployment is called `copy`

    hint: A new copy is made by `fedi clone notes copy --domain <domain>`
    ");
    assert!(!has_file(&machine));
}

#[test]
fn a_copy_that_comes_to_nothing_leaves_no_file() {
    let machine = machine();
    machine.write("inventory/hosts/here/deployments/notes.nix", "{ }\n");
    assert_snapshot!(machine.fedi("clone notes copy --domain copy.example.org --yes"), @"
    exit code: 2
    ----- stderr -----
    hosts/here/deployments/notes.nix is not taken over: what it adds may reach people. Write one for `copy` if it cannot do without
    error: There is no repository for backups of `notes`

    hint: Add `[backups.main]` to fedi.toml; docs/backups.md shows how
    ");
    assert!(!has_file(&machine));
}

#[test]
fn a_file_that_is_there_is_used_as_it_stands() {
    let machine = machine();
    let text = "app = \"notes\"\ndomain = \"copy.example.org\"\n";
    machine.write("inventory/hosts/here/deployments/copy.toml", text);
    assert_snapshot!(machine.fedi("clone notes copy --domain other.example.org --yes"), @"
    exit code: 2
    ----- stderr -----
    error: `copy` has the domain `copy.example.org`, not `other.example.org`

    hint: `hosts/here/deployments/copy.toml` says so; take another name, or change it
    ");
    assert_snapshot!(machine.fedi("clone notes copy --yes"), @"
    exit code: 2
    ----- stderr -----
    error: There is no repository for backups of `notes`

    hint: Add `[backups.main]` to fedi.toml; docs/backups.md shows how
    ");
    assert_eq!(machine.read("inventory/hosts/here/deployments/copy.toml"), text);
}
