//! A folder that stands for a guest, with a PostgreSQL server of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fedi_guest::protocol::{
    Call, ErrorKind, ErrorReply, LeaseGrant, RepositoryAccess, SecretValue, StateCapture, StateCaptured, StateRestore,
};
use fedi_guest::{Guest, agent};
use fedi_model::state::Consistency;
use fedi_model::{AppName, DeploymentName};
use fedi_state::Accounts;
use uuid::Uuid;

use crate::servers::alone;

pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const UUID: Uuid = Uuid::from_u128(7);

/// What the toy application declares. `@version@` is filled in.
const MANIFEST: &str = r#"{ "schema": 1, "apps": { "toy": {
  "version": "@version@", "upgradesFrom": "1.0", "gate": "fedi-toy.target", "units": ["toy.service"],
  "items": {
    "media": { "directory": { "path": "/var/lib/toy", "owner": "root", "exclude": ["cache"], "atLeastFiles": 1 } },
    "db": { "postgres": { "database": "toy", "owner": "toy", "major": 15, "locale": "C" } }
  },
  "order": ["media", "db"],
  "secrets": { "signing-key": { "class": "identity", "generator": { "hex": { "bytes": 8 } }, "protects": ["db"],
    "path": "/var/lib/fedi/secrets/toy/signing-key" } },
  "hooks": { "drain": { "unit": "toy-drain.service", "timeout": "10s" } }
} } }"#;

/// In the place of systemd: the state of a unit is the content of a file, what is done to
/// it is written down. The gate carries its service along.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
units=@root@/units
state() { cat "$units/$1" 2>/dev/null || echo inactive; }
verb=$1
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
shift
case $verb in
show)
  for unit in "$@"; do
    echo "Id=$unit"; echo LoadState=loaded; echo "ActiveState=$(state "$unit")"; echo Type=oneshot
    [ "$unit" != fedi-toy.target ] || echo ConsistsOf=toy.service
    echo
  done ;;
start|stop|restart|reset-failed)
  echo "$verb $1" >>@root@/jobs
  [ ! -e "$units/$1.run" ] || . "$units/$1.run"
  case $verb in *start) [ ! -e "$units/$1.hangs" ] || exec sleep 1000 ;; esac
  case $verb in *start) [ ! -e "$units/$1.fails" ] || { echo failed >"$units/$1"; exit 1; } ;; esac
  case $verb in *start) new=active ;; *) new=inactive ;; esac
  case $1 in *-drain.service|*-quiesce.service) new=inactive ;; esac
  echo $new >"$units/$1"
  [ "$1" != fedi-toy.target ] || echo $new >"$units/toy.service" ;;
esac
"#;

/// A running machine; gone when dropped.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    server: Child,
    bin: PathBuf,
}

/// The newest PostgreSQL's programs, restic, and root; or says why the test cannot run.
fn needed() -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        return skipped("a guest's agent is root");
    }
    if !Path::new("/usr/bin/restic").is_file() {
        return skipped("restic is not installed");
    }
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut bins: Vec<PathBuf> =
        found.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("postgres").is_file()).collect();
    bins.sort();
    bins.pop().or_else(|| skipped("no PostgreSQL server is installed"))
}

pub(crate) fn skipped<T>(why: &str) -> Option<T> {
    eprintln!("skipped: {why}");
    if let Some(log) = std::env::var_os("FEDI_SKIP_LOG") {
        use std::io::Write as _;
        let mut log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(log, "fedi-guest state: {why}").unwrap();
    }
    None
}

pub(crate) fn toy() -> AppName {
    AppName::new("toy").unwrap()
}

