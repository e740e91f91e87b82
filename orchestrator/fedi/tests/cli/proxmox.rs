//! Against a simulated Proxmox VE: rights, images and plans.

use fedi_sim::empty_qcow2;
use insta::assert_snapshot;
use tokio::runtime::Runtime;

use crate::administrator::administrate;
use crate::place::{Place, bare};
use crate::support::{Machine, json_lines};

#[test]
fn doctor_says_what_is_missing_and_how_to_grant_it() {
    let place = Place::bare();
    let told = place.machine.fedi("doctor here");
    assert_snapshot!(told, @r#"
    exit code: 2
    ----- stdout -----
    this machine
      ok       Secrets can be read with the age key `[CONFIG]/age.key`
      ok       Guests are logged in to with the SSH key `[CONFIG]/ssh_ed25519`
      ok       The journal can be written
      ok       `ssh` is `[PROGRAM]`

    here: Proxmox VE 9.2.11
      ok       `https://127.0.0.1:[PORT]` answers and is the right one
      ok       Node `pve1` is online
      ok       New guests start from `[INVENTORY]/guest.qcow2`
      ok       Systems are in `[INVENTORY]/systems`
      ok       `rsync` is `[PROGRAM]`
      missing  `VM.Allocate` on `/pool/fedi`, for making and destroying guests
      missing  `VM.Audit` on `/pool/fedi`, for looking at guests
      missing  `VM.PowerMgmt` on `/pool/fedi`, for starting and stopping guests
      missing  `VM.Config.Disk` on `/pool/fedi`, for disks
      missing  `VM.Config.CDROM` on `/pool/fedi`, for the cloud-init drive
      missing  `VM.Config.CPU` on `/pool/fedi`, for sizes
      missing  `VM.Config.Memory` on `/pool/fedi`, for sizes
      missing  `VM.Config.Network` on `/pool/fedi`, for network cards
      missing  `VM.Config.HWType` on `/pool/fedi`, for the UUID that guests are known by
      missing  `VM.Config.Options` on `/pool/fedi`, for names and marks
      missing  `VM.Config.Cloudinit` on `/pool/fedi`, for addresses and keys of new guests
      missing  `VM.GuestAgent.Audit` on `/pool/fedi`, for asking the guest agent
      missing  `VM.GuestAgent.FileRead` on `/pool/fedi`, for learning a new guest's SSH host key
      missing  `SDN.Use` on `/sdn/zones/localnetwork/vmbr0`, for network cards
      missing  `Datastore.AllocateTemplate` on `/storage/local`, for bringing images
      missing  `Datastore.AllocateSpace` on `/storage/local`, for importing images
      missing  `Datastore.Audit` on `/storage/local`, for listing images
      missing  `Datastore.AllocateSpace` on `/storage/local-lvm`, for disks
      missing  `Datastore.Audit` on `/storage/local-lvm`, for free space

    Run on `here`, as its administrator:

      pveum role add FediGuests --privs "VM.Allocate VM.Audit VM.PowerMgmt VM.Config.Disk VM.Config.CDROM VM.Config.CPU VM.Config.Memory VM.Config.Network VM.Config.HWType VM.Config.Options VM.Config.Cloudinit VM.GuestAgent.Audit VM.GuestAgent.FileRead"
      pveum acl modify /pool/fedi --roles FediGuests --users 'fedi@pve'
      pveum acl modify /pool/fedi --roles FediGuests --tokens 'fedi@pve!deploy'
      pveum role add FediNetwork --privs "SDN.Use"
      pveum acl modify /sdn/zones/localnetwork/vmbr0 --roles FediNetwork --users 'fedi@pve'
      pveum acl modify /sdn/zones/localnetwork/vmbr0 --roles FediNetwork --tokens 'fedi@pve!deploy'
      pveum role add FediImages --privs "Datastore.AllocateTemplate Datastore.AllocateSpace Datastore.Audit"
      pveum acl modify /storage/local --roles FediImages --users 'fedi@pve'
      pveum acl modify /storage/local --roles FediImages --tokens 'fedi@pve!deploy'
      pveum role add FediDisks --privs "Datastore.AllocateSpace Datastore.Audit"
      pveum acl modify /storage/local-lvm --roles FediDisks --users 'fedi@pve'
      pveum acl modify /storage/local-lvm --roles FediDisks --tokens 'fedi@pve!deploy'
    "#);
    assert_snapshot!(place.machine.fedi("host check"), @"
    exit code: 2
    ----- stdout -----
    here: Proxmox VE 9.2.11, 19 problems; see `fedi doctor here`
    ");
    place.administrate(&told);
    assert_snapshot!(place.machine.fedi("doctor here"), @"
    exit code: 0
    ----- stdout -----
    this machine
      ok       Secrets can be read with the age key `[CONFIG]/age.key`
      ok       Guests are logged in to with the SSH key `[CONFIG]/ssh_ed25519`
      ok       The journal can be written
      ok       `ssh` is `[PROGRAM]`

    here: Proxmox VE 9.2.11
      ok       `https://127.0.0.1:[PORT]` answers and is the right one
      ok       Token `fedi@pve!deploy` has every right it needs
      ok       Node `pve1` is online
      ok       Storage `local-lvm` takes `images`, 100 GiB free
      ok       Storage `local` takes `import`, 100 GiB free
      ok       New guests start from `[INVENTORY]/guest.qcow2`
      ok       Systems are in `[INVENTORY]/systems`
      ok       `rsync` is `[PROGRAM]`
    ");
    assert_snapshot!(place.machine.fedi("host check"), @"
    exit code: 0
    ----- stdout -----
    here: Proxmox VE 9.2.11
    ");
}

/// The README's five minutes, as far as they need no guest: from a hypervisor that has
/// never heard of fedi, by doing what each command says.
#[test]
fn five_minutes() {
    let runtime = Runtime::new().unwrap();
    let sim = runtime.block_on(bare().user("fedi@pve", "unused").start()).unwrap();
    let machine = Machine::new();
    machine.fedi("init --email you@example.org --flake-url git+file:///home/you/fedi");
    let told = machine.fedi(&format!(
        "host add pve1 --endpoint {} --node pve1 --fingerprint {} --image result/nixos.qcow2 --resolver 192.0.2.1 \
         --addresses 192.0.2.0/24,192.0.2.1,192.0.2.100,192.0.2.199 --zone example.org",
        sim.url(),
        sim.fingerprint()
    ));
    let token = administrate(&runtime, &sim, &told).unwrap();
    assert!(told.contains("[CONFIG]/credentials/pve1/proxmox-token"), "{told}");
    machine.write_private("config/credentials/pve1/proxmox-token", &token);
    machine.write("inventory/result/nixos.qcow2", "");
    // Whether Nix is here is no matter for this test.
    machine.write("bin/nix", "#!/bin/sh\necho 'nix (Nix) 2.30.0'\n");
    machine.chmod("bin/nix", 0o755);
    let path = format!("{}:{}", machine.path("bin").display(), std::env::var("PATH").unwrap());
    let doctor = || machine.tell(&machine.command(&["doctor", "pve1"]).env("PATH", &path).output().unwrap());
    let told = doctor();
    assert!(told.starts_with("exit code: 2"), "{told}");
    administrate(&runtime, &sim, &told);
    let told = doctor();
    assert!(told.starts_with("exit code: 0") && !told.contains("problem"), "{told}");
    assert!(told.contains("`nix (Nix) 2.30.0`"), "{told}");
    machine.write("inventory/flake.nix", include_str!("../../../../modules/template/flake.nix"));
    assert!(doctor().contains("flake.nix` does not say where fedi is"), "{}", doctor());
}

#[test]
fn images() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    assert_snapshot!(machine.fedi("image list here"), @"
    exit code: 0
    ----- stdout -----
    fedi has put no images on host `here`
    ");
    assert_snapshot!(machine.fedi("image push here"), @"
    exit code: 0
    ----- stdout -----
    `fedi-guest-041c707a5145acfb.qcow2` is on host `here`
    ");
    assert_snapshot!(machine.fedi("image push here --json"), @r#"
    exit code: 0
    ----- stdout -----
    {"bytes":65536,"current":true,"file":"fedi-guest-041c707a5145acfb.qcow2","schema":1}
    "#);
    let mut other = empty_qcow2();
    other[1000] = 1;
    std::fs::write(machine.path("inventory/guest.qcow2"), other).unwrap();
    machine.fedi("image push here");
    assert_snapshot!(machine.fedi("image list here"), @"
    exit code: 0
    ----- stdout -----
    image                              size
    fedi-guest-041c707a5145acfb.qcow2  1 MiB
    fedi-guest-7a514421d32fccac.qcow2  1 MiB  new guests start from it
    ");
    assert_snapshot!(machine.fedi("image prune here"), @"
    exit code: 2
    ----- stderr -----
    error: There is nobody to ask for a confirmation

    hint: Add `--yes`
    ");
    assert_snapshot!(machine.fedi("image prune here --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to delete the image `fedi-guest-041c707a5145acfb.qcow2` from `here`
      Caused by: Proxmox refused the request (403)
      Caused by: Token `fedi@pve!deploy` lacks `Datastore.Allocate` on `/storage/local`

    hint: Delete it on the host: `pvesm free local:import/fedi-guest-041c707a5145acfb.qcow2`
          Or let the token delete whatever lies on the storage: `Datastore.Allocate` on `/storage/local`
    ");
    place.administrate(
        "pveum role add Prune --privs Datastore.Allocate\n\
         pveum acl modify /storage/local --roles Prune --users fedi@pve\n\
         pveum acl modify /storage/local --roles Prune --tokens fedi@pve!deploy",
    );
    assert_snapshot!(machine.fedi("image prune here --yes"), @"
    exit code: 0
    ----- stdout -----
    Deleted `fedi-guest-041c707a5145acfb.qcow2`
    ");
    assert_snapshot!(machine.fedi("image prune here --yes"), @"
    exit code: 0
    ----- stdout -----
    No image on host `here` is out of use
    ");
    std::fs::remove_file(machine.path("inventory/guest.qcow2")).unwrap();
    assert_snapshot!(machine.fedi("image push here"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to read the guest image `[INVENTORY]/guest.qcow2`
      Caused by: No such file or directory (os error 2)

    hint: Build one with `nix build .#image` in the inventory, or set `image.source` in host.toml
    ");
    assert_snapshot!(machine.fedi("plan notes"), @"
    exit code: 2
    ----- stderr -----
    error: Failed to read the guest image `[INVENTORY]/guest.qcow2`
      Caused by: No such file or directory (os error 2)

    hint: Build one with `nix build .#image` in the inventory, or set `image.source` in host.toml
    ");
}

#[test]
fn a_plan() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    assert_snapshot!(machine.fedi("plan"), @"
    exit code: 0
    ----- stdout -----
    Deploy `notes` on host `here`

      reserve        + address 192.0.2.10 from the pool of here
                     + secret cookie-key (session, generated)
                     + secret signing-key (identity, generated)
      image          + image fedi-guest-041c707a5145acfb.qcow2 on here (1 MiB)
      machine        + VM notes on here (2 cores, 2 GiB memory, 20 GiB state)
      guest          + SSH host key of notes
      contact        > wait until guest notes answers
      names          + 1 DNS record set in example.org
                         + notes.example.org A 192.0.2.10
      propagation    > wait until every name server of example.org has them
      secrets        + 3 secrets on guest notes
      -- From here on the application writes data of its own: a failure pauses, nothing is unwound
      lease          + lease for notes on guest notes (epoch 1)
      system         + prebuilt system [DIGEST]
      verify         > check that notes is healthy, from inside and outside

    note: DNS is yours to write: fedi shows the records and waits until they are there

    Plan: 10 to create, 3 to run
    ");
    assert!(machine.fedi("plan notes --check").starts_with("exit code: 3"));
    let json = json_lines(machine, "plan notes");
    assert_eq!(json[0]["plans"][0]["deployment"], "notes");
    assert_snapshot!(machine.fedi("status notes"), @"
    exit code: 0
    ----- stdout -----
    deployment  app    host  domain             state
    notes       notes  here  notes.example.org  not deployed
    ");
    assert!(place.sim.vmids().is_empty());
}

#[test]
fn a_plan_that_cannot_be() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    machine.write("inventory/hosts/here/deployments/wiki.toml", "app = \"notes\"\ndomain = \"wiki.example.org\"\n");
    assert_snapshot!(machine.fedi("plan wiki"), @"
    exit code: 2
    ----- stderr -----
    error: Cannot deploy `wiki`
      Caused by: Secrets are missing that only you can give: `mail-password` (the mail relay's password)

    hint: Run `fedi secret set wiki mail-password`
    ");
    assert_snapshot!(machine.fedi("plan"), @"
    exit code: 2
    ----- stdout -----
    Deploy `notes` on host `here`

      reserve        + address 192.0.2.10 from the pool of here
                     + secret cookie-key (session, generated)
                     + secret signing-key (identity, generated)
      image          + image fedi-guest-041c707a5145acfb.qcow2 on here (1 MiB)
      machine        + VM notes on here (2 cores, 2 GiB memory, 20 GiB state)
      guest          + SSH host key of notes
      contact        > wait until guest notes answers
      names          + 1 DNS record set in example.org
                         + notes.example.org A 192.0.2.10
      propagation    > wait until every name server of example.org has them
      secrets        + 3 secrets on guest notes
      -- From here on the application writes data of its own: a failure pauses, nothing is unwound
      lease          + lease for notes on guest notes (epoch 1)
      system         + prebuilt system [DIGEST]
      verify         > check that notes is healthy, from inside and outside

    note: DNS is yours to write: fedi shows the records and waits until they are there

    Plan: 10 to create, 3 to run
    ----- stderr -----

    error: Cannot deploy `wiki`
      Caused by: Secrets are missing that only you can give: `mail-password` (the mail relay's password)

    hint: Run `fedi secret set wiki mail-password`
    ");
    assert_eq!(json_lines(machine, "plan")[0]["failed"][0]["deployment"], "wiki");
}

#[test]
fn without_a_terminal_nothing_is_done_unasked() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    assert_snapshot!(machine.fedi("deploy notes"), @"
    exit code: 2
    ----- stderr -----
    Deploy `notes` on host `here`

      reserve        + address 192.0.2.10 from the pool of here
                     + secret cookie-key (session, generated)
                     + secret signing-key (identity, generated)
      image          + image fedi-guest-041c707a5145acfb.qcow2 on here (1 MiB)
      machine        + VM notes on here (2 cores, 2 GiB memory, 20 GiB state)
      guest          + SSH host key of notes
      contact        > wait until guest notes answers
      names          + 1 DNS record set in example.org
                         + notes.example.org A 192.0.2.10
      propagation    > wait until every name server of example.org has them
      secrets        + 3 secrets on guest notes
      -- From here on the application writes data of its own: a failure pauses, nothing is unwound
      lease          + lease for notes on guest notes (epoch 1)
      system         + prebuilt system [DIGEST]
      verify         > check that notes is healthy, from inside and outside

    note: DNS is yours to write: fedi shows the records and waits until they are there

    Plan: 10 to create, 3 to run

    error: There is nobody to ask for a confirmation

    hint: Add `--yes`
    ");
    assert!(place.sim.vmids().is_empty());
    assert_eq!(json_lines(machine, "deploy notes").len(), 2, "the plan and the error");
    assert_snapshot!(machine.fedi("run list"), @"
    exit code: 0
    ----- stdout -----
    No runs yet
    ");
}
