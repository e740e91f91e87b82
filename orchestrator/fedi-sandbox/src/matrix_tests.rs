//! The prebuilt system `matrix` on a real guest: dormant without its lease, refuses to start without its secrets,
//! gets its certificate from the sandbox's authority, survives a reboot, a second activation and a broken one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fedi_sim::backend::GuestBackend as _;
use uuid::Uuid;

use crate::command::output;
use crate::layout::Layout;
use crate::nspawn::{NspawnBackend, NspawnSettings};
use crate::testing::{Lab, recipe, skipped};
use crate::{acme, dns};

const DOMAIN: &str = "matrix.example.test";
/// How long the application may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);
const SYSTEMS: &str = "/var/lib/fedi/systems";

fn agent() -> Result<PathBuf, String> {
    let cache = std::env::var_os("FEDI_CACHE_DIR")
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/fedi"), PathBuf::from);
    let agent = cache.join("bin/fedi-guest");
    if agent.is_file() { Ok(agent) } else { Err("no fedi-guest in the cache; `make setup` builds it".to_owned()) }
}

/// Fills the templates in, as fedi's driver for prebuilt systems does.
fn fill(system: &Path, place: &Path, email: &str) {
    let mut context = tera::Context::new();
    context.insert("domain", DOMAIN);
    context.insert("email", email);
    context.insert("settings", &serde_json::json!({}));
    let args = ["-rL", "--preserve=mode"].map(std::ffi::OsStr::new).into_iter();
    output("copy", "cp", args.chain([system.as_os_str(), place.as_os_str()])).unwrap();
    let found = output("find", "find", [place.to_str().unwrap(), "-name", "*.tera"]).unwrap();
    for template in found.lines() {
        let text = tera::Tera::one_off(&std::fs::read_to_string(template).unwrap(), &context, false).unwrap();
        std::fs::write(template, text).unwrap();
        std::fs::rename(template, template.strip_suffix(".tera").unwrap()).unwrap();
    }
}

/// A guest with the system on it, and the servers it talks to.
struct Case {
    lab: Lab,
    uuid: Uuid,
    systems: PathBuf,
}

impl Case {
    async fn new() -> Option<Self> {
        let system = skipped(recipe("systems/matrix/build"))?;
        let agent = skipped(agent())?;
        let mut lab = Lab::new("matrix")?;
        let layout = Layout { root: lab.folder.path().join("sandbox") };
        layout.create().unwrap();
        crate::sandbox::write_etc(&layout).unwrap();
        dns::ensure(&layout, lab.cgroup.child("dns"), &lab.namespace, "key").unwrap();
        acme::ensure(&layout, lab.cgroup.child("acme"), &lab.namespace).unwrap();
        let settings = Lab::settings(&lab.name, lab.folder.path());
        let settings = NspawnSettings { trusted_ca: Some(layout.ca()), agent: Some(agent), ..settings };
        lab.backend = NspawnBackend::new(settings).unwrap();
        let spec = lab.spec();
        lab.backend.start(&spec).await.unwrap();
        lab.up(spec.uuid).await;

        let systems = lab.folder.path().join("systems");
        std::fs::create_dir(&systems).unwrap();
        fill(&system, &systems.join("first"), "operator@example.test");
        fill(&system, &systems.join("second"), "somebody@example.test");
        fill(Path::new(&format!("{}-broken", system.display())), &systems.join("broken"), "operator@example.test");
        let case = Self { lab, uuid: spec.uuid, systems };
        for name in ["first", "second", "broken"] {
            case.copy(name).await;
        }
        Some(case)
    }

    async fn copy(&self, name: &str) {
        let archive = self.lab.folder.path().join("system.tar");
        let pack = ["-C", self.systems.to_str().unwrap(), "-cf", archive.to_str().unwrap(), name];
        output("pack", "tar", pack).unwrap();
        let line = format!("mkdir -p {SYSTEMS} && tar -C {SYSTEMS} -x");
        let argv = ["sh", "-euc", &line].map(str::to_owned);
        let out = self.lab.backend.exec(self.uuid, &argv, &std::fs::read(archive).unwrap()).await.unwrap();
        assert_eq!(out.status, 0);
    }

