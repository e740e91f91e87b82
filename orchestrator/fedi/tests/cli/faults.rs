//! What goes wrong on a host in mid-deploy: what is told, the exit code, and what is left.

use std::time::Duration;

use fedi_sim::faults::Command;
use insta::assert_snapshot;
use proxmox_api::Parameters;
use rustix::process::Signal;

use crate::administrator::{ModifyToken, administrator};
use crate::place::Place;

#[test]
fn a_token_that_proxmox_does_not_know() {
    let place = Place::bare();
    let token = place.sim.token("fedi@pve!deploy").unwrap();
    let (id, _) = token.split_once('=').unwrap();
    let wrong = format!("{id}=00000000-0000-0000-0000-000000000000");
    place.machine.write_private("config/credentials/here/proxmox-token", &wrong);
    assert_snapshot!(place.machine.fedi("host check"), @"
    exit code: 2
    ----- stdout -----
    here: cannot be used
      error: Failed to examine host `here`
        Caused by: Proxmox refused the credentials (401)
        Caused by: Token `fedi@pve!deploy` is unknown, expired or has another secret
      hint: Is the token in `hypervisor.token` of hosts/here/host.toml whole, enabled and not expired?
    ");
    assert_snapshot!(place.machine.fedi("deploy notes --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to look for VM `notes` on host `here`
      Caused by: Proxmox refused the credentials (401)
      Caused by: Token `fedi@pve!deploy` is unknown, expired or has another secret

    hint: Is the token in `hypervisor.token` of hosts/here/host.toml whole, enabled and not expired?
    ");
}

/// It expires between two commands: what runs goes on running, and nothing is taken back.
#[test]
fn a_token_that_expired() {
    let Some(place) = Place::ready() else { return };
    let begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::INT);
    begun.end(&place.machine);
    let expire = |at: u64| {
        let change = ModifyToken(Parameters::new().with("expire", at));
        place.runtime.block_on(administrator(&place.sim).send(&change)).unwrap();
    };
    expire(1);
    assert_snapshot!(place.machine.fedi("run undo --yes"), @"
    exit code: 4
    ----- stderr -----
    [CLOCK] run 1: deploy `notes`, 14 steps, 5 done already
    [CLOCK] undo: SSH host key of notes ([SPAN])
    [CLOCK] failed: undo: VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    [CLOCK]   Failed to look for the import that was begun
    [CLOCK]   Caused by: Proxmox refused the credentials (401)
    [CLOCK]   Caused by: Token `fedi@pve!deploy` is unknown, expired or has another secret
    error: Failed to look for the import that was begun
      Caused by: Proxmox refused the credentials (401)
      Caused by: Token `fedi@pve!deploy` is unknown, expired or has another secret

    hint: Is the token in `hypervisor.token` of hosts/here/host.toml whole, enabled and not expired?
          Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_eq!(place.sim.vmids(), [9000]);
    assert!(place.machine.fedi("status").starts_with("exit code: 4"));
    expire(0);
    assert!(place.machine.fedi("run undo --yes").starts_with("exit code: 0"));
    assert!(place.sim.vmids().is_empty());
}

#[test]
fn a_right_that_is_missing() {
    let place = Place::bare();
    place.machine.fedi_with_input("secret set notes mail-password", "x");
    assert_snapshot!(place.machine.fedi("image push here"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to look for images on `here`
      Caused by: Proxmox refused the request (403)
      Caused by: Token `fedi@pve!deploy` lacks `Datastore.Audit` or `Datastore.AllocateSpace` on `/storage/local`

    hint: Run `fedi doctor here` for the commands that grant it
    ");
}

#[test]
fn no_room_for_the_disks() {
    let Some(place) = Place::ready() else { return };
    place.control(Command::LeaveSpace { storage: "local-lvm".to_owned(), bytes: 0 });
    assert_snapshot!(place.tail("deploy notes --yes", "VM notes"), @"
    exit code: 1
    [CLOCK] failed: + VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    [CLOCK]   Failed to create VM `notes` on host `here`
    [CLOCK]   Caused by: The task `qmcreate` failed
    [CLOCK]   Caused by: unable to create VM 9000 - unable to create image: qemu-img: /srv/guests/images/9000/vm-9000-cloudinit.qcow2: Could not write to file: No space left on device
    [CLOCK] taking back what was done: Failed to create VM `notes` on host `here`
    [CLOCK] undo: VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    error: Failed to create VM `notes` on host `here`
      Caused by: The task `qmcreate` failed
      Caused by: unable to create VM 9000 - unable to create image: qemu-img: /srv/guests/images/9000/vm-9000-cloudinit.qcow2: Could not write to file: No space left on device

    left behind: nothing; run 1 is taken back and all is as it was before

    hint: Make room on `here`, or name another storage in host.toml
    ");
    assert!(place.sim.vmids().is_empty());
    assert!(place.machine.fedi("status").contains("not deployed"));
}

#[test]
fn a_cluster_without_quorum() {
    let Some(place) = Place::ready() else { return };
    place.control(Command::Quorum { quorate: false });
    assert_snapshot!(place.tail("deploy notes --yes", "VM notes"), @"
    exit code: 1
    [CLOCK]   + VM notes on here (2 cores, 2 GiB memory, 20 GiB state): cluster not ready - no quorum?; trying again in 2 s
    [CLOCK]   + VM notes on here (2 cores, 2 GiB memory, 20 GiB state): cluster not ready - no quorum?; trying again in 4 s
    [CLOCK] failed: + VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    [CLOCK]   Failed to create VM `notes` on host `here`
    [CLOCK]   Caused by: Proxmox refused the request (500)
    [CLOCK]   Caused by: cluster not ready - no quorum?
    [CLOCK] taking back what was done: Failed to create VM `notes` on host `here`
    [CLOCK] undo: VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    error: Failed to create VM `notes` on host `here`
      Caused by: Proxmox refused the request (500)
      Caused by: cluster not ready - no quorum?

    left behind: nothing; run 1 is taken back and all is as it was before

    hint: Nothing can be changed on a cluster without quorum; bring its other nodes back
    ");
    assert!(place.sim.vmids().is_empty());
}

#[test]
fn every_address_is_taken() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    let host = machine.read("inventory/hosts/here/host.toml").replace("192.0.2.12", "192.0.2.10");
    machine.write("inventory/hosts/here/host.toml", &host);
    let begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::INT);
    begun.end(machine);
    machine.write("inventory/hosts/here/deployments/wiki.toml", "app = \"notes\"\ndomain = \"wiki.example.org\"\n");
    machine.fedi_with_input("secret set wiki mail-password", "x");
    let exhausted = machine.fedi("deploy wiki --yes");
    assert_snapshot!(exhausted, @"
    exit code: 2
    ----- stderr -----
    error: Failed to reserve an ipv4 address for `wiki` on host `here`
      Caused by: The pool has 1 addresses: 1 are held and 0 rest from their last deployment

    hint: Widen a pool or add one under `[[addresses]]` in `hosts/here/host.toml`
    ");
    assert_eq!(machine.fedi("plan wiki"), exhausted.replace("reserve an ipv4", "find a free ipv4"));
}

/// Secrets are made before anything else: nothing on the host is touched.
#[test]
fn an_age_key_that_cannot_be_read() {
    let Some(place) = Place::ready() else { return };
    place.machine.chmod("config/age.key", 0o640);
    place.sim.clear_requests();
    let told = place.machine.fedi("deploy notes --yes");
    assert!(told.starts_with("exit code: 1\n"), "{told}");
    let error = &told[told.find("\nerror: ").unwrap() + 1..];
    assert_snapshot!(error, @"
    error: Failed to read the age identity `[CONFIG]/age.key`
      Caused by: Others can read it

    left behind: nothing; run 1 is taken back and all is as it was before

    hint: Run `chmod 600 [CONFIG]/age.key`
    ");
    assert!(place.sim.requests().iter().all(|request| request.method == "GET"), "it only looked");
    place.machine.chmod("config/age.key", 0o600);
    assert_eq!(place.machine.fedi("secret show notes mail-password"), "exit code: 0\n----- stdout -----\nx");
}

#[test]
fn an_image_of_another_digest() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    let digest = "0".repeat(64);
    let host = machine.read("inventory/hosts/here/host.toml");
    let host = host.replace("\"guest.qcow2\"\n", &format!("\"guest.qcow2\"\nsha256 = \"{digest}\"\n"));
    machine.write("inventory/hosts/here/host.toml", &host);
    assert_snapshot!(machine.fedi("deploy notes --yes"), @"
    exit code: 2
    ----- stderr -----
    error: The image `[INVENTORY]/guest.qcow2` is not the one that host `here` asks for
      Caused by: Its SHA-256 is 041c707a5145acfbfc6c82ba4e3176352e447d6f5db919da0000c138d2bc5589, `image.sha256` is 0000000000000000000000000000000000000000000000000000000000000000

    hint: Put the right image there, or correct `image.sha256` in hosts/here/host.toml
    ");
}

#[test]
fn one_host_down_is_not_all_down() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    let begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::INT);
    begun.end(machine);
    assert_snapshot!(machine.fedi("run abandon --yes"), @"
    exit code: 0
    ----- stdout -----
    Run 1 is abandoned; `fedi plan notes` shows what is missing, `fedi destroy notes` removes it
    ");
    let host = machine.read("inventory/hosts/here/host.toml").replace("credentials/here/", "credentials/there/");
    machine.write("inventory/hosts/there/host.toml", &host);
    machine.write("inventory/hosts/there/deployments/wiki.toml", "app = \"notes\"\ndomain = \"wiki.example.org\"\n");
    assert_snapshot!(machine.fedi("host check"), @"
    exit code: 2
    ----- stdout -----
    here: Proxmox VE 9.2.11
    there: cannot be used
      error: Failed to read the credential file `[CONFIG]/credentials/there/proxmox-token`
        Caused by: No such file or directory (os error 2)
      hint: Write the credential to `[CONFIG]/credentials/there/proxmox-token` and run `chmod 600 [CONFIG]/credentials/there/proxmox-token`
    ");
    drop(place.sim);
    place.runtime.shutdown_timeout(Duration::from_secs(5));
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 6
    ----- stdout -----
    deployment  app    host   domain             state
    notes       notes  here   notes.example.org  unknown
    wiki        notes  there  wiki.example.org   not deployed

    notes
      error: Failed to look for VM `notes` on host `here`
        Caused by: Proxmox could not be reached
        Caused by: Connection refused (os error 111)
      hint: Is `https://127.0.0.1:[PORT]` up, and reachable from here?
    ");
    assert_snapshot!(machine.fedi("destroy notes --yes"), @"
    exit code: 1
    ----- stderr -----
    error: Failed to look for VM `notes` on host `here`
      Caused by: Proxmox could not be reached
      Caused by: Connection refused (os error 111)

    hint: Is `https://127.0.0.1:[PORT]` up, and reachable from here?
    ");
}
