//! `fedi host`.

use insta::assert_snapshot;

use crate::support::Machine;

const FINGERPRINT: &str =
    "AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89";

fn add(more: &str) -> String {
    format!(
        "host add pve1 --endpoint https://192.0.2.2:8006 --node pve1 --fingerprint {FINGERPRINT} \
         --image guest.qcow2 --resolver 192.0.2.1 --zone example.org \
         --addresses 192.0.2.0/24,192.0.2.1,192.0.2.100,192.0.2.199 {more}"
    )
}

#[test]
fn none_yet() {
    let machine = Machine::with_inventory();
    assert_snapshot!(machine.fedi("host list"), @"
    exit code: 0
    ----- stdout -----
    The inventory has no hosts; describe one with `fedi host add`
    ");
    assert_snapshot!(machine.fedi("host check"), @"
    exit code: 0
    ----- stdout -----
    The inventory has no hosts; describe one with `fedi host add`
    ");
    assert_snapshot!(machine.fedi("doctor"), @"
    exit code: 0
    ----- stdout -----
    this machine
      ok       Secrets can be read with the age key `[CONFIG]/age.key`
      ok       Guests are logged in to with the SSH key `[CONFIG]/ssh_ed25519`
      ok       The journal can be written
      ok       `ssh` is `[PROGRAM]`
    ----- stderr -----

    The inventory has no hosts; describe one with `fedi host add`
    ");
}

#[test]
fn describe_one() {
    let machine = Machine::with_inventory();
    assert_snapshot!(machine.fedi(&add("")), @"
    exit code: 0
    ----- stdout -----
    Wrote [INVENTORY]/hosts/pve1/host.toml
    ----- stderr -----

    Next, as administrator of the Proxmox host, unless they exist:

      pveum pool add fedi
      pveum user add fedi@pve
      pveum user token add fedi@pve deploy --privsep 1

    Write the token, whole (`fedi@pve!deploy=` and the value that was printed), to
    `[CONFIG]/credentials/pve1/proxmox-token`, readable by you alone (mode 0600).
    Then `fedi doctor pve1` says which rights it needs.
    ");
    assert_snapshot!(machine.fedi("host list"), @"
    exit code: 0
    ----- stdout -----
    host  endpoint                node  zones        deployments
    pve1  https://192.0.2.2:8006  pve1  example.org
    ");
    assert_snapshot!(machine.fedi("host list --json"), @r#"
    exit code: 0
    ----- stdout -----
    {"hosts":[{"deployments":[],"endpoint":"https://192.0.2.2:8006","host":"pve1","node":"pve1","zones":["example.org"]}],"schema":1}
    "#);
    assert_snapshot!(machine.fedi(&add("")), @"
    exit code: 2
    ----- stderr -----
    error: `hosts/pve1/host.toml` is there already

    hint: Edit `hosts/pve1/host.toml`, or take another name
    ");
    assert_snapshot!(machine.read("inventory/hosts/pve1/host.toml"), @r#"
    #:schema ../../.schema/host.json

    # A place where virtual machines run, with what comes along: storage, network,
    # addresses, DNS zones.

    # Name servers that guests ask.
    resolvers = ["192.0.2.1"]

    [hypervisor]
    driver = "proxmox"
    endpoint = "https://192.0.2.2:8006"
    # How the API is recognised: a CA file, `{ fingerprints = ["AA:BB:..."] }` as
    # `pvenode cert info` prints them, or "system". Nothing accepts just any certificate.
    tls = { fingerprints = ["AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89"] }
    # The API token, whole: `user@realm!id=uuid`, in a file that only you can read, or in a
    # variable.
    token = { file = "credentials/pve1/proxmox-token" }
    node = "pve1"
    # All of fedi's machines are in this pool; the token needs no rights outside it.
    pool = "fedi"
    vm-storage = "local-lvm"
    # Must allow the content type `import`.
    image-storage = "local"
    bridge = "vmbr0"
    # The ids that fedi may use.
    first-vmid = 9000
    last-vmid = 9999

    [image]
    # The disk image that new guests start from: a file, or an https URL with `sha256`.
    source = "guest.qcow2"

    # Addresses that guests may have; at most one IPv4 and one IPv6 pool serve a guest.
    # Keep the range out of reach of DHCP.
    [[addresses]]
    network = "192.0.2.0/24"
    gateway = "192.0.2.1"
    first = "192.0.2.100"
    last = "192.0.2.199"

    [dns]
    # "manual" shows the records and waits until you have written them. "octodns" writes them
    # itself, for about 45 kinds of DNS service: then each zone names a provider.
    driver = "manual"

    # A deployment's domain must lie in one of the zones; the longest that fits counts.
    [[dns.zones]]
    name = "example.org"
    # provider = "desec"

    # The class and the settings are those of octoDNS' documentation.
    # [dns.providers.desec]
    # class = "octodns_desec.DesecProvider"
    # packages = ["octodns-desec==1.3.0"]
    # min-ttl = 3600
    # secrets = { token = { file = "credentials/desec-token" } }
    "#);
}

#[test]
fn what_makes_no_host() {
    let machine = Machine::with_inventory();
    assert_snapshot!(machine.fedi("host add pve1"), @"
    exit code: 2
    ----- stderr -----
    error: the following required arguments were not provided:
      --endpoint <URL>
      --node <NODE>
      --image <FILE-OR-URL>
      --addresses <NETWORK,GATEWAY,FIRST,LAST>
      --resolver <ADDRESS>
      --zone <DOMAIN>
      --fingerprint <SHA256>

    Usage: fedi host add --endpoint <URL> --node <NODE> --image <FILE-OR-URL> --addresses <NETWORK,GATEWAY,FIRST,LAST> --resolver <ADDRESS> --zone <DOMAIN> --fingerprint <SHA256> <NAME>

    For more information, try '--help'.
    ");
    assert_snapshot!(machine.fedi(&add("--ca ca.pem")), @"
    exit code: 2
    ----- stderr -----
    error: the argument '--fingerprint <SHA256>' cannot be used with '--ca <FILE>'

    Usage: fedi host add --endpoint <URL> --node <NODE> --image <FILE-OR-URL> --addresses <NETWORK,GATEWAY,FIRST,LAST> --resolver <ADDRESS> --zone <DOMAIN> --fingerprint <SHA256> <NAME>

    For more information, try '--help'.
    ");
    assert_snapshot!(machine.fedi(&add("--addresses 10.0.0.0/8,10.0.0.1")), @"
    exit code: 2
    ----- stderr -----
    error: invalid value '10.0.0.0/8,10.0.0.1' for '--addresses <NETWORK,GATEWAY,FIRST,LAST>': it must have four parts: NETWORK,GATEWAY,FIRST,LAST

    For more information, try '--help'.
    ");
    assert_snapshot!(machine.fedi(&add("--addresses 10.0.0.0/8,10.0.0.1,10.0.0.2,11.0.0.1")), @"
    exit code: 2
    ----- stderr -----
    error: Failed to describe host `pve1`
      Caused by: The last address `11.0.0.1` is outside `10.0.0.0/8`
    ");
    assert_snapshot!(machine.fedi(&add("").replace("pve1 --endpoint https:", "Pve_1 --endpoint https:")), @"
    exit code: 2
    ----- stderr -----
    error: invalid value 'Pve_1' for '<NAME>': `Pve_1` is no valid host name: only lower-case letters, digits and `-` are allowed

    For more information, try '--help'.
    ");
    assert_snapshot!(machine.fedi(&add("").replace("https://192.0.2.2:8006", "http://192.0.2.2:8006/api2")), @"
    exit code: 2
    ----- stderr -----
    error: Failed to describe host `pve1`
      Caused by: `hypervisor.endpoint` must begin with `https://`

    hint: Write it as `https://pve.example.org:8006`
    ");
    assert!(!machine.path("inventory/hosts/pve1").exists());
}
