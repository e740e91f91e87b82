//! A real sshd on a port of its own, with keys of its own; nothing of `~/.ssh`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Running, alone, port, program, skipped};

/// A server that lets this user in with one key, for SFTP.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    /// The private key that it takes.
    pub(crate) key: String,
    /// Its own key, as a line of `known_hosts`.
    pub(crate) known_hosts: String,
    folder: PathBuf,
    server: Running,
}

impl Sshd {
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return skipped("an sshd for another user's session needs root");
        }
        let (sshd, _) = (program("/usr/sbin/sshd")?, program("/usr/bin/ssh")?);
        fs::create_dir_all("/run/sshd").unwrap();
        fs::create_dir(folder).unwrap();
        key(&folder.join("host"));
        key(&folder.join("user"));
        fs::copy(folder.join("user.pub"), folder.join("authorized")).unwrap();
        fs::set_permissions(folder.join("authorized"), fs::Permissions::from_mode(0o600)).unwrap();
        let port = port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\n\
             StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPidFile none\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
            folder.display()
        );
        fs::write(folder.join("config"), config).unwrap();
        let mut command = alone(&sshd);
        command.args(["-D", "-e", "-f"]).arg(folder.join("config"));
        let mut server = Running::start(command);
        server.until("sshd", || answers(port));
        let known_hosts = line(port, &folder.join("host.pub"));
        let key = fs::read_to_string(folder.join("user")).unwrap();
        Some(Self { port, key, known_hosts, folder: folder.to_owned(), server })
    }

    /// A repository's location below a folder of this machine.
    pub(crate) fn location(&self, folder: &Path) -> String {
        at(self.port, folder)
    }

    /// A key that nobody knows, and the line of a host that has it.
    pub(crate) fn another_key(&self) -> (String, String) {
        let path = self.folder.join("another");
        if !path.exists() {
            key(&path);
        }
        (fs::read_to_string(&path).unwrap(), line(self.port, &path.with_extension("pub")))
    }

    pub(crate) fn stop(&mut self) {
        self.server.stop();
    }
}

/// As [`Sshd::location`], through another port.
pub(crate) fn at(port: u16, folder: &Path) -> String {
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    format!("sftp://{}@127.0.0.1:{port}/{}", user.trim(), folder.display())
}

fn key(path: &Path) {
    let mut keygen = Command::new("ssh-keygen");
    assert!(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap().success());
}

fn line(port: u16, public: &Path) -> String {
    let public = fs::read_to_string(public).unwrap();
    let mut words = public.split_whitespace();
    format!("[127.0.0.1]:{port} {} {}\n", words.next().unwrap(), words.next().unwrap())
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut banner = [0; 4];
    stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-"
}

/// Writes a file that only this user reads.
pub(crate) fn private(path: &Path, content: &str) {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
}
