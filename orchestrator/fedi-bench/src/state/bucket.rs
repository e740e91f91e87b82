//! `state.bucket_*`: 20,000 objects in a real Garage, against `rclone copy`. Capture is
//! from a bucket into a stage, restore from a stage into a bucket of another Garage, and
//! the mirror goes straight from one Garage to the other.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fedi_state::{Account, Work};
use rustix::process::Signal;

use super::place::Place;
use super::server::Server;
use super::task::{S3, StateTask, What};
use super::{LEAST, data, ours, theirs};
use crate::measurement::Measurement;
use crate::{NotHere, Options};

pub(crate) const NAMES: &[&str] =
    &["state.bucket_capture_ratio", "state.bucket_restore_ratio", "state.bucket_mirror_ratio"];

const OBJECTS: u64 = 20_000;
/// Sizes of objects, bytes: previews and avatars.
const SMALLEST: u64 = 1 << 10;
const LARGEST: u64 = 64 << 10;

/// Measures it.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let missing = |name: &str| NotHere(format!("{name} is not installed"));
    let garage = program("garage").ok_or_else(|| missing("Garage"))?;
    let rclone = program("rclone").ok_or_else(|| missing("rclone"))?;
    let place = Place::new()?;
    let source = Garage::start(&place, &garage, "source", 1)?;
    let target = Garage::start(&place, &garage, "target", 2)?;
    let rclone = Rclone { program: rclone, source: &source, target: &target };

    let files = place.path("files");
    data::many(&files, options.amount(OBJECTS), SMALLEST, LARGEST)?;
    let media = source.bucket("media")?;
    rclone.copy(&files.display().to_string(), "source:media", &["--transfers=16"])?;

    let stage = place.path("stage");
    let plain = place.path("plain").display().to_string();
    let [plain_capture, capture] = [
        theirs("rclone", || rclone.copy("source:media", &plain, &[]))?,
        ours(StateTask::Capture { what: What::Bucket(media.clone()), stage: stage.clone() })?,
    ];
    target.bucket("plain-restored")?;
    let restored = target.bucket("restored")?;
    let [plain_restore, restore] = [
        theirs("rclone", || rclone.copy(&plain, "target:plain-restored", &[]))?,
        ours(StateTask::Restore { what: What::Bucket(restored), stage })?,
    ];
    target.bucket("plain-mirrored")?;
    let mirrored = target.bucket("mirrored")?;
    let [plain_mirror, mirror] = [
        theirs("rclone", || rclone.copy("source:media", "target:plain-mirrored", &[]))?,
        ours(StateTask::Mirror { from: media, to: mirrored, memory: place.path("memory") })?,
    ];
    let [first, second, third] = [NAMES[0], NAMES[1], NAMES[2]];
    Ok(vec![
        Measurement::speed(first, capture, plain_capture, "rclone copy", Some(LEAST)),
        Measurement::speed(second, restore, plain_restore, "rclone copy", Some(LEAST)),
        Measurement::speed(third, mirror, plain_mirror, "rclone copy", Some(LEAST)),
    ])
}

/// Installed, or among the tools that `make setup` fetched.
fn program(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = home.map(|home| home.join(".cache/fedi/tools/bin").join(name)).filter(|path| path.is_file());
    Work::default().tools.find(name).or(cache)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server with one key.
struct Garage {
    program: PathBuf,
    config: PathBuf,
    port: u16,
    key: String,
    secret: String,
    server: Server,
}

impl Garage {
    fn start(place: &Place, program: &Path, name: &str, number: u8) -> Result<Self> {
        let folder = place.path(name);
        fs::create_dir(&folder)?;
        let (port, rpc) = (free_port()?, free_port()?);
        let text = format!(
            "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{1}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{port}\"\n",
            folder.display(),
            "ab".repeat(32),
        );
        let config = folder.join("garage.toml");
        fs::write(&config, text)?;
        let key = format!("GK{}", format!("{number:02x}").repeat(12));
        let secret = format!("{number:02x}").repeat(32);
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).args(["server", "--single-node", "--default-access-key", "--default-bucket"]);
        command.env("GARAGE_DEFAULT_ACCESS_KEY", &key).env("GARAGE_DEFAULT_SECRET_KEY", &secret);
        command.env("GARAGE_DEFAULT_BUCKET", "first");
        let us = Account { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let server = Server::start(command, us, Signal::TERM)?;
        let garage = Self { program: program.to_owned(), config, port, key, secret, server };
        // Its first bucket is made a moment after the server listens.
        let up = || TcpStream::connect(("127.0.0.1", port)).is_ok() && garage.run(&["bucket", "info", "first"]).is_ok();
        garage.server.until("Garage", up)?;
        Ok(garage)
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let output = Command::new(&self.program).arg("-c").arg(&self.config).args(words).output()?;
        if !output.status.success() {
            bail!("garage {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Makes a bucket that its key may write.
    fn bucket(&self, name: &str) -> Result<S3> {
        self.run(&["bucket", "create", name])?;
        self.run(&["bucket", "allow", "--read", "--write", "--owner", name, "--key", &self.key])?;
        let (key, secret) = (self.key.clone(), self.secret.clone());
        Ok(S3 { endpoint: self.endpoint(), bucket: name.to_owned(), key, secret })
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// `rclone` that knows both servers, as `source:` and `target:`.
struct Rclone<'a> {
    program: PathBuf,
    source: &'a Garage,
    target: &'a Garage,
}

impl Rclone<'_> {
    fn copy(&self, from: &str, to: &str, more: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        // The user's own accounts, proxies and authorities are none of this.
        command.env_clear().env("RCLONE_CONFIG", "/dev/null");
        for (name, garage) in [("SOURCE", self.source), ("TARGET", self.target)] {
            let endpoint = garage.endpoint();
            let settings = [
                ("TYPE", "s3"),
                ("PROVIDER", "Other"),
                ("REGION", "garage"),
                ("ENDPOINT", &endpoint),
                ("ACCESS_KEY_ID", &garage.key),
                ("SECRET_ACCESS_KEY", &garage.secret),
                ("NO_CHECK_BUCKET", "true"),
            ];
            for (setting, value) in settings {
                command.env(format!("RCLONE_CONFIG_{name}_{setting}"), value);
            }
        }
        let output = command.args(["copy", from, to]).args(more).output().context("Failed to run rclone")?;
        if !output.status.success() {
            bail!("rclone copy {from} {to}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}
