//! A new inventory.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fedi_inventory::{Environment, FLAKE_PLACEHOLDER, Folder, InitError, InitOptions, init};

fn environment(home: &Path) -> Environment {
    Environment::fixed([("HOME", home.to_str().unwrap())])
}

fn paths(texts: &[&str]) -> Vec<PathBuf> {
    texts.iter().map(PathBuf::from).collect()
}

#[test]
fn the_second_time_nothing_changes() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("My Coop");
    let environment = environment(home.path());
    let options = InitOptions {
        email: Some("me@example.org".to_owned()),
        more: vec![("README.md".into(), "# Ours\n".to_owned())],
        ..InitOptions::default()
    };
    let first = init(&root, &options, &environment).unwrap();
    let config = home.path().join(".config/fedi");
    let (age, ssh) = (config.join("age.key"), config.join("ssh_ed25519"));
    let mut expected = paths(&[
        ".schema/fedi.json",
        ".schema/host.json",
        ".schema/deployment.json",
        "fedi.toml",
        "hosts/.gitkeep",
        ".gitignore",
        "flake.nix",
        "README.md",
    ]);
    expected.extend([age.clone(), ssh.clone()]);
    assert_eq!(first.made, expected);
    assert_eq!(first.kept, paths(&[]));

    let folder = Folder::load(&root, environment.clone()).unwrap();
    assert_eq!(folder.fedi().name, "my-coop");
    assert_eq!(folder.fedi().operator.email.as_deref(), Some("me@example.org"));

    fs::write(root.join("fedi.toml"), "# mine\nname = \"coop\"\n").unwrap();
    let key = fs::read(&age).unwrap();
    let second = init(&root, &options, &environment).unwrap();
    assert_eq!(second.made, paths(&[]));
    assert_eq!(second.kept, expected);
    assert_eq!(second.age_recipient, None);
    assert_eq!(fs::read(&age).unwrap(), key);
    assert_eq!(fs::read_to_string(root.join("fedi.toml")).unwrap(), "# mine\nname = \"coop\"\n");
}

#[test]
fn the_flake_says_where_fedi_is() {
    let home = tempfile::tempdir().unwrap();
    let environment = environment(home.path());
    let made = |name: &str, url: Option<&str>| {
        let root = home.path().join(name);
        let options = InitOptions { flake_url: url.map(str::to_owned), ..InitOptions::default() };
        init(&root, &options, &environment).map(|_| fs::read_to_string(root.join("flake.nix")).unwrap())
    };
    let template = include_str!("../../../modules/template/flake.nix");
    assert_eq!(made("as-it-is", None).unwrap(), template);
    assert_eq!(template.matches(FLAKE_PLACEHOLDER).count(), 1);
    let url = "git+file:///home/me/fedi";
    assert_eq!(made("clone", Some(url)).unwrap(), template.replace(FLAKE_PLACEHOLDER, url));
    for bad in ["fedi", "github:a/b\"; x = \"", "git+file://${x}", "path:/a b"] {
        assert!(matches!(made("bad", Some(bad)), Err(InitError::FlakeUrl { .. })), "{bad}");
    }
    assert!(!home.path().join("bad").exists(), "nothing is half made");
}

#[test]
fn keys_are_the_operators_alone() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("coop");
    let report = init(&root, &InitOptions::default(), &environment(home.path())).unwrap();
    let config = home.path().join(".config/fedi");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config), 0o700);
    assert_eq!(mode(&config.join("age.key")), 0o600);
    assert_eq!(mode(&config.join("ssh_ed25519")), 0o600);
    let identity = fs::read_to_string(config.join("age.key")).unwrap();
    let recipient = report.age_recipient.unwrap();
    assert!(identity.contains(&recipient) && identity.contains("AGE-SECRET-KEY-1"));
    let public = fs::read_to_string(config.join("ssh_ed25519.pub")).unwrap();
    assert!(public.starts_with("ssh-ed25519 AAAA") && public.trim_end().ends_with("fedi coop"), "{public}");
    // Both may stand in the file that names them.
    let keys = toml_array(public.trim());
    fs::write(
        root.join("fedi.toml"),
        format!("name = \"a\"\nssh.authorized-keys = {keys}\nsecrets.recipients = {}\n", toml_array(&recipient)),
    )
    .unwrap();
    Folder::load(&root, environment(home.path())).unwrap();
}

fn toml_array(text: &str) -> String {
    fedi_inventory::toml_edit::Array::from_iter([text]).to_string()
}

#[test]
fn a_schema_of_an_older_fedi_is_brought_up_to_date() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("coop");
    init(&root, &InitOptions::default(), &environment(home.path())).unwrap();
    fs::write(root.join(".schema/host.json"), "{}").unwrap();
    let again = init(&root, &InitOptions::default(), &environment(home.path())).unwrap();
    assert_eq!(again.made, paths(&[".schema/host.json"]));
}

#[test]
fn what_cannot_be() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("123");
    let error = init(&root, &InitOptions::default(), &environment(home.path())).unwrap_err();
    assert!(matches!(error, InitError::Name { .. }), "{error}");
    assert!(!root.exists(), "nothing half-made");
    let root = home.path().join("coop");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("fedi.toml"), "nam = \"a\"\n").unwrap();
    let error = init(&root, &InitOptions::default(), &environment(home.path())).unwrap_err();
    assert!(matches!(error, InitError::Load(_)), "{error}");
    assert!(!home.path().join(".config").exists());
}

#[test]
fn the_flake_is_the_template_of_the_repositorys_flake() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let template = fs::read_to_string(here.join("../../modules/template/flake.nix")).unwrap();
    let copy = fs::read_to_string(here.join("src/template/flake.nix")).unwrap();
    assert_eq!(copy, template, "copy modules/template/flake.nix to src/template/");
}
