//! What is told about an inventory with mistakes in it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use fedi_inventory::{Environment, Folder, LoadError};
use tempfile::TempDir;

const FEDI: &str = "name = \"coop\"\n";

const HOST: &str = r#"
[hypervisor]
endpoint = "https://pve.example.org:8006"
tls = "system"
token = { file = "token" }
node = "pve1"
vm-storage = "local-lvm"
image-storage = "local"

[image]
source = "guest.qcow2"

[[addresses]]
network = "192.0.2.0/24"
gateway = "192.0.2.1"
first = "192.0.2.10"
last = "192.0.2.99"

[dns]
[[dns.zones]]
name = "example.org"
provider = "desec"

[dns.providers.desec]
class = "octodns_desec.DesecProvider"
packages = ["octodns-desec==1.0.0"]
"#;

const DEPLOYMENT: &str = "app = \"matrix\"\ndomain = \"chat.example.org\"\n";

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn load(root: &Path) -> Result<Folder, LoadError> {
    Folder::load(root, Environment::fixed([("HOME", "/home/me")]))
}

/// Loads a good inventory with these files put in or replaced; returns what is told.
fn told(files: &[(&str, &str)]) -> String {
    let mut all = vec![("fedi.toml", FEDI), ("hosts/a/host.toml", HOST), ("hosts/a/deployments/chat.toml", DEPLOYMENT)];
    all.extend(files);
    match load(folder(&all).path()) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The good `host.toml` with one text replaced gives one problem with this text.
#[track_caller]
fn host(replace: &str, with: &str, expected: &str) {
    assert!(HOST.contains(replace), "{replace}");
    let told = told(&[("hosts/a/host.toml", &HOST.replacen(replace, with, 1))]);
    let (_, problem) = told.split_once("hosts/a/host.toml:").unwrap_or(("", &told));
    assert_eq!(problem, expected);
}

#[test]
fn a_good_one() {
    assert_eq!(told(&[]), "nothing");
}

#[test]
fn everything_at_once() {
    let told = told(&[
        (
            "fedi.toml",
            "name = \"The Coop\"\noperater = { email = \"me\" }\n[secrets]\nrecipients = [\"AGE-SECRET-KEY-1QQQ\"]\n",
        ),
        (
            "hosts/a/host.toml",
            &HOST
                .replace("token = { file = \"token\" }", "token = \"fedi@pve!x=1234\"")
                .replace("node =", "nod =")
                .replace("192.0.2.99", "192.0.2.999"),
        ),
        ("hosts/a/deployments/chat.toml", "app = matrix\ndomain = \"chat.example.org\"\n"),
        ("hosts/a/deployments/Chat.toml", DEPLOYMENT),
        ("hosts/a/deployments/blog.toml", "app = 1\ndomain = \"blog\"\n[resources]\nmemory = 4096\ncores = \"2\"\n"),
        ("hosts/a/deployments/bolg.nix", "{ }"),
        ("hosts/b/deployments/x.toml", DEPLOYMENT),
    ]);
    assert!(!told.contains("1234"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn problems_between_files() {
    let told = told(&[
        ("hosts/a/deployments/talk.toml", DEPLOYMENT),
        ("hosts/b/host.toml", HOST),
        ("hosts/b/deployments/chat.toml", "app = \"matrix\"\ndomain = \"chat.example.com\"\n"),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn hypervisor() {
    host(
        "https://pve.example.org:8006",
        "http://pve.example.org:8006",
        "3:1: `hypervisor.endpoint` must begin with `https://`\n    hint: Write it as `https://pve.example.org:8006`",
    );
    host(
        "https://pve.example.org:8006",
        "https://root:x@pve.example.org:8006",
        "3:1: `hypervisor.endpoint` must not hold a user or a password\n    \
         hint: Write it as `https://pve.example.org:8006`",
    );
    host(
        "tls = \"system\"",
        "tls = \"any\"",
        "4:1: `hypervisor.tls` cannot be `any`\n    hint: Known: `system`, `fingerprints` and `ca`",
    );
    host(
        "tls = \"system\"",
        "tls = { fingerprints = [\"AA:BB\"] }",
        "4:25: `AA:BB` is no SHA-256 fingerprint\n    \
         hint: It is 32 pairs of hexadecimal digits with `:` between; `pvenode cert info` prints it",
    );
    host(
        "tls = \"system\"",
        "tls = { ca = \"a\", fingerprints = [] }",
        "4:1: `hypervisor.tls` needs exactly one of `fingerprints` and `ca`",
    );
    host(
        "token = { file = \"token\" }",
        "token = { env = \"a secret\" }",
        "5:11: `hypervisor.token.env` is no name of an environment variable\n    \
         hint: Write the name of the variable, not its value",
    );
    host("node = \"pve1\"", "node = \"pve_1\"", "6:1: `pve_1` cannot be the name of a node");
    host("node = \"pve1\"", "node = \"pve1\"\nvlan = 4095", "7:1: `hypervisor.vlan` must be between 1 and 4094");
    host("node = \"pve1\"", "node = \"pve1\"\nvlan = -1", "7:1: `hypervisor.vlan` must be between 0 and 65535");
    host(
        "node = \"pve1\"",
        "node = \"pve1\"\nfirst-vmid = 99",
        "7:1: `hypervisor.first-vmid` must be between 100 and 999999999",
    );
    host(
        "node = \"pve1\"",
        "node = \"pve1\"\nfirst-vmid = 10000",
        "7:1: `hypervisor.first-vmid` (10000) is greater than `last-vmid` (9999)",
    );
    host("node = \"pve1\"\n", "", "2:2: Missing key `hypervisor.node`\n    hint: The node that new guests go to");
}

#[test]
fn a_slip_is_told_once_and_hides_nothing() {
    let host = HOST.replace("node =", "nod =").replace("[[addresses]]", "[[adresses]]").replace("2.99", "3.99");
    assert_eq!(
        told(&[("hosts/a/host.toml", &host)]),
        "The inventory has 3 problems\n  \
         hosts/a/host.toml:6:1: Unknown key `hypervisor.nod`\n    hint: Did you mean `node`?\n  \
         hosts/a/host.toml:13:3: Unknown key `adresses`\n    hint: Did you mean `addresses`?\n  \
         hosts/a/host.toml:17:1: The last address `192.0.3.99` is outside `192.0.2.0/24`"
    );
}

#[test]
fn image_and_system() {
    host(
        "source = \"guest.qcow2\"",
        "source = \"https://example.org/guest.qcow2\"",
        "11:1: An image from a URL needs `image.sha256`\n    hint: Download it once and run `sha256sum` on it",
    );
    host(
        "source = \"guest.qcow2\"",
        "source = \"http://example.org/guest.qcow2\"",
        "11:1: `image.source` must be a file or an `https://` URL",
    );
    host(
        "source = \"guest.qcow2\"",
        "source = \"guest.qcow2\"\nsha256 = \"abc\"",
        "12:1: `image.sha256` is no SHA-256 digest\n    hint: It has 64 hexadecimal digits; `sha256sum` prints it",
    );
    host(
        "[dns]",
        "[system]\ndriver = \"prebuild\"\n[dns]",
        "20:1: `system.driver` cannot be `prebuild`\n    hint: Did you mean `prebuilt`?",
    );
    host(
        "[dns]",
        "[system]\ndriver = \"prebuilt\"\n[dns]",
        "19:2: `system.driver = \"prebuilt\"` needs `system.folder`\n    \
         hint: Name the folder that holds one folder an application",
    );
}

#[test]
fn addresses() {
    host(
        "192.0.2.0/24",
        "192.0.2.5/24",
        "14:1: `192.0.2.5/24` is an address, not a network\n    hint: Write `192.0.2.0/24`",
    );
    host(
        "192.0.2.0/24",
        "192.0.2.0",
        "14:1: `192.0.2.0` is no network; write one as `192.0.2.0/24` or `2001:db8::/64`",
    );
    host(
        "gateway = \"192.0.2.1\"",
        "gateway = \"192.0.3.1\"",
        "15:1: The gateway `192.0.3.1` is outside `192.0.2.0/24`",
    );
    host(
        "gateway = \"192.0.2.1\"",
        "gateway = \"192.0.2.50\"",
        "15:1: The gateway `192.0.2.50` lies between `first` and `last`\n    \
         hint: A guest would get the router's address: leave it out of the range",
    );
    host(
        "first = \"192.0.2.10\"",
        "first = \"192.0.2.100\"",
        "16:1: The first address `192.0.2.100` is greater than the last one `192.0.2.99`",
    );
    host("192.0.2.99", "192.0.2.255", "16:1: The range holds the broadcast address `192.0.2.255`");
    host("192.0.2.99", "2001:db8::1", "17:1: The last address `2001:db8::1` is outside `192.0.2.0/24`");
    host(
        "[dns]",
        "[[addresses]]\nnetwork = \"192.0.2.0/24\"\ngateway = \"192.0.2.1\"\nfirst = \"192.0.2.90\"\n\
         last = \"192.0.2.120\"\n[dns]",
        "22:1: The range overlaps that of `addresses[0]` (`192.0.2.0/24`)",
    );
    host(
        "[dns]",
        "[[addresses]]\nnetwork = \"192.0.0.0/16\"\ngateway = \"192.0.0.1\"\nfirst = \"192.0.3.1\"\n\
         last = \"192.0.3.9\"\n[dns]",
        "20:1: `192.0.0.0/16` and `192.0.2.0/24` of `addresses[0]` (line 14) overlap\n    \
         hint: One network has one prefix length: write the one that the router has in both",
    );
}

#[test]
fn packages_of_providers() {
    let packages = "packages = [\"octodns-desec==1.0.0\"]";
    host(
        packages,
        "",
        "25:1: Nothing brings the Python module `octodns_desec`\n    \
         hint: Name its package and a version: `packages = [\"octodns-desec==1.0.0\"]`",
    );
    for bad in ["octodns-desec", "octodns-desec>=1", "-rlist==1", "octodns-desec==1.0 --pre", "git+https://a==1"] {
        let told = told(&[("hosts/a/host.toml", &HOST.replace("octodns-desec==1.0.0", bad))]);
        assert!(told.contains("is no package with its version"), "{bad}: {told}");
    }
    host(
        packages,
        "packages = [\"octodns-desec==1.0.0\"]\n[dns.providers.other]\nclass = \"octodns_desec.DesecProvider\"\n\
         packages = [\"octodns_desec==1.0.1\"]",
        "29:13: `octodns_desec` is wanted as 1.0.1 and, in line 26, as 1.0.0",
    );
    host(packages, &format!("{packages}\nmin-ttl = 4294967295"), "27:1: `min-ttl` is at most 2147483647 seconds");
}

#[test]
fn dns() {
    host(
        "provider = \"desec\"",
        "provider = \"dessec\"",
        "22:1: No provider is called `dessec`\n    hint: Did you mean `desec`?",
    );
    host(
        "provider = \"desec\"",
        "",
        "21:1: The zone `example.org` has no provider\n    \
         hint: Set `provider` to one of `[dns.providers]`, or `dns.driver = \"manual\"`",
    );
    host(
        "[dns]",
        "[dns]\ndriver = \"manual\"",
        "23:1: The zone `example.org` has a provider, but `dns.driver` is \"manual\"",
    );
    host("[dns]", "[dns]\nttl = 0", "20:1: `dns.ttl` must be between 1 and 2147483647 seconds");
    host(
        "class = \"octodns_desec.DesecProvider\"",
        "class = \"desec\"",
        "25:1: `desec` is no Python class with its module\n    \
         hint: Write it as in octoDNS' documentation: `octodns_powerdns.PowerDnsProvider`",
    );
    host(
        "class = \"octodns_desec.DesecProvider\"",
        "class = \"a.B\"\nsettings = { token = 1 }\nsecrets = { token = { env = \"TOKEN\" } }",
        "26:14: `token` is both a setting and a secret of provider `desec`",
    );
    host(
        "class = \"octodns_desec.DesecProvider\"",
        "class = \"a.B\"\nsettings = { since = 2026-01-01 }",
        "26:14: `dns.providers.desec.settings.since` cannot be a date or time\n    \
         hint: Write it as a string, in quotes",
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_never_quoted() {
    for (key, value) in [
        ("token = { file = \"token\" }", "token = \"s3cret\""),
        ("token = { file = \"token\" }", "token = { env = \"s3cret!\" }"),
        ("token = { file = \"token\" }", "token = { file = \"a\", env = \"s3cret\" }"),
        ("class = \"octodns_desec.DesecProvider\"", "class = \"a.B\"\nsecrets = { token = \"s3cret\" }"),
    ] {
        let told = told(&[("hosts/a/host.toml", &HOST.replacen(key, value, 1))]);
        assert!(told.starts_with("The inventory has a problem") && !told.contains("s3cret"), "{told}");
    }
    let told = told(&[("fedi.toml", "name = \"a\"\n[ssh]\nauthorized-keys = [\"s3cret PRIVATE KEY\"]\n")]);
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn no_inventory() {
    let empty = tempfile::tempdir().unwrap();
    let error = load(empty.path()).unwrap_err();
    assert!(matches!(error, LoadError::NotFound { .. }));
    assert!(error.hint().unwrap().contains("fedi init"));
    assert!(Folder::find(empty.path()).is_err());
}

#[test]
fn the_root_is_found_from_below() {
    let folder = folder(&[("fedi.toml", FEDI), ("hosts/a/host.toml", HOST)]);
    let below = folder.path().join("hosts/a");
    assert_eq!(Folder::find(&below).unwrap(), folder.path());
}

#[test]
fn repositories_and_what_they_are_logged_in_to_with() {
    let login = r#"credentials = { login = { user = "a", password = { file = "p" } } }"#;
    let keys = r#"credentials = { keys = { id = { file = "i" }, secret = { file = "s" }, region = "garage" } }"#;
    let ssh = r#"credentials = { ssh = { key = { file = "k" }, known-hosts = "host ssh-ed25519 AAAA" } }"#;
    let nobody = r#"credentials = { ssh = { key = { file = "k" }, known-hosts = "" } }"#;
    let loads = |location: &str, more: &str| {
        let fedi = format!("{FEDI}[backups.main]\nlocation = \"{location}\"\n{more}\n");
        let folder = folder(&[("fedi.toml", &fedi)]);
        load(folder.path()).map(drop).map_err(|error| format!("{error:?}"))
    };
    for (location, more) in [
        ("rest:https://host:8000/main/", login),
        ("s3:https://host/bucket/backups", keys),
        ("sftp:backup@host:/srv/fedi", ssh),
        ("sftp://backup@host:2222//srv/fedi", ssh),
        ("/srv/backup", ""),
    ] {
        loads(location, more).unwrap_or_else(|error| panic!("{location}: {error}"));
    }
    for (location, more, wanted) in [
        ("backups/main", "", "no known kind"),
        ("s3:http://host/bucket", keys, "not encrypted"),
        ("rest:https://host:8000/", keys, "Keys go with an `s3:`"),
        ("/srv/backup", login, "A login goes with a `rest:`"),
        ("s3:https://host/bucket", ssh, "An SSH key goes with an `sftp:`"),
        ("sftp:backup@host:/srv/fedi", "", "cannot log in"),
        ("sftp:backup@host:/srv/fedi", nobody, "could be anybody"),
    ] {
        let error = loads(location, more).expect_err(location);
        assert!(error.contains(wanted), "{location}: {error}");
    }
}
