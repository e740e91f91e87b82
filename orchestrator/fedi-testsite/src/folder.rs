//! The inventory of a test site, and what lies around it.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret;
use fedi_inventory::Environment;
use fedi_sim::empty_qcow2;
use sha2::{Digest, Sha256};

/// Where everything of a site is.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// A public key that nobody has the private half of: stand-in guests take no logins.
const SSH_PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsABgH5C9okWi0dh2l9GKJl fedi-testsite\n";

/// What the application of a test site declares: of each kind one, so that runs are short.
const MANIFEST: &str = r#"{ "schema": 1, "apps": { "matrix": {
  "version": "1.0", "upgradesFrom": "1.0", "gate": "fedi-matrix.target",
  "items": {
    "db": { "postgres": { "database": "synapse", "owner": "synapse", "major": 15, "locale": "C" } },
    "media": { "directory": { "path": "/var/lib/matrix-synapse/media_store", "owner": "matrix-synapse" } }
  },
  "order": ["db", "media"],
  "secrets": {
    "signing-key": { "class": "identity", "generator": "synapseSigningKey",
      "path": "/var/lib/fedi/secrets/matrix/signing-key" },
    "macaroon": { "class": "rotatable", "generator": { "hex": { "bytes": 32 } },
      "path": "/var/lib/fedi/secrets/matrix/macaroon", "restartUnits": ["matrix.service"] },
    "smtp-password": { "class": "provider", "generator": { "operator": { "describe": "of the mail server", "optional": true } },
      "path": "/var/lib/fedi/secrets/matrix/smtp-password" }
  },
  "hooks": { "probe": { "unit": "fedi-matrix-probe.service", "timeout": "1m" } },
  "records": [{ "name": "{{ domain }}", "value": "address" }],
  "endpoints": [{ "name": "client API", "url": "https://{{ domain }}/_matrix/client/versions" }],
  "admin": { "unit": "fedi-matrix-admin.service", "login": "admin", "password": "macaroon", "url": "https://{{ domain }}" }
} } }
"#;

/// Where the repository `main` is, unless it is a real one.
const STAND_IN: &str = "/stand-in/main";

/// The timer of the guest's own backups, as the system has it.
const TIMER: &str =
    "{%- if backup.schedule -%}\n[Timer]\nOnCalendar={{ backup.schedule }}\nPersistent=true\n{%- endif -%}";

