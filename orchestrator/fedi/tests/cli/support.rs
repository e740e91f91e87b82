//! Runs the real command in folders of its own and makes a text of what it did, for
//! snapshots: exit code, stdout, stderr, with what differs from run to run filtered out.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use regex::Regex;
use tempfile::TempDir;

/// An operator's machine: inventory, configuration, state and cache in one folder.
pub(crate) struct Machine {
    folder: TempDir,
    filters: Vec<(Regex, String)>,
}

/// What stands for what differs.
const FILTERS: &[(&str, &str)] = &[
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[UUID]"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "[TIME]"),
    (r"(?m)^\d\d:\d\d:\d\d ", "[CLOCK] "),
    (r"\(\d+\.\d s\)", "([SPAN])"),
    (r"@\S+ \(pid \d+\)", "@[MACHINE] (pid [PID])"),
    (r"prebuilt system [0-9a-f]{8}", "prebuilt system [DIGEST]"),
    // Steps of one stage end in any order.
    (r"(?m)^\[CLOCK\] (\[\d+/\d+\] .|undo:) (address|secret) .*\n", ""),
    (r"age1[0-9a-z]{58}", "[RECIPIENT]"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
    (r"`(ssh|python3|rsync)` is `[^`]*`", "`$1` is `[PROGRAM]`"),
];

impl Machine {
    /// A machine with empty folders.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut filters = Vec::new();
        // Longest first: the inventory lies in the folder.
        for (path, word) in [("inventory", "[INVENTORY]"), ("config", "[CONFIG]"), ("state", "[STATE]"), ("", "[HOME]")]
        {
            let path = folder.path().join(path);
            let path = regex::escape(path.to_str().unwrap().trim_end_matches('/'));
            filters.push((Regex::new(&path).unwrap(), word.to_owned()));
        }
        for (pattern, word) in FILTERS {
            filters.push((Regex::new(pattern).unwrap(), (*word).to_owned()));
        }
        fs::create_dir(folder.path().join("inventory")).unwrap();
        Self { folder, filters }
    }

    /// A machine with an inventory that has no hosts yet.
    pub(crate) fn with_inventory() -> Self {
        let machine = Self::new();
        let output = machine.command(&["init"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        machine
    }

    /// A machine with one host, `here`, whose API is at `endpoint`.
    pub(crate) fn with_host(endpoint: &str) -> Self {
        let machine = Self::with_inventory();
        machine.write("inventory/hosts/here/host.toml", &HOST.replace("ENDPOINT", endpoint));
        machine.write_private("config/credentials/here/proxmox-token", TOKEN);
        machine.write("inventory/guest.qcow2", "an image");
        machine.write("inventory/systems/notes/manifest.json.tera", MANIFEST);
        machine.write("inventory/systems/notes/bin/switch-to-configuration", "#!/bin/sh\n");
        machine
    }

    /// The same with a deployment, `notes`.
    pub(crate) fn with_deployment(endpoint: &str) -> Self {
        let machine = Self::with_host(endpoint);
        machine
            .write("inventory/hosts/here/deployments/notes.toml", "app = \"notes\"\ndomain = \"notes.example.org\"\n");
        machine
    }

    /// Replaces what matches `pattern` in snapshots.
    pub(crate) fn filter(mut self, pattern: &str, word: &str) -> Self {
        self.filters.insert(0, (Regex::new(pattern).unwrap(), word.to_owned()));
        self
    }

    /// A path on the machine: `inventory/fedi.toml`, `config/age.key`, `state/state.db`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn write_private(&self, name: &str, text: &str) {
        self.write(name, text);
        self.chmod(name, 0o600);
    }

    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The command in the inventory, with an environment that says nothing else.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fedi"));
        command
            .args(arguments)
            .current_dir(self.path("inventory"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("FEDI_CONFIG_DIR", self.path("config"))
            .env("FEDI_STATE_DIR", self.path("state"))
            .env("FEDI_CACHE_DIR", self.path("cache"))
            .env("USER", "operator")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// Runs `fedi LINE` and tells what it did.
    pub(crate) fn fedi(&self, line: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        self.tell(&self.command(&arguments).output().unwrap())
    }

    /// The same with a text on standard input.
    pub(crate) fn fedi_with_input(&self, line: &str, input: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let mut command = self.command(&arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        self.tell(&child.wait_with_output().unwrap())
    }

    /// What a command did, as the snapshots have it.
    pub(crate) fn tell(&self, output: &Output) -> String {
        let mut text = format!("exit code: {}\n", output.status.code().map_or("none".to_owned(), |it| it.to_string()));
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                let _ = write!(text, "----- {name} -----\n{}", String::from_utf8_lossy(bytes));
            }
        }
        for (pattern, word) in &self.filters {
            text = pattern.replace_all(&text, word.as_str()).into_owned();
        }
        text
    }
}

/// Runs `fedi LINE --json` and reads its stdout: a JSON object a line, each with a schema.
pub(crate) fn json_lines(machine: &Machine, line: &str) -> Vec<serde_json::Value> {
    let arguments: Vec<&str> = line.split_whitespace().chain(["--json"]).collect();
    let output = machine.command(&arguments).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let values: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    for value in &values {
        assert_eq!(value["schema"], 1, "{line}: {value}");
    }
    values
}

/// A small TLS server on loopback that closes every connection after its handshake.
pub(crate) struct TlsServer {
    pub(crate) endpoint: String,
    pub(crate) fingerprint: String,
}

impl TlsServer {
    pub(crate) fn start() -> Self {
        use std::sync::Arc;
        let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = key.cert.der().clone();
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private)
            .unwrap();
        let config = Arc::new(config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), Ok(mut tls)) = (stream, rustls::ServerConnection::new(Arc::clone(&config))) else {
                    continue;
                };
                // The client leaves in the middle: that is what is tested.
                while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
            }
        });
        Self { endpoint, fingerprint: fingerprint(&certificate) }
    }
}

fn fingerprint(der: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

pub(crate) const TOKEN: &str = "fedi@pve!deploy=11111111-2222-3333-4444-555555555555\n";

const HOST: &str = r#"
resolvers = ["192.0.2.1"]

[hypervisor]
endpoint = "ENDPOINT"
tls = { fingerprints = ["00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF"] }
token = { file = "credentials/here/proxmox-token" }
node = "pve1"
pool = "fedi"
vm-storage = "local-lvm"
image-storage = "local"
bridge = "vmbr0"

[image]
source = "guest.qcow2"

[system]
driver = "prebuilt"
folder = "systems"

[[addresses]]
network = "192.0.2.0/24"
gateway = "192.0.2.1"
first = "192.0.2.10"
last = "192.0.2.12"

[dns]
driver = "manual"

[[dns.zones]]
name = "example.org"
"#;

const MANIFEST: &str = include_str!("notes.json");