    async fn shell(&self, line: &str) -> String {
        self.lab.shell(self.uuid, line).await
    }

    /// A command's exit status and all that it said.
    async fn attempt(&self, line: &str) -> (i32, String) {
        let argv = ["sh", "-uc", &format!("{line} 2>&1")].map(str::to_owned);
        let out = self.lab.backend.exec(self.uuid, &argv, &[]).await.unwrap();
        (out.status, String::from_utf8_lossy(&out.stdout).into_owned())
    }

    async fn activate(&self, name: &str) -> (i32, String) {
        let token = Uuid::new_v4();
        let (status, text) = self.attempt(&format!("fedi-guest activate {SYSTEMS}/{name} --token {token}")).await;
        if status != 0 {
            return (status, text);
        }
        self.attempt(&format!("fedi-guest confirm {token}")).await
    }

    async fn process_of(&self, unit: &str) -> String {
        self.shell(&format!("systemctl show --property=MainPID --value {unit}")).await
    }

    /// Writes secrets as the agent would: root-only files.
    async fn deliver(&self) {
        self.shell(
            "umask 077; mkdir -p /var/lib/fedi/secrets/matrix; cd /var/lib/fedi/secrets/matrix
             for name in password-pepper macaroon-secret-key form-secret registration-shared-secret; do
               head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n' >$name
             done
             echo \"ed25519 a_test $(head -c 32 /dev/urandom | base64 | tr -d =)\" >signing-key
             printf correcthorse >admin-password",
        )
        .await;
    }

    /// The name leads to the guest, as octoDNS would have written it.
    fn publish(&self) {
        let config = format!("--config-dir={}", self.lab.folder.path().join("sandbox/dns").display());
        output("add the record", "pdnsutil", [&config, "add-record", "example.test", "matrix", "A", "10.78.1.20"])
            .unwrap();
    }

