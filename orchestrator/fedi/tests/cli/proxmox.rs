//! Against a simulated Proxmox VE: rights, images, plans, and runs that are interrupted.
//! Its guests are state only, and their agent never answers: a deploy comes as far as the
//! VM and waits there.

use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use fedi_sim::backend::ModelSettings;
use fedi_sim::{SimBuilder, SimHandle, StorageSetup, Tuning, Version};
use insta::assert_snapshot;
use proxmox_api::{Client, Credentials, Endpoint, Method, Options, Parameters, Request, Trust};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::name_server;
use crate::support::{Machine, json_lines};

/// A simulated cluster and an operator's machine with one host, `here`, on it.
struct Place {
    sim: SimHandle,
    machine: Machine,
    runtime: Runtime,
}

/// A cluster that does not know of fedi.
fn bare() -> SimBuilder {
    let tuning = Tuning {
        start_delay: Duration::from_millis(20),
        task_delay: Duration::from_millis(5),
        broadcast_interval: Duration::ZERO,
        ..Tuning::default()
    };
    SimBuilder::new(Version::new(9, 2, 11))
        .nodes(&["pve1"])
        .storage(StorageSetup::directory("local", "/var/lib/vz"))
        .storage(StorageSetup::directory("local-lvm", "/srv/guests"))
        .token("root@pam!admin", false)
        .guests(ModelSettings { agent_dead: true, ..ModelSettings::default() })
        .tuning(tuning)
}

impl Place {
    /// A place where fedi's token may do nothing yet.
    fn bare() -> Self {
        // Only planning asks it.
        Self::with_name_server("127.0.0.1".parse().unwrap())
    }

    fn with_name_server(server: IpAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let cluster = bare().pool("fedi").user("fedi@pve", "unused").token("fedi@pve!deploy", true);
        let sim = runtime.block_on(cluster.start()).unwrap();
        let machine = Machine::with_deployment(&sim.url()).filter(sim.fingerprint(), "[FINGERPRINT]");
        let host = machine.read("inventory/hosts/here/host.toml");
        let start = host.find("00:11:22").unwrap();
        let host = host.replace(&host[start..start + 95], sim.fingerprint()) + &format!("servers = [\"{server}\"]\n");
        machine.write("inventory/hosts/here/host.toml", &host);
        machine.write_private("config/credentials/here/proxmox-token", &sim.token("fedi@pve!deploy").unwrap());
        std::fs::write(machine.path("inventory/guest.qcow2"), qcow2()).unwrap();
        Self { sim, machine, runtime }
    }

    /// A place where fedi may do all that it needs.
    fn ready() -> Option<Self> {
        let place = Self::with_name_server(name_server::start()?);
        place.administrate(&place.machine.fedi("doctor here"));
        place.machine.fedi_with_input("secret set notes mail-password", "x");
        Some(place)
    }

    /// Does what the `pveum` commands in a text ask for.
    fn administrate(&self, text: &str) {
        administrate(&self.runtime, &self.sim, text);
    }

    /// Starts `fedi LINE` and waits until it waits for a guest.
    fn begin_and_wait(&self, line: &str) -> Begun {
        self.sim.clear_requests();
        let begun = self.begin(line, "run 1:");
        while !self.sim.requests().iter().any(|request| request.path.contains("/agent/")) {
            std::thread::sleep(Duration::from_millis(10));
        }
        begun
    }

    /// Starts `fedi LINE` and waits until its stderr has a line with `word`.
    fn begin(&self, line: &str, word: &str) -> Begun {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let mut command = self.machine.command(&arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        while !told.lines().last().is_some_and(|line| line.contains(word)) {
            assert!(stderr.read_line(&mut told).unwrap() > 0, "{line} ended before {word:?}: {told}");
        }
        Begun { child, stderr, told }
    }
}

/// A command that is at work.
struct Begun {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    told: String,
}

impl Begun {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for a line with `word`.
    fn until(&mut self, word: &str) {
        while !self.told.lines().last().is_some_and(|line| line.contains(word)) {
            assert!(self.stderr.read_line(&mut self.told).unwrap() > 0, "no {word:?}: {}", self.told);
        }
    }

