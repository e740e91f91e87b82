//! Inventories that cannot be used: each mistake with its place and what to do.

use insta::assert_snapshot;

use crate::support::{Machine, TlsServer};

const NOWHERE: &str = "https://127.0.0.1:1";

#[test]
fn no_inventory() {
    let machine = Machine::new();
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 2
    ----- stderr -----
    error: No `fedi.toml` in `[INVENTORY]` or any folder above it

    hint: Run `fedi init` to make an inventory here, or change to the folder that holds one
    ");
    assert_snapshot!(machine.fedi("status -C nowhere"), @"
    exit code: 2
    ----- stderr -----
    error: No `fedi.toml` in `[INVENTORY]/nowhere` or any folder above it

    hint: Run `fedi init` to make an inventory here, or change to the folder that holds one
    ");
}

#[test]
fn a_folder_below_is_as_good() {
    let machine = Machine::with_inventory();
    assert_snapshot!(machine.fedi("host list -C hosts"), @"
    exit code: 0
    ----- stdout -----
    The inventory has no hosts; describe one with `fedi host add`
    ");
}

#[test]
fn all_mistakes_at_once() {
    let machine = Machine::with_deployment(NOWHERE);
    let host = machine.read("inventory/hosts/here/host.toml");
    let host = host.replace("endpoint", "endpiont").replace("\"192.0.2.12\"", "\"192.0.3.12\"");
    machine.write("inventory/hosts/here/host.toml", &host);
    machine.write("inventory/hosts/here/deployments/blog.toml", "app = \"notes\"\ndomain = \"notes.example.org\"\n");
    machine.write("inventory/hosts/here/deployments/wiki.toml", "app = \"notes\"\ndomian = \"wiki.example.org\"\n");
    machine.write("inventory/hosts/here/deployments/shop.toml", "app = \n");
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 2
    ----- stderr -----
    error: The inventory has 5 problems
      hosts/here/deployments/notes.toml:2:1: The domain `notes.example.org` belongs to deployment `blog` too
        hint: Give one of them another domain, or remove its file
      hosts/here/deployments/shop.toml:1:7: This is no TOML: string values must be quoted, expected literal string
      hosts/here/deployments/wiki.toml:2:1: Unknown key `domian`
        hint: Did you mean `domain`?
      hosts/here/host.toml:5:1: Unknown key `hypervisor.endpiont`
        hint: Did you mean `endpoint`?
      hosts/here/host.toml:25:1: The last address `192.0.3.12` is outside `192.0.2.0/24`
    ");
    assert_snapshot!(machine.fedi("status --json"), @r#"
    exit code: 2
    ----- stdout -----
    {"error":{"causes":[],"exit":"refused","message":"The inventory has 5 problems","problems":[{"column":1,"file":"hosts/here/deployments/notes.toml","hint":"Give one of them another domain, or remove its file","key":"domain","line":2,"message":"The domain `notes.example.org` belongs to deployment `blog` too"},{"column":7,"file":"hosts/here/deployments/shop.toml","line":1,"message":"This is no TOML: string values must be quoted, expected literal string"},{"column":1,"file":"hosts/here/deployments/wiki.toml","hint":"Did you mean `domain`?","key":"domian","line":2,"message":"Unknown key `domian`"},{"column":1,"file":"hosts/here/host.toml","hint":"Did you mean `endpoint`?","key":"hypervisor.endpiont","line":5,"message":"Unknown key `hypervisor.endpiont`"},{"column":1,"file":"hosts/here/host.toml","key":"addresses[0].last","line":25,"message":"The last address `192.0.3.12` is outside `192.0.2.0/24`"}]},"schema":1}
    ----- stderr -----
    error: The inventory has 5 problems
      hosts/here/deployments/notes.toml:2:1: The domain `notes.example.org` belongs to deployment `blog` too
        hint: Give one of them another domain, or remove its file
      hosts/here/deployments/shop.toml:1:7: This is no TOML: string values must be quoted, expected literal string
      hosts/here/deployments/wiki.toml:2:1: Unknown key `domian`
        hint: Did you mean `domain`?
      hosts/here/host.toml:5:1: Unknown key `hypervisor.endpiont`
        hint: Did you mean `endpoint`?
      hosts/here/host.toml:25:1: The last address `192.0.3.12` is outside `192.0.2.0/24`
    "#);
}

#[test]
fn a_token_file_that_is_not_there() {
    let machine = Machine::with_deployment(NOWHERE);
    std::fs::remove_file(machine.path("config/credentials/here/proxmox-token")).unwrap();
    assert_snapshot!(machine.fedi("host check"), @"
    exit code: 2
    ----- stdout -----
    here: cannot be used
      error: Failed to read the credential file `[CONFIG]/credentials/here/proxmox-token`
        Caused by: No such file or directory (os error 2)
      hint: Write the credential to `[CONFIG]/credentials/here/proxmox-token` and run `chmod 600 [CONFIG]/credentials/here/proxmox-token`
    ");
    assert_snapshot!(machine.fedi("deploy notes --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to read the credential file `[CONFIG]/credentials/here/proxmox-token`
      Caused by: No such file or directory (os error 2)

    hint: Write the credential to `[CONFIG]/credentials/here/proxmox-token` and run `chmod 600 [CONFIG]/credentials/here/proxmox-token`
    ");
}

#[test]
fn a_token_file_that_others_can_read() {
    let machine = Machine::with_host(NOWHERE);
    machine.chmod("config/credentials/here/proxmox-token", 0o644);
    assert_snapshot!(machine.fedi("host check"), @"
    exit code: 2
    ----- stdout -----
    here: cannot be used
      error: The credential file `[CONFIG]/credentials/here/proxmox-token` can be read by others (mode 0644)
      hint: Run `chmod 600 [CONFIG]/credentials/here/proxmox-token`
    ");
}

#[test]
fn a_token_that_is_none() {
    let machine = Machine::with_host(NOWHERE);
    machine.write_private("config/credentials/here/proxmox-token", "secret-but-not-a-token");
    let told = machine.fedi("host check");
    assert!(!told.contains("secret-but"), "{told}");
    assert_snapshot!(told, @"
    exit code: 2
    ----- stdout -----
    here: cannot be used
      error: Host `here` cannot be used
        Caused by: not an API token of the form `user@realm!name=secret`
      hint: A token reads `user@realm!name=secret`, as Proxmox shows it once
    ");
}

#[test]
fn nobody_answers() {
    let machine = Machine::with_deployment(NOWHERE);
    assert_snapshot!(machine.fedi("host check"), @"
    exit code: 1
    ----- stdout -----
    here: cannot be used
      error: Failed to examine host `here`
        Caused by: Proxmox could not be reached
        Caused by: Connection refused (os error 111)
      hint: Is `https://127.0.0.1:[PORT]` up, and reachable from here?
    ");
    assert_snapshot!(machine.fedi("doctor here"), @"
    exit code: 2
    ----- stdout -----
    this machine
      ok       Secrets can be read with the age key `[CONFIG]/age.key`
      ok       Guests are logged in to with the SSH key `[CONFIG]/ssh_ed25519`
      ok       The journal can be written
      ok       `ssh` is `[PROGRAM]`

    here
      ok       New guests start from `[INVENTORY]/guest.qcow2`
      ok       Systems are in `[INVENTORY]/systems`
      ok       `rsync` is `[PROGRAM]`
      problem  Failed to examine host `here`
                 Caused by: Proxmox could not be reached
                 Caused by: Connection refused (os error 111)
                 hint: Is `https://127.0.0.1:[PORT]` up, and reachable from here?
    ");
    assert_snapshot!(machine.fedi("image list here"), @"
    exit code: 1
    ----- stderr -----
    error: Failed to list the images on `here`
      Caused by: Proxmox could not be reached
      Caused by: Connection refused (os error 111)

    hint: Is `https://127.0.0.1:[PORT]` up, and reachable from here?
    ");
}

#[test]
fn another_certificate_than_the_pinned_one() {
    let server = TlsServer::start();
    let machine = Machine::with_deployment(&server.endpoint).filter(&server.fingerprint, "[FINGERPRINT]");
    assert_snapshot!(machine.fedi("host check"), @"
    exit code: 2
    ----- stdout -----
    here: cannot be used
      error: Failed to examine host `here`
        Caused by: The server is not the expected one
        Caused by: the server's certificate has the fingerprint `[FINGERPRINT]`
      hint: It shows [FINGERPRINT]; compare with `pvenode cert info` on the host before you put it into host.toml
    ");
    assert_snapshot!(machine.fedi("deploy notes --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to look for VM `notes` on host `here`
      Caused by: The server is not the expected one
      Caused by: the server's certificate has the fingerprint `[FINGERPRINT]`

    hint: It shows [FINGERPRINT]; compare with `pvenode cert info` on the host before you put it into host.toml
    ");
}

#[test]
fn an_age_key_that_cannot_be_used() {
    let machine = Machine::with_deployment(NOWHERE);
    machine.chmod("config/age.key", 0o640);
    assert_snapshot!(machine.fedi("doctor"), @"
    exit code: 2
    ----- stdout -----
    this machine
      ok       Guests are logged in to with the SSH key `[CONFIG]/ssh_ed25519`
      ok       The journal can be written
      ok       `ssh` is `[PROGRAM]`
      problem  Failed to read the age identity `[CONFIG]/age.key`
                 Caused by: Others can read it
                 hint: Run `chmod 600 [CONFIG]/age.key`

    here
      ok       New guests start from `[INVENTORY]/guest.qcow2`
      ok       Systems are in `[INVENTORY]/systems`
      ok       `rsync` is `[PROGRAM]`
      problem  Failed to examine host `here`
                 Caused by: Proxmox could not be reached
                 Caused by: Connection refused (os error 111)
                 hint: Is `https://127.0.0.1:[PORT]` up, and reachable from here?
    ");
    machine.write_private("config/age.key", "AGE-SECRET-KEY-1NONSENSE\n");
    let told = machine.fedi_with_input("secret set notes mail-password", "x");
    assert!(!told.contains("NONSENSE"), "{told}");
    assert_snapshot!(told, @"
    exit code: 2
    ----- stderr -----
    error: Failed to read the age identity `[CONFIG]/age.key`
      Caused by: A line is no age identity: invalid Bech32 encoding

    hint: Put a good copy of the key in its place: nothing else can read the secrets
    ");
}
