//! `rclone serve restic`: the REST protocol, with TLS and a login.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use super::tls::Certificate;
use super::{Running, alone, port, program};

/// User and password that the server takes.
pub(crate) const LOGIN: (&str, &str) = ("guest", "p@ss/word of a guest");

/// A running server on a folder.
pub(crate) struct Rest {
    pub(crate) port: u16,
    server: Running,
}

impl Rest {
    /// Serves `data`; its own files are in `folder`.
    pub(crate) fn start(folder: &Path, data: &Path, certificate: &Certificate, append_only: bool) -> Option<Self> {
        let (rclone, openssl) = (program("/usr/bin/rclone")?, program("/usr/bin/openssl")?);
        fs::create_dir_all(folder).unwrap();
        fs::create_dir_all(data).unwrap();
        let (certificate, key) = certificate.pem();
        fs::write(folder.join("certificate.pem"), certificate).unwrap();
        super::sshd::private(&folder.join("key.pem"), &key);
        let hash = Command::new(openssl).args(["passwd", "-apr1", LOGIN.1]).output().unwrap().stdout;
        let line = format!("{}:{}", LOGIN.0, String::from_utf8(hash).unwrap());
        super::sshd::private(&folder.join("htpasswd"), &line);
        let port = port();
        let mut command = alone(&rclone);
        command.args(["serve", "restic", "--config", "/dev/null", "--addr"]).arg(format!("127.0.0.1:{port}"));
        command.arg("--cert").arg(folder.join("certificate.pem")).arg("--key").arg(folder.join("key.pem"));
        command.arg("--htpasswd").arg(folder.join("htpasswd"));
        if append_only {
            command.arg("--append-only");
        }
        command.arg(data);
        let mut server = Running::start(command);
        server.until("rclone", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { port, server })
    }

    pub(crate) fn stop(&mut self) {
        self.server.stop();
    }
}