    /// Waits for its end.
    fn end(mut self, machine: &Machine) -> String {
        let mut output = self.child.wait_with_output().unwrap();
        std::io::Read::read_to_string(&mut self.stderr, &mut self.told).unwrap();
        output.stderr = self.told.into_bytes();
        machine.tell(&output)
    }
}

/// Does what the `pveum` commands in a text ask for, as Proxmox's administrator. Returns
/// the token, whole, where one was made.
fn administrate(runtime: &Runtime, sim: &SimHandle, text: &str) -> Option<String> {
    let token = sim.token("root@pam!admin").unwrap();
    let endpoint = Endpoint::parse(&sim.url()).unwrap();
    let trust = Trust::Fingerprints(vec![sim.fingerprint().parse().unwrap()]);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(Options::new(endpoint, trust, Credentials::Token(token.parse().unwrap()))).unwrap();
    let mut made = None;
    for line in text.lines().map(str::trim).filter(|line| line.starts_with("pveum ")) {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let with = Parameters::new();
        let done = match words.as_slice() {
            ["pveum", "pool", "add", pool] => {
                runtime.block_on(client.send(&Add("/pools", vec![], with.with("poolid", *pool))))
            }
            // The simulator has the user from its start.
            ["pveum", "user", "add", "fedi@pve"] => Ok(Value::Null),
            ["pveum", "user", "token", "add", user, token, "--privsep", privsep] => {
                let place = vec![(*user).to_owned(), (*token).to_owned()];
                let add = Add("/access/users/{userid}/token/{tokenid}", place, with.with("privsep", *privsep));
                let answer = runtime.block_on(client.send(&add));
                made = answer.as_ref().ok().map(|it| format!("{user}!{token}={}", it["value"].as_str().unwrap()));
                answer
            }
            ["pveum", "role", "add", role, "--privs", privileges] => {
                let with = with.with("roleid", *role).with("privs", *privileges);
                runtime.block_on(client.send(&Add("/access/roles", vec![], with)))
            }
            ["pveum", "acl", "modify", path, "--roles", role, who @ ("--users" | "--tokens"), name] => {
                let with = with.with("path", *path).with("roles", *role).with(who.trim_start_matches("--"), *name);
                runtime.block_on(client.send(&ModifyAcl(with)))
            }
            other => panic!("no command that this test knows: {other:?}"),
        };
        done.unwrap_or_else(|error| panic!("{line}: {error}: {}", error.message()));
    }
    made
}

/// A POST: its path, what fills the path's placeholders, its parameters.
struct Add(&'static str, Vec<String>, Parameters);

impl Request for Add {
    const METHOD: Method = Method::Post;
    type Answer = Value;

    fn template(&self) -> &'static str {
        self.0
    }

    fn placeholders(&self) -> Vec<String> {
        self.1.clone()
    }

    fn parameters(&self) -> Parameters {
        self.2.clone()
    }
}

struct ModifyAcl(Parameters);

impl Request for ModifyAcl {
    const METHOD: Method = Method::Put;
    type Answer = Value;

    fn template(&self) -> &'static str {
        "/access/acl"
    }

    fn parameters(&self) -> Parameters {
        self.0.clone()
    }
}

/// The words of a command line, as a shell splits what is quoted simply.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words
}