    /// An answer from outside, over TLS that only the sandbox's authority can vouch for.
    async fn fetch(&self, path: &str) -> serde_json::Value {
        let netns = format!("--net={}", self.lab.namespace.file().display());
        let ca = self.lab.folder.path().join("sandbox/ca.pem");
        let url = format!("https://{DOMAIN}{path}");
        let at = format!("{DOMAIN}:443:10.78.1.20");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let args =
                [&netns, "curl", "-fsS", "--max-time", "5", "--resolve", &at, "--cacert", ca.to_str().unwrap(), &url];
            match output("ask", "nsenter", args) {
                Ok(text) => return serde_json::from_str(&text).unwrap(),
                Err(error) if Instant::now() > deadline => {
                    let (_, journal) = self.attempt("systemctl --no-pager list-timers fedi*; journalctl -u 'fedi-matrix*' -u nginx -n 30 --no-pager").await;
                    panic!("{url}: {error}\n{journal}");
                }
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn matrix_runs_under_its_lease_and_nowhere_else() {
    let Some(case) = Case::new().await else { return };
    let uuid = case.uuid;

    // Dormant: the database server runs, nothing of Matrix does.
    let (status, text) = case.attempt(&format!("{SYSTEMS}/first/bin/switch-to-configuration dry-activate")).await;
    assert_eq!(
        (status, text.contains("would start: fedi-database-matrix.service, postgresql.service")),
        (0, true),
        "{text}"
    );
    let (status, text) = case.activate("first").await;
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("fedi-matrix.target stays shut"), "{text}");
    assert_eq!(case.shell("systemctl is-active postgresql.service").await, "active");
    case.attempt("systemctl start matrix-synapse.service").await;
    assert_eq!(
        case.attempt("systemctl is-active matrix-synapse.service nginx.service").await.1,
        "inactive\ninactive\n"
    );

    // The lease alone does not open the gate, and nothing makes up a key.
    case.shell(&format!("fedi-guest lease grant matrix --epoch 1 --holder {uuid}")).await;
    let (_, text) = case.attempt("fedi-guest gate start matrix").await;
    assert!(text.contains("fedi-matrix-lease.service  failed"), "{text}");
    assert_eq!(case.attempt("find /var/lib/matrix-synapse -type f").await.1, "");
    assert!(
        case.shell("journalctl -u fedi-matrix-lease --output=cat")
            .await
            .contains("The secret signing-key of matrix is missing")
    );

    // With its secrets and its name it runs, with a certificate that clients verify.
    case.deliver().await;
    let (status, text) = case.attempt("fedi-guest gate start matrix").await;
    assert_eq!(status, 0, "{text}");
    case.publish();
    let versions = case.fetch("/_matrix/client/versions").await;
    assert!(!versions["versions"].as_array().unwrap().is_empty());
    let key = case.fetch("/_matrix/key/v2/server").await;
    assert_eq!(key["server_name"], DOMAIN);
    assert!(key["verify_keys"].get("ed25519:a_test").is_some());
    assert_eq!(case.fetch("/.well-known/matrix/server").await["m.server"], format!("{DOMAIN}:443"));
    let (status, text) = case.attempt("fedi-guest health matrix --probe").await;
    assert_eq!(status, 0, "{text}");
    // The first administrator, once.
    for _ in 0..2 {
        let (status, text) = case.attempt("fedi-guest run fedi-matrix-admin.service").await;
        assert_eq!(status, 0, "{text}");
    }

    // The same system again changes nothing; another configuration restarts what reads it.
    let before = case.process_of("matrix-synapse.service").await;
    let (nginx, database) = (case.process_of("nginx.service").await, case.process_of("postgresql.service").await);
    case.activate("first").await;
    assert_eq!(case.process_of("matrix-synapse.service").await, before);
    let (status, text) = case.activate("second").await;
    assert_eq!(status, 0, "{text}");
    assert_ne!(case.process_of("matrix-synapse.service").await, before);
    assert_eq!(case.process_of("nginx.service").await, nginx);
    assert_eq!(case.process_of("postgresql.service").await, database);

    // A broken one is rolled back, and Matrix goes on.
    let before = case.process_of("matrix-synapse.service").await;
    let (status, text) = case.activate("broken").await;
    assert_ne!(status, 0, "{text}");
    assert!(text.contains("fedi-matrix-broken.service"), "{text}");
    assert_eq!(case.shell("readlink /run/current-system").await, format!("{SYSTEMS}/second"));
    assert_ne!(before, "0");
    assert_eq!(case.attempt("systemctl is-active fedi-matrix.target").await.1, "active\n");
    assert_eq!(case.fetch("/_matrix/key/v2/server").await["verify_keys"], key["verify_keys"]);

    // A power cut: the permanent system and the application come back by themselves.
    case.lab.backend.stop(uuid).await.unwrap();
    let spec = fedi_sim::backend::GuestSpec { uuid, first_boot: false, ..case.lab.spec() };
    case.lab.backend.start(&spec).await.unwrap();
    case.lab.up(uuid).await;
    assert_eq!(case.shell("readlink /run/current-system").await, format!("{SYSTEMS}/second"));
    assert_eq!(case.fetch("/_matrix/key/v2/server").await["verify_keys"], key["verify_keys"]);

    // Fenced: the application stops, and a reboot does not bring it back.
    case.shell("fedi-guest lease revoke matrix --epoch 1").await;
    case.shell("fedi-guest gate stop matrix").await;
    case.lab.backend.stop(uuid).await.unwrap();
    case.lab.backend.start(&spec).await.unwrap();
    case.lab.up(uuid).await;
    assert_eq!(case.attempt("systemctl is-active matrix-synapse.service").await.1, "inactive\n");
}