/// The same of an application that can be copied: the copy's settings fence it in.
fn clonable() -> String {
    let pepper = r#""password-pepper": { "class": "identity", "generator": { "hex": { "bytes": 32 } }, "protects": ["db"],
      "path": "/var/lib/fedi/secrets/matrix/password-pepper" },
    "admin-password": { "class": "session", "generator": { "password": { "length": 20 } },
      "path": "/var/lib/fedi/secrets/matrix/admin-password" },
    "macaroon": {"#;
    let fence = r#""fence": { "set": { "serverName": "{{ settings.serverName | default(value=domain) }}", "federation.enable": false },
      "unset": ["smtp"] },
  "hooks": { {% if settings.serverName and not settings.smtp %}"rehome": { "unit": "fedi-matrix-rehome.service" }, {% endif %}"#;
    let own = MANIFEST.replace(r#""password": "macaroon""#, r#""password": "admin-password""#);
    own.replace(r#""macaroon": {"#, pepper).replace(r#""hooks": {"#, fence)
}

impl Layout {
    /// The site below `root`.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The inventory.
    pub fn inventory(&self) -> PathBuf {
        self.root.join("inventory")
    }

    /// fedi's configuration folder: keys and tokens.
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The journal, and the encrypted secrets below it.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// What stand-ins keep.
    pub fn world(&self) -> PathBuf {
        self.root.join("world")
    }

    /// The guest image.
    pub fn image(&self) -> PathBuf {
        self.root.join("guest.qcow2")
    }

    /// Prebuilt systems.
    pub fn systems(&self) -> PathBuf {
        self.root.join("systems")
    }

    /// The environment that points a fedi to this site.
    pub fn environment(&self) -> Environment {
        Environment::fixed(self.variables())
    }

    /// The same for a process.
    pub fn variables(&self) -> Vec<(String, String)> {
        let folder = |path: PathBuf| path.display().to_string();
        vec![
            ("HOME".to_owned(), folder(self.root.join("home"))),
            ("FEDI_CONFIG_DIR".to_owned(), folder(self.config())),
            ("FEDI_STATE_DIR".to_owned(), folder(self.state())),
        ]
    }

    /// Makes all that does not depend on hosts: keys, image, systems, `fedi.toml`.
    pub(crate) fn make(&self) {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        for folder in [self.config(), self.state(), self.world(), self.root.join("home")] {
            private.create(folder).unwrap();
        }
        for path in [self.config().join("age.key"), self.second_key()] {
            secret_file(&path, age::x25519::Identity::generate().to_string().expose_secret());
        }
        secret_file(&self.config().join("ssh_ed25519"), "of a stand-in\n");
        fs::write(self.config().join("ssh_ed25519.pub"), SSH_PUBLIC).unwrap();
        fs::write(self.image(), empty_qcow2()).unwrap();
        let system = self.systems().join("matrix");
        fs::create_dir_all(system.join("bin")).unwrap();
        fs::write(system.join("bin/switch-to-configuration"), "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(system.join("bin/switch-to-configuration"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(system.join("manifest.json.tera"), MANIFEST).unwrap();
        fs::create_dir_all(system.join("units")).unwrap();
        fs::write(system.join("units/fedi-backup-matrix.timer.tera"), TIMER).unwrap();
        fs::create_dir_all(self.inventory()).unwrap();
        self.write_fedi(&[self.second_recipient()], "");
    }

    /// The age key that the operator keeps elsewhere.
    pub fn second_key(&self) -> PathBuf {
        self.config().join("elsewhere.key")
    }

    fn second_recipient(&self) -> String {
        let key: age::x25519::Identity = fs::read_to_string(self.second_key()).unwrap().trim().parse().unwrap();
        key.to_public().to_string()
    }

    /// Where real repositories are, once [`Layout::use_restic`] was called.
    pub fn repositories(&self) -> PathBuf {
        self.root.join("repositories")
    }

    /// Writes `fedi.toml` with a real repository as `main`; `more` are further lines of it.
    pub fn use_restic(&self, more: &str) {
        fs::create_dir_all(self.repositories()).unwrap();
        self.write_fedi(&[self.second_recipient()], more);
        let path = self.inventory().join("fedi.toml");
        let text = fs::read_to_string(&path).unwrap();
        let real = self.repositories().join("main").display().to_string();
        fs::write(path, text.replace(STAND_IN, &real)).unwrap();
    }

    /// Writes `fedi.toml`; `recipients` can read secrets beside the operator, `more` are
    /// further lines of the repository `main`.
    pub fn write_fedi(&self, recipients: &[String], more: &str) {
        let fedi = format!(
            "name = \"testsite\"\n[operator]\nemail = \"operator@example.test\"\n\
             [secrets]\nrecipients = {recipients:?}\n[backups.main]\nlocation = \"{STAND_IN}\"\n{more}"
        );
        fs::write(self.inventory().join("fedi.toml"), fedi).unwrap();
    }

    /// Gives the application's system another content, and so another name.
    pub fn change_system(&self, text: &str) {
        fs::write(self.systems().join("matrix/version"), text).unwrap();
    }

    /// Gives the application a fence, so that it can be copied.
    pub fn make_clonable(&self) {
        fs::write(self.systems().join("matrix/manifest.json.tera"), clonable()).unwrap();
    }

    /// Writes `host.toml` of a host.
    pub fn write_host(&self, host: &str, toml: &str) {
        let folder = self.inventory().join("hosts").join(host);
        fs::create_dir_all(folder.join("deployments")).unwrap();
        fs::write(folder.join("host.toml"), toml).unwrap();
    }

    /// Writes the file of a deployment; `more` are further lines of it.
    pub fn write_deployment(&self, host: &str, name: &str, domain: &str, more: &str) {
        let file = format!("app = \"matrix\"\ndomain = \"{domain}\"\n{more}");
        let path = self.inventory().join("hosts").join(host).join("deployments").join(format!("{name}.toml"));
        fs::write(path, file).unwrap();
    }

    /// Writes a credential; its name in the configuration folder.
    pub(crate) fn write_credential(&self, name: &str, text: &str) {
        secret_file(&self.config().join(name), text);
    }

    /// SHA-256 of the image, in hexadecimal digits.
    pub fn image_sha256(&self) -> String {
        let content = fs::read(self.image()).unwrap();
        hex::encode(Sha256::digest(content))
    }
}

fn secret_file(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