/// A qcow2 of version 3 that is empty: a header and nothing else of use.
fn qcow2() -> Vec<u8> {
    let mut file = vec![0_u8; 1 << 16];
    file[..4].copy_from_slice(b"QFI\xfb");
    file[4..8].copy_from_slice(&3_u32.to_be_bytes());
    file[20..24].copy_from_slice(&16_u32.to_be_bytes());
    file[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
    file[36..40].copy_from_slice(&1_u32.to_be_bytes());
    file[100..104].copy_from_slice(&104_u32.to_be_bytes());
    file
}

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
    let mut other = qcow2();
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

#[test]
fn an_interrupted_deploy_is_taken_back() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    let begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::INT);
    assert_snapshot!(begun.end(machine), @"
    exit code: 4
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

    [CLOCK] run 1: deploy `notes`, 14 steps
    [CLOCK] [4/14] + image fedi-guest-041c707a5145acfb.qcow2 on here (1 MiB) ([SPAN])
    [CLOCK] [5/14] + VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    [CLOCK] Stopping at the next safe point; press Ctrl-C again to stop at once
    [CLOCK] stopped: + SSH host key of notes ([SPAN])
    error: Run 1 stopped: Interrupted

    hint: Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_eq!(place.sim.vmids(), [9000]);
    assert_snapshot!(machine.fedi("run list"), @"
    exit code: 0
    ----- stdout -----
    run  what    deployment  host  state   started
    1    deploy  notes       here  paused  [TIME]
    ");
    assert_snapshot!(machine.fedi("run show 1"), @"
    exit code: 0
    ----- stdout -----
    Run 1: deploy `notes` on host `here`, paused
      because: Interrupted
      finished  + address 192.0.2.10 from the pool of here
      finished  + secret cookie-key (session, generated)
      finished  + secret signing-key (identity, generated)
      finished  + image fedi-guest-041c707a5145acfb.qcow2 on here (1 MiB)
      finished  + VM notes on here (2 cores, 2 GiB memory, 20 GiB state)
      stopped   + SSH host key of notes
      waiting   > wait until guest notes answers
      waiting   + 1 DNS record set in example.org
      waiting   > wait until every name server of example.org has them
      waiting   + 3 secrets on guest notes
      waiting   -- From here on the application writes data of its own: a failure pauses, nothing is unwound
      waiting   + lease for notes on guest notes (epoch 1)
      waiting   + prebuilt system [DIGEST]
      waiting   > check that notes is healthy, from inside and outside

    Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 4
    ----- stdout -----
    deployment  app    host  domain             state
    notes       notes  here  notes.example.org  unfinished

    notes
      run 1 is not finished; go on with `fedi run resume 1`
    ");
    assert_snapshot!(machine.fedi("deploy notes --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Run 1 of `notes` is not finished

    hint: Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_snapshot!(machine.fedi("destroy notes --destroy-data notes"), @"
    exit code: 2
    ----- stderr -----
    error: Run 1 of `notes` is not finished

    hint: Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_snapshot!(machine.fedi("run undo"), @"
    exit code: 2
    ----- stderr -----
    error: There is nobody to ask for a confirmation

    hint: Add `--yes`
    ");
    assert_snapshot!(machine.fedi("run undo --yes"), @"
    exit code: 0
    ----- stdout -----
    Run 1 is taken back
    ----- stderr -----
    [CLOCK] run 1: deploy `notes`, 14 steps, 5 done already
    [CLOCK] undo: SSH host key of notes ([SPAN])
    [CLOCK] undo: VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    ");
    assert!(place.sim.vmids().is_empty());
    assert_snapshot!(machine.fedi("run undo 1 --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Run 1 is unwound

    hint: See `fedi run show 1`
    ");
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 0
    ----- stdout -----
    deployment  app    host  domain             state
    notes       notes  here  notes.example.org  not deployed
    ");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let Some(place) = Place::ready() else { return };
    let mut begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::TERM);
    begun.until("Stopping");
    begun.signal(Signal::TERM);
    let told = begun.end(&place.machine);
    assert!(told.starts_with("exit code: 4"), "{told}");
    assert!(place.machine.fedi("run undo --yes").starts_with("exit code: 0"));
    assert!(place.sim.vmids().is_empty());
}

#[test]
fn a_killed_deploy_leaves_a_run_that_can_be_taken_up() {
    let Some(place) = Place::ready() else { return };
    let begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::KILL);
    begun.end(&place.machine);
    let begun = place.begin_and_wait("run resume");
    begun.signal(Signal::INT);
    assert_snapshot!(begun.end(&place.machine), @"
    exit code: 4
    ----- stderr -----
    [CLOCK] run 1: deploy `notes`, 14 steps, 5 done already
    [CLOCK] Stopping at the next safe point; press Ctrl-C again to stop at once
    [CLOCK] stopped: + SSH host key of notes ([SPAN])
    error: Run 1 stopped: Interrupted

    hint: Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_eq!(place.sim.vmids(), [9000], "there is still one VM");
}

#[test]
fn two_at_once() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    let begun = place.begin_and_wait("deploy notes --yes");
    assert_snapshot!(machine.fedi("run undo 1 --yes"), @"
    exit code: 5
    ----- stderr -----
    error: Another fedi is at work: operator@[MACHINE] (pid [PID]) holds the writer lease since [TIME]

    hint: Wait until it is done. Should that process be gone, its lease can be taken over 60 s after its last sign of life
    ");
    machine.write("inventory/systems/wiki/manifest.json", r#"{ "schema": 1, "apps": { "wiki": { "version": "1", "upgradesFrom": "1", "gate": "wiki.target", "units": [], "items": {}, "order": [], "secrets": {} } } }"#);
    machine.write("inventory/systems/wiki/bin/switch-to-configuration", "#!/bin/sh\n");
    let told = machine.fedi("deploy wiki --host here --domain wiki.example.org --yes");
    assert!(told.starts_with("exit code: 5"), "{told}");
    assert!(!machine.path("inventory/hosts/here/deployments/wiki.toml").exists());
    begun.signal(Signal::INT);
    begun.end(machine);
    assert!(machine.fedi("run undo 1 --yes").starts_with("exit code: 0"));
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
