//! MariaDB and Redis for a machine, each in the place where the agent looks for it.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fedi_state::{Account, Accounts};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{Machine, skipped, until};
use crate::seen::succeeds;
use crate::servers::alone;

/// A server that ends with the test. Is to be dropped before its machine.
pub(crate) struct Running(Child);

impl Running {
    fn start(mut command: Command, what: &str, up: impl Fn() -> bool) -> Self {
        let null = Stdio::null;
        let mut child = command.stdin(null()).stdout(null()).stderr(null()).spawn().unwrap();
        until(what, || up() || child.try_wait().unwrap().is_some());
        assert!(child.try_wait().unwrap().is_none(), "{what} did not come up");
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        }
        self.0.wait().unwrap();
    }
}

fn account(name: &str) -> Account {
    Accounts::load().unwrap().user(name).unwrap()
}

fn folder_of(path: &Path, account: Account) {
    fs::create_dir_all(path).unwrap();
    chown(path, Some(account.uid), Some(account.gid)).unwrap();
}

/// MariaDB on its usual socket.
pub(crate) fn mariadb(machine: &Machine) -> Option<Running> {
    if !Path::new("/usr/sbin/mariadbd").is_file() {
        return skipped("no MariaDB server is installed");
    }
    let account = account("mysql");
    let (data, run) = (machine.path("/var/lib/mysql"), machine.path("/run/mysqld"));
    folder_of(&data, account);
    folder_of(&run, account);
    let as_mysql = |name: &str| {
        let mut command = alone(Path::new(name));
        command.gid(account.gid).uid(account.uid).current_dir("/").arg("--no-defaults");
        command.arg(format!("--datadir={}", data.display())).arg(format!("--tmpdir={}", run.display()));
        command
    };
    let mut install = as_mysql("mariadb-install-db");
    succeeds(install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]));
    let socket = run.join("mysqld.sock");
    let mut server = as_mysql("/usr/sbin/mariadbd");
    server.arg(format!("--socket={}", socket.display())).arg(format!("--pid-file={}/pid", run.display()));
    server.args(["--skip-networking", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=32M"]);
    Some(Running::start(server, "MariaDB", || std::os::unix::net::UnixStream::connect(&socket).is_ok()))
}

/// What a query of MariaDB answers.
pub(crate) fn ask_mariadb(machine: &Machine, script: &str) -> String {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--default-character-set=utf8mb4", "--batch", "--skip-column-names", "--user=root"]);
    client.arg("--socket").arg(machine.path("/run/mysqld/mysqld.sock")).arg("--execute").arg(script);
    String::from_utf8(succeeds(&mut client)).unwrap().trim().to_owned()
}

/// Redis as the unit `redis-toy.service`: `systemctl` starts and stops the real one.
pub(crate) struct Redis<'a>(&'a Machine);

/// What the stand-in for `systemctl` does for the unit; it notes the file that is there when
/// the server has ended, and when it is started.
const REDIS: &str = r#"
socket=@root@/run/redis-toy/redis.sock file=@root@/var/lib/redis-toy/dump.rdb
digest() { sha256sum <"$file" 2>/dev/null | cut -d ' ' -f 1; }
case $verb in
stop)
  pid=$(cat @root@/run/redis-toy/pid)
  kill "$pid"
  while [ -e "/proc/$pid" ]; do sleep 0.02; done
  echo "ended $(digest)" >>@root@/redis ;;
start)
  echo "started $(digest)" >>@root@/redis
  # Nothing of the agent's is open in it, as nothing is in what systemd starts.
  bash -c 'for fd in $(ls /proc/$$/fd); do [ "$fd" -le 2 ] || eval "exec $fd>&-"; done
    exec setpriv --reuid redis --regid redis --clear-groups redis-server --daemonize yes --port 0 --save "3600 1" \
      --dir @root@/var/lib/redis-toy --unixsocket @root@/run/redis-toy/redis.sock --pidfile @root@/run/redis-toy/pid' \
    >&2
  until redis-cli -s "$socket" PING >&2; do sleep 0.02; done ;;
esac
"#;

impl<'a> Redis<'a> {
    pub(crate) fn start(machine: &'a Machine) -> Option<Self> {
        if !Path::new("/usr/bin/redis-server").is_file() {
            return skipped("no Redis server is installed");
        }
        for folder in ["/var/lib/redis-toy", "/run/redis-toy"] {
            folder_of(&machine.path(folder), account("redis"));
        }
        let script = REDIS.replace("@root@", &machine.root().display().to_string());
        fs::write(machine.root().join("units/redis-toy.service.run"), script).unwrap();
        let redis = Self(machine);
        redis.job("start");
        Some(redis)
    }

    fn job(&self, verb: &str) {
        succeeds(Command::new(self.0.root().join("tools/systemctl")).args([verb, "--", "redis-toy.service"]));
    }

    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        client.arg("-s").arg(self.0.path("/run/redis-toy/redis.sock")).args(words);
        String::from_utf8(succeeds(&mut client)).unwrap().trim().to_owned()
    }

    /// What was noted when it was stopped and started.
    pub(crate) fn noted(&self) -> Vec<String> {
        fs::read_to_string(self.0.root().join("redis")).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Redis<'_> {
    fn drop(&mut self) {
        self.job("stop");
    }
}
