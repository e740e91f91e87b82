//! A real Garage of one node, with one bucket and one key.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Running, alone, port, skipped};

/// A server with one bucket, `media`, and one key.
pub(crate) struct Garage {
    pub(crate) port: u16,
    pub(crate) key: String,
    pub(crate) secret: String,
    pub(crate) server: Running,
}

fn program() -> Option<PathBuf> {
    let cache = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/fedi/tools/bin/garage"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join("garage")).chain(cache);
    places
        .find(|path| path.is_file())
        .or_else(|| skipped("no Garage is installed (cargo install garage --root ~/.cache/fedi/tools)"))
}

impl Garage {
    pub(crate) fn start(folder: &Path, number: u8) -> Option<Self> {
        let program = program()?;
        fs::create_dir(folder).unwrap();
        let (port, rpc, admin) = (port(), port(), port());
        let config = format!(
            "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{1}\"\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"127.0.0.1:{port}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\n",
            folder.display(),
            "ab".repeat(32),
        );
        let path = folder.join("garage.toml");
        fs::write(&path, config).unwrap();
        let key = format!("GK{}", format!("{number:02x}").repeat(12));
        let secret = format!("{number:02x}").repeat(32);
        let mut command = alone(&program);
        command.arg("-c").arg(&path).args(["server", "--single-node", "--default-access-key", "--default-bucket"]);
        command.env("GARAGE_DEFAULT_ACCESS_KEY", &key).env("GARAGE_DEFAULT_SECRET_KEY", &secret);
        command.env("GARAGE_DEFAULT_BUCKET", "media");
        let mut server = Running::start(command);
        server.until("Garage", || health(admin));
        // The bucket is made a moment after the server says that it is healthy.
        server.until("Garage's bucket", || {
            let output =
                Command::new(&program).arg("-c").arg(&path).args(["bucket", "info", "media"]).output().unwrap();
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains(&key)
        });
        Some(Self { port, key, secret, server })
    }

    /// An S3 client that is not ours; the server is `g:`.
    pub(crate) fn rclone(&self) -> Command {
        let mut rclone = Command::new("rclone");
        rclone.env("RCLONE_CONFIG", "/dev/null").env("RCLONE_CONFIG_G_TYPE", "s3").env_remove("AWS_CA_BUNDLE");
        for (name, value) in [
            ("PROVIDER", "Other"),
            ("ENDPOINT", &self.endpoint()),
            ("REGION", "garage"),
            ("ACCESS_KEY_ID", &self.key),
            ("SECRET_ACCESS_KEY", &self.secret),
            ("FORCE_PATH_STYLE", "true"),
        ] {
            rclone.env(format!("RCLONE_CONFIG_G_{name}"), value);
        }
        rclone
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn health(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /health HTTP/1.0\r\nHost: a\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(" 200 ")
}
