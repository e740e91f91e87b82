//! Changes to an inventory's files.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use fedi_inventory::{EditError, Environment, Folder, InitOptions, NewHost, toml_edit};
use fedi_model::inventory::{AddressPool, Credential, Tls};
use fedi_model::{AppName, DeploymentName, Domain, HostName};
use tempfile::TempDir;

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn new_host() -> NewHost {
    NewHost {
        endpoint: "https://pve.example.org:8006".to_owned(),
        tls: Tls::Fingerprints(vec![vec!["AB"; 32].join(":")]),
        token: Credential::File("credentials/a/token".to_owned()),
        node: "pve1".to_owned(),
        pool: "fedi".to_owned(),
        vm_storage: "local-lvm".to_owned(),
        image_storage: "local".to_owned(),
        bridge: "vmbr0".to_owned(),
        image: "result/guest.qcow2".to_owned(),
        image_sha256: None,
        pools: vec![AddressPool {
            network: "192.0.2.0/24".parse().unwrap(),
            gateway: "192.0.2.1".parse().unwrap(),
            first: "192.0.2.10".parse().unwrap(),
            last: "192.0.2.99".parse().unwrap(),
            quarantine_hours: 24,
        }],
        resolvers: vec!["192.0.2.53".parse().unwrap()],
        zones: vec![name("example.org")],
    }
}

/// An inventory with the hosts `a` and `b`, as the commands make it.
fn inventory() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = InitOptions { name: Some("coop".to_owned()), ..InitOptions::default() };
    fedi_inventory::init(folder.path(), &options, &environment(folder.path())).unwrap();
    for host in ["a", "b"] {
        fedi_inventory::add_host(folder.path(), &name(host), &new_host()).unwrap();
    }
    folder
}

fn environment(root: &Path) -> Environment {
    Environment::fixed([("FEDI_CONFIG_DIR", root.join("config").to_str().unwrap())])
}

fn load(folder: &TempDir) -> Folder {
    Folder::load(folder.path(), environment(folder.path())).unwrap()
}

fn add(folder: &TempDir, host: &str, deployment: &str) -> Result<std::path::PathBuf, EditError> {
    let domain: Domain = name(&format!("{deployment}.example.org"));
    fedi_inventory::add_deployment(folder.path(), &name(host), &name(deployment), &name::<AppName>("matrix"), &domain)
}

fn chat() -> (HostName, DeploymentName) {
    (name("a"), name("chat"))
}

#[test]
fn what_is_added_is_read_as_it_was_meant() {
    let folder = inventory();
    add(&folder, "a", "chat").unwrap();
    let read = load(&folder);
    let (_, host) = read.host("a").unwrap();
    assert_eq!(host.hypervisor.tls, new_host().tls);
    assert_eq!(host.hypervisor.token, new_host().token);
    assert_eq!(host.address_pools, new_host().pools);
    assert_eq!(host.resolvers, new_host().resolvers);
    assert_eq!(host.dns.zones[0].name, new_host().zones[0]);
    assert_eq!(read.deployment("chat").unwrap().host, chat().0);
}

#[test]
fn files_name_their_schema() {
    let folder = inventory();
    let path = add(&folder, "a", "chat").unwrap();
    for (path, line) in [
        (folder.path().join("fedi.toml"), "#:schema .schema/fedi.json"),
        (folder.path().join("hosts/a/host.toml"), "#:schema ../../.schema/host.json"),
        (path, "#:schema ../../../.schema/deployment.json"),
    ] {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some(line));
        let schema = path.parent().unwrap().join(line.strip_prefix("#:schema ").unwrap());
        assert!(schema.is_file(), "{}", schema.display());
    }
}

#[test]
fn what_is_there_is_not_overwritten() {
    let folder = inventory();
    add(&folder, "a", "chat").unwrap();
    for host in ["a", "b"] {
        let error = add(&folder, host, "chat").unwrap_err();
        assert_eq!(error.to_string(), "`hosts/a/deployments/chat.toml` is there already");
    }
    let error = fedi_inventory::add_host(folder.path(), &name("a"), &new_host()).unwrap_err();
    assert!(matches!(error, EditError::Exists { .. }), "{error}");
    let error = add(&folder, "c", "talk").unwrap_err();
    assert_eq!(error.to_string(), "`hosts/c/host.toml` is not there");
}

