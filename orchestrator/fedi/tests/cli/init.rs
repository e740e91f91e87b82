//! `fedi init`.

use insta::assert_snapshot;

use crate::support::Machine;

#[test]
fn makes_an_inventory_and_keys_once() {
    let machine = Machine::new();
    assert_snapshot!(machine.fedi("init"), @"
    exit code: 0
    ----- stdout -----
    made  .schema/fedi.json
    made  .schema/host.json
    made  .schema/deployment.json
    made  fedi.toml
    made  hosts/.gitkeep
    made  .gitignore
    made  flake.nix
    made  [CONFIG]/age.key
    made  [CONFIG]/ssh_ed25519
    ----- stderr -----

    Keep a copy of the age key somewhere else: without it, no secret can be read again

    Next: describe a host with `fedi host add` (`fedi host add --help` has an example)
    ");
    let key = machine.read("config/age.key");
    assert_snapshot!(machine.fedi("init"), @"
    exit code: 0
    ----- stdout -----
    kept  .schema/fedi.json
    kept  .schema/host.json
    kept  .schema/deployment.json
    kept  fedi.toml
    kept  hosts/.gitkeep
    kept  .gitignore
    kept  flake.nix
    kept  [CONFIG]/age.key
    kept  [CONFIG]/ssh_ed25519
    ----- stderr -----

    Next: describe a host with `fedi host add` (`fedi host add --help` has an example)
    ");
    assert_eq!(machine.read("config/age.key"), key);
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 0
    ----- stdout -----
    The inventory has no deployments
    ----- stderr -----
    Make one with `fedi deploy --host <host> <name> --domain <domain>`
    ");
}

#[test]
fn makes_the_folder_and_says_where_to_go() {
    let machine = Machine::new();
    assert_snapshot!(machine.fedi("init servers --name our-servers --email me@example.org -q"), @"
    exit code: 0
    ----- stdout -----
    made  .schema/fedi.json
    made  .schema/host.json
    made  .schema/deployment.json
    made  fedi.toml
    made  hosts/.gitkeep
    made  .gitignore
    made  flake.nix
    made  [CONFIG]/age.key
    made  [CONFIG]/ssh_ed25519
    ");
    assert_snapshot!(machine.fedi("init more"), @"
    exit code: 0
    ----- stdout -----
    made  .schema/fedi.json
    made  .schema/host.json
    made  .schema/deployment.json
    made  fedi.toml
    made  hosts/.gitkeep
    made  .gitignore
    made  flake.nix
    kept  [CONFIG]/age.key
    kept  [CONFIG]/ssh_ed25519
    ----- stderr -----

    Next: `cd more`, then describe a host with `fedi host add` (`fedi host add --help` has an example)
    ");
    let file = machine.read("inventory/servers/fedi.toml");
    assert!(file.contains("name = \"our-servers\""), "{file}");
    assert!(file.contains("email = \"me@example.org\""), "{file}");
}

#[test]
fn refuses_a_name_that_no_folder_can_have() {
    let machine = Machine::new();
    assert_snapshot!(machine.fedi("init --name Our_Servers"), @"
    exit code: 2
    ----- stderr -----
    error: `Our_Servers` cannot name an inventory

    hint: Give one: lower-case letters, digits and `-`, beginning with a letter, at most 40
    ");
}