impl Machine {
    /// A machine whose application runs, with something in it.
    pub(crate) fn with_application() -> Option<Self> {
        let machine = Self::dormant("1.5")?;
        machine.sql("postgres", "CREATE DATABASE toy OWNER toy TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        machine.sql("toy", "CREATE TABLE notes (n int); INSERT INTO notes SELECT generate_series(1, 1000)");
        machine.write("/var/lib/toy/picture", b"a picture");
        machine.write("/var/lib/toy/cache/thumbnail", b"made again");
        machine.grant(3);
        machine.set("fedi-toy.target", "active");
        machine.set("toy.service", "active");
        Some(machine)
    }

    /// A machine with the application's system, its secrets and its empty places.
    pub(crate) fn dormant(version: &str) -> Option<Self> {
        Self::dormant_with(version, |_| ())
    }

    /// The same; something is done to the database server's files before it starts.
    pub(crate) fn dormant_with(version: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let bin = needed()?;
        let folder = tempfile::Builder::new().prefix("fedi-guest-").tempdir().unwrap();
        let root = folder.path();
        // The database's own user passes through.
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        for path in ["etc/fedi", "units", "tools", "run/postgresql", "var/lib/fedi/secrets/toy", "var/lib/toy"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for path in ["etc/passwd", "etc/group"] {
            fs::copy(Path::new("/").join(path), root.join(path)).unwrap();
        }
        let account = Accounts::load().unwrap().user("postgres").unwrap();
        let as_postgres = |mut command: Command| {
            command.uid(account.uid).gid(account.gid).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let (data, socket) = (root.join("data"), root.join("run/postgresql"));
        for path in [&data, &socket] {
            fs::create_dir_all(path).unwrap();
            chown(path, Some(account.uid), Some(account.gid)).unwrap();
        }
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres"]);
        assert!(as_postgres(initdb).arg("--pgdata").arg(&data).status().unwrap().success());
        prepare(&data);
        let mut postgres = alone(&bin.join("postgres"));
        postgres.arg("-D").arg(&data).arg("-k").arg(&socket).args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        let server = as_postgres(postgres).spawn().unwrap();
        let machine = Self { folder, server, bin };
        let ready = || {
            let mut ask = Command::new(machine.bin.join("pg_isready"));
            ask.args(["--quiet", "--host"]).arg(&socket).status().unwrap().success()
        };
        until("PostgreSQL", ready);
        machine.sql("postgres", "CREATE ROLE toy");
        machine.write("/etc/fedi/guest-uuid", UUID.to_string().as_bytes());
        machine.write("/etc/fedi/manifest.json", MANIFEST.replace("@version@", version).as_bytes());
        machine.write("/var/lib/fedi/secrets/toy/signing-key", b"seed");
        machine.tool("systemctl", &SYSTEMCTL.replace("@root@", &machine.root().display().to_string()));
        machine.tool("journalctl", "#!/bin/sh\n");
        Some(machine)
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root().join(absolute.trim_start_matches('/'))
    }

    pub(crate) fn guest(&self) -> Guest {
        Guest::in_folder(self.root(), &self.root().join("tools"))
    }

    pub(crate) fn write(&self, absolute: &str, content: &[u8]) {
        let path = self.path(absolute);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Puts a program before the real ones.
    pub(crate) fn tool(&self, name: &str, script: &str) {
        let path = self.root().join("tools").join(name);
        // Another name first: there is no moment without the program.
        let new = path.with_extension("new");
        fedi_test::program(&new, script);
        fs::rename(new, path).unwrap();
    }

    pub(crate) fn no_tool(&self, name: &str) {
        fs::remove_file(self.root().join("tools").join(name)).unwrap();
    }

    /// Changes what the applications' manifest says.
    pub(crate) fn declare(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.path("/etc/fedi/manifest.json");
        let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut manifest["apps"]["toy"]);
        fs::write(path, manifest.to_string()).unwrap();
    }

    /// One of the database server's own programs.
    pub(crate) fn postgres(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Sets the state of a unit.
    pub(crate) fn set(&self, unit: &str, state: &str) {
        fs::write(self.root().join("units").join(unit), state).unwrap();
    }

    pub(crate) fn unit(&self, unit: &str) -> String {
        fs::read_to_string(self.root().join("units").join(unit)).unwrap_or_default().trim().to_owned()
    }

    /// What systemd was asked to do, oldest first.
    pub(crate) fn jobs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root().join("jobs")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn stop(&self) {
        self.set("fedi-toy.target", "inactive");
        self.set("toy.service", "inactive");
    }

    pub(crate) fn grant(&self, epoch: u64) {
        self.call(LeaseGrant { app: toy(), epoch, holder: UUID }).unwrap();
    }

    pub(crate) fn call<C: Call>(&self, request: C) -> Result<C::Reply, ErrorReply> {
        agent::call(&self.guest(), request, &mut |_| {}).map_err(|error| error.reply())
    }

    /// The kind of error that a request must end with.
    pub(crate) fn refuses(&self, request: impl Call) -> (ErrorKind, String) {
        let op = request.into();
        let error = agent::perform(&self.guest(), op, &mut |_| {}).expect_err("it is refused").reply();
        (error.kind, error.to_string())
    }

    /// The answers of a query, columns separated by bars.
    pub(crate) fn sql(&self, database: &str, script: &str) -> String {
        let mut psql = self.psql(database);
        let output = psql.args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut psql = alone(&self.bin.join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"]);
        psql.arg(self.root().join("run/postgresql"));
        psql
    }

    /// Whether nothing is left of a stage.
    pub(crate) fn has_no_stage(&self) -> bool {
        let entries = fs::read_dir(self.path("/var/lib/fedi/stage")).into_iter().flatten().flatten();
        entries.into_iter().all(|entry| !entry.path().is_dir())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.server);
        if self.server.try_wait().unwrap().is_none() {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        }
        self.server.wait().unwrap();
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder with a repository in it, which does not exist yet.
pub(crate) fn repository() -> (tempfile::TempDir, RepositoryAccess) {
    let folder = tempfile::tempdir().unwrap();
    let access = RepositoryAccess {
        location: folder.path().join("repository").display().to_string(),
        password: SecretValue::new(PASSWORD),
        rest: None,
        s3: None,
        sftp: None,
        ca: None,
    };
    (folder, access)
}

pub(crate) fn captures(repository: &RepositoryAccess, consistency: Consistency, run: &str) -> StateCapture {
    StateCapture {
        app: toy(),
        deployment: DeploymentName::new("toy").unwrap(),
        repository: repository.clone(),
        consistency,
        // 32 bytes of nothing in base 64.
        fingerprint_key: SecretValue::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        sealed_secrets: SecretValue::new("age-encryption.org/v1 sealed"),
        run: run.to_owned(),
    }
}

pub(crate) fn restores(repository: &RepositoryAccess, captured: &StateCaptured) -> StateRestore {
    StateRestore { app: toy(), repository: repository.clone(), snapshot: captured.snapshot.clone() }
}