#[test]
fn a_host_that_would_be_wrong_is_not_written() {
    let folder = inventory();
    let mut host = new_host();
    host.endpoint = "http://pve".to_owned();
    host.pools[0].last = "198.51.100.1".parse().unwrap();
    let error = fedi_inventory::add_host(folder.path(), &name("c"), &host).unwrap_err();
    assert!(error.to_string().starts_with("The inventory has 2 problems"), "{error}");
    assert!(!folder.path().join("hosts/c").exists());
}

#[test]
fn comments_and_order_stay() {
    let folder = inventory();
    let path = add(&folder, "a", "chat").unwrap();
    let before = "# mine\ndomain = \"chat.example.org\" # forever\napp   =   \"matrix\"\n\n[resources]\n\
                  memory-mib = 2048 # enough?\n# last words\n";
    fs::write(&path, before).unwrap();
    let (host, chat) = chat();
    let set = |key: &str, value: toml_edit::Value| {
        fedi_inventory::set_in_deployment(folder.path(), &host, &chat, key, Some(value))
    };
    assert!(set("resources.memory-mib", 4096.into()).unwrap());
    assert!(!set("resources.memory-mib", 4096.into()).unwrap(), "nothing is left to change");
    assert!(set("settings.max-upload", "50M".into()).unwrap());
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        before.replace("2048", "4096").replace("# last words\n", "\n[settings]\nmax-upload = \"50M\"\n# last words\n")
    );
    let unset = |key| fedi_inventory::set_in_deployment(folder.path(), &host, &chat, key, None).unwrap();
    assert!(unset("settings.max-upload"));
    assert!(!unset("settings.max-upload"));
    assert!(!unset("dns.caa"));
}

