//! The program: configuration from a file, commands on its socket, state that survives SIGKILL.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::common::{Api, Client};

const CONFIG: &str = r#"
version = "9.2.11"

[[node]]
name = "pve"

[[storage]]
id = "local"
type = "dir"
path = "/var/lib/vz"
content = ["images", "import"]

[[token]]
id = "root@pam!full"
privsep = false
secret_file = "SECRET"
"#;

const SECRET: &str = "5b3c9d1e-0000-4000-8000-00000000abcd";

struct Running {
    child: Child,
    api: Api,
}

fn run(folder: &Path) -> Running {
    let config = folder.join("sim.toml");
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    std::fs::write(&config, CONFIG.replace("SECRET", folder.join("secret").to_str().unwrap())).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fedi-sim"))
        .args(["--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .arg("--state")
        .arg(folder.join("state"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut value = |key: &str| lines.next().unwrap().unwrap().strip_prefix(key).unwrap().trim().to_owned();
    let (url, fingerprint) = (value("url"), value("fingerprint"));
    let address = url.strip_prefix("https://").unwrap().parse().unwrap();
    let token = format!("root@pam!full={SECRET}");
    Running { child, api: Api { client: Client::new(address, &fingerprint), token, clock: None } }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn command(folder: &Path, command: &Value) -> Value {
    let mut stream = UnixStream::connect(folder.join("state/control.sock")).unwrap();
    writeln!(stream, "{command}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test]
async fn state_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    {
        let sim = run(folder.path());
        let upid = sim.api.post("/nodes/pve/qemu", json!({"vmid": 101, "name": "kept"})).await.upid();
        assert_eq!(sim.api.wait(&upid).await, "OK");
        let reply = command(folder.path(), &json!({"command": "quorum", "quorate": false}));
        assert_eq!(reply["ok"], true);
        let refused = sim.api.post("/nodes/pve/qemu", json!({"vmid": 102})).await;
        assert_eq!(refused.reason, "cluster not ready - no quorum?");
        assert_eq!(command(folder.path(), &json!({"command": "nonsense"}))["ok"], false);
    }
    let sim = run(folder.path());
    assert_eq!(sim.api.get("/nodes/pve/qemu/101/config").await.data()["name"], "kept");
}

#[test]
fn help_names_its_options() {
    let output = Command::new(env!("CARGO_BIN_EXE_fedi-sim")).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for option in ["--config", "--listen", "--state", "--control"] {
        assert!(text.contains(option), "{text}");
    }
}