#[test]
fn a_change_that_would_be_wrong_changes_nothing() {
    let folder = inventory();
    let path = add(&folder, "a", "chat").unwrap();
    let before = fs::read_to_string(&path).unwrap();
    let (host, chat) = chat();
    for (key, value, told) in [
        ("resources.memory", 4096.into(), "Unknown key `resources.memory`"),
        ("resources.cores", "2".into(), "`resources.cores` must be a whole number, not a string"),
        ("resources.cores", 0.into(), "`resources.cores` must be between 1 and 512"),
        ("domain.sub", 1.into(), "`domain.sub` cannot be set: `domain` is no table"),
    ] {
        let value: toml_edit::Value = value;
        let error = fedi_inventory::set_in_deployment(folder.path(), &host, &chat, key, Some(value)).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
    let value = Some("mailto".into());
    assert!(fedi_inventory::set_in_fedi(folder.path(), "operator.email", value).is_err());
    let value = Some("me@example.org".into());
    assert!(fedi_inventory::set_in_fedi(folder.path(), "operator.email", value).unwrap());
    assert!(fedi_inventory::set_in_host(folder.path(), &name("a"), "dns.ttl", Some(60.into())).unwrap());
    assert_eq!(load(&folder).host("a").unwrap().1.dns.ttl, 60);
}

#[test]
fn a_deployment_moves_with_its_nix_file() {
    let folder = inventory();
    let path = add(&folder, "a", "chat").unwrap();
    fs::write(path.with_extension("nix"), "{ }").unwrap();
    let (a, chat) = chat();
    let b: HostName = name("b");
    fedi_inventory::move_deployment(folder.path(), &chat, &a, &b).unwrap();
    let read = load(&folder);
    let moved = read.deployment("chat").unwrap();
    assert!(moved.host == b && moved.has_nix);
    let error = fedi_inventory::move_deployment(folder.path(), &chat, &a, &b).unwrap_err();
    assert!(matches!(error, EditError::Missing { .. }), "{error}");
    // Interrupted after the `.nix` was copied: the next try goes on.
    fs::create_dir_all(folder.path().join("hosts/a/deployments")).unwrap();
    fs::write(folder.path().join("hosts/a/deployments/chat.nix"), "{ }").unwrap();
    assert!(Folder::load(folder.path(), environment(folder.path())).is_err());
    fedi_inventory::move_deployment(folder.path(), &chat, &b, &a).unwrap();
    assert_eq!(load(&folder).deployment("chat").unwrap().host, a);
}

#[test]
fn removing() {
    let folder = inventory();
    add(&folder, "a", "chat").unwrap();
    let (a, chat) = chat();
    let error = fedi_inventory::remove_host(folder.path(), &a).unwrap_err();
    assert_eq!(error.to_string(), "Host `a` still has `chat`");
    fedi_inventory::remove_deployment(folder.path(), &a, &chat).unwrap();
    fedi_inventory::remove_deployment(folder.path(), &a, &chat).unwrap();
    fedi_inventory::remove_host(folder.path(), &a).unwrap();
    assert!(load(&folder).host("a").is_err());
    assert!(!folder.path().join("hosts/a").exists());
}

fn fence() -> fedi_model::manifest::Fence {
    serde_json::from_value(serde_json::json!({
        "set": { "serverName": "chat.example.org", "federation.enable": false },
        "unset": ["smtp", "federation.allow", "turn"]
    }))
    .unwrap()
}

fn copy(folder: &TempDir, host: &str) -> Result<std::path::PathBuf, EditError> {
    let read = load(folder);
    let from = read.deployment("chat").unwrap();
    fedi_inventory::add_clone(folder.path(), from, &name(host), &name("copy"), &name("copy.example.org"), &fence())
}

#[test]
fn a_copy_has_what_the_first_says_and_the_fence() {
    let folder = inventory();
    let first = add(&folder, "a", "chat").unwrap();
    let schema = fs::read_to_string(&first).unwrap().lines().next().unwrap().to_owned();
    fs::write(
        &first,
        format!(
            "{schema}\n\napp = \"matrix\"\ndomain = \"chat.example.org\" # as people know it\n\n[resources]\nstate-gib = 40\n\n\
             [backup]\nconsistency = \"quiesced\"\n\n[settings]\n# Quiet.\npresence = false\n\n[settings.federation]\n\
             allow = [\"example.net\"]\npublicRooms = true\n\n[settings.smtp]\nhost = \"smtp.example.org\"\n"
        ),
    )
    .unwrap();
    let before = fs::read_to_string(&first).unwrap();
    let path = copy(&folder, "b").unwrap();
    assert!(path.ends_with("hosts/b/deployments/copy.toml"), "{}", path.display());
    insta::assert_snapshot!(fs::read_to_string(&path).unwrap());
    assert_eq!(fs::read_to_string(&first).unwrap(), before);
    let read = load(&folder);
    let copy = read.deployment("copy").unwrap();
    assert_eq!((copy.host.as_str(), copy.domain().as_str()), ("b", "copy.example.org"));
    assert_eq!(copy.file.resources.state_gib, Some(40));
    assert_eq!(copy.file.backup, fedi_model::inventory::BackupWishes::default());
}

#[test]
fn a_copy_of_what_has_no_settings_has_the_fence() {
    let folder = inventory();
    let first = add(&folder, "a", "chat").unwrap();
    fs::write(&first, "app = \"matrix\"\ndomain = \"chat.example.org\"\n").unwrap();
    copy(&folder, "a").unwrap();
    let read = load(&folder);
    let settings = serde_json::to_value(&read.deployment("copy").unwrap().file.settings).unwrap();
    let wanted = serde_json::json!({ "serverName": "chat.example.org", "federation": { "enable": false } });
    assert_eq!(settings, wanted);
}

#[test]
fn a_copy_overwrites_nothing() {
    let folder = inventory();
    add(&folder, "a", "chat").unwrap();
    copy(&folder, "a").unwrap();
    for host in ["a", "b"] {
        let error = copy(&folder, host).unwrap_err();
        assert_eq!(error.to_string(), "`hosts/a/deployments/copy.toml` is there already");
    }
}
