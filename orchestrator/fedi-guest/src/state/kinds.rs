//! The items of the manifest as `fedi-state` handles them, with this guest's access:
//! where servers listen is what NixOS, and the sandbox like it, has.

use std::fs;
use std::path::PathBuf;

use fedi_model::AppName;
use fedi_model::manifest::{App, Item};
use fedi_state::bucket::{Bucket, End};
use fedi_state::derived::Derived;
use fedi_state::directory::Directory;
use fedi_state::mysql::{self, Mysql};
use fedi_state::postgres::{self, Postgres};
use fedi_state::redis::{self, Redis, Service};
use fedi_state::{Accounts, ErrorClass, Kind, StateError};
use zeroize::Zeroizing;

use super::access::text;
use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, SecretValue};
use crate::{file, systemd};

/// Folder of PostgreSQL's socket.
const POSTGRES: &str = "/run/postgresql";
/// MariaDB's socket.
const MYSQL: &str = "/run/mysqld/mysqld.sock";
/// Longest time that a server may take to start or stop.
const SERVER: std::time::Duration = std::time::Duration::from_secs(120);

/// An item with what handles it.
pub(super) struct Handled {
    /// Its name in the manifest.
    pub(super) name: String,
    /// What it is, in words.
    pub(super) what: String,
    /// Whether what it holds points to what others hold.
    pub(super) is_database: bool,
    /// Whether a capture makes a copy of it.
    pub(super) is_staged: bool,
    pub(super) kind: Box<dyn Kind>,
}

/// The items in the order of restoring.
pub(super) fn all(guest: &Guest, name: &AppName, app: &App) -> Result<Vec<Handled>, GuestError> {
    let accounts = accounts(guest)?;
    let one = |item: &String| {
        let declared = app.items.get(item).ok_or_else(|| missing(format!("The manifest has no item `{item}`")))?;
        handled(guest, &accounts, name, app, item, declared)
    };
    app.order.iter().map(one).collect()
}

/// The machine's users, as its own files name them.
fn accounts(guest: &Guest) -> Result<Accounts, GuestError> {
    let read = |path: &str| Ok::<_, GuestError>(file::read_text(&guest.path(path))?.unwrap_or_default());
    Ok(Accounts::parse(&read("/etc/passwd")?, &read("/etc/group")?))
}

fn handled(
    guest: &Guest,
    accounts: &Accounts,
    name: &AppName,
    app: &App,
    item: &str,
    declared: &Item,
) -> Result<Handled, GuestError> {
    let (what, is_database, kind): (String, bool, Box<dyn Kind>) = match declared {
        Item::Postgres(declared) => {
            let access = postgres_access(guest, accounts)?;
            let what = format!("PostgreSQL database {}", declared.database);
            (what, true, Box::new(Postgres::new(declared.clone(), access)))
        }
        Item::Mysql(declared) => {
            let access =
                mysql::Access { socket: guest.path(MYSQL), user: "root".to_owned(), run_as: None, option_file: None };
            (format!("MariaDB database {}", declared.database), true, Box::new(Mysql::new(declared.clone(), access)))
        }
        Item::Redis(declared) => {
            let server =
                if declared.instance.is_empty() { "redis".to_owned() } else { format!("redis-{}", declared.instance) };
            let access = redis::Access {
                socket: guest.path(format!("/run/{server}/redis.sock")),
                password: None,
                file: guest.path(format!("/var/lib/{server}/dump.rdb")),
            };
            let service = Unit { guest: guest.clone(), name: format!("{server}.service") };
            let kind = Redis::new(declared.clone(), access, Box::new(service));
            (format!("Redis {}", declared.instance), true, Box::new(kind))
        }
        Item::Bucket(declared) => {
            let id = secret(guest, app, &declared.access_key)?;
            let secret = secret(guest, app, &declared.secret_key)?;
            let end = End::new(&declared.endpoint, &declared.region, &declared.bucket, &id, &secret)?;
            let what = format!("bucket {} at {}", declared.bucket, declared.endpoint);
            (what, false, Box::new(Bucket::new(declared.clone(), end)))
        }
        Item::Directory(declared) => {
            let what = format!("folder {}", declared.path);
            let mut declared = declared.clone();
            declared.path = guest.path(&declared.path).to_string_lossy().into_owned();
            (what, false, Box::new(Directory::new(declared, accounts.clone())?))
        }
        Item::Derived(declared) => {
            (format!("what `{name}` makes again"), false, Box::new(Derived::new(declared.clone())))
        }
    };
    let is_staged = !matches!(declared, Item::Directory(_) | Item::Derived(_));
    Ok(Handled { name: item.to_owned(), what, is_database, is_staged, kind })
}

/// Folders with PostgreSQL's own programs: Debian keeps one a major version.
pub(super) fn postgres_programs(guest: &Guest, app: &App) -> Vec<PathBuf> {
    let majors = app.items.values().filter_map(|item| match item {
        Item::Postgres(declared) => Some(declared.major),
        _ => None,
    });
    majors.map(|major| guest.path(format!("/usr/lib/postgresql/{major}/bin"))).collect()
}

fn postgres_access(guest: &Guest, accounts: &Accounts) -> Result<postgres::Access, GuestError> {
    let folder = guest.path(POSTGRES);
    let unreadable = GuestError::file("read", &folder);
    let ports: Vec<u16> = fs::read_dir(&folder)
        .map_err(unreadable)?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(".s.PGSQL.")?.parse().ok())
        .collect();
    let port = ports.iter().copied().find(|port| *port == 5432).or_else(|| ports.first().copied());
    let port = port.ok_or_else(|| {
        missing(format!("No PostgreSQL server listens in `{}`", folder.display()))
            .with_hint("See `systemctl status postgresql` on the guest")
    })?;
    let host = folder.to_string_lossy().into_owned();
    let run_as = Some(accounts.user("postgres")?);
    Ok(postgres::Access { host, port, user: "postgres".to_owned(), run_as, passfile: None })
}

/// A delivered secret that is text.
fn secret(guest: &Guest, app: &App, name: &fedi_model::SecretName) -> Result<Zeroizing<String>, GuestError> {
    let lacks = || {
        missing(format!("The secret `{name}` was not delivered"))
            .with_hint("Deploy again, or set it with `fedi secret set`")
    };
    let declared = app.secrets.get(name).ok_or_else(lacks)?;
    let bytes = file::read(&guest.path(&declared.path))?.ok_or_else(lacks)?;
    text(&SecretValue::new(bytes), "bucket's key")
}

fn missing(message: String) -> GuestError {
    GuestError::refused(ErrorKind::Missing, message)
}

/// The unit of a Redis server.
struct Unit {
    guest: Guest,
    name: String,
}

impl Unit {
    fn job(&self, verb: &str) -> Result<(), StateError> {
        let refused = |message: String| StateError::Refused {
            class: ErrorClass::Tool,
            message,
            hint: Some(format!("See `journalctl -u {}` on the guest", self.name)),
        };
        match systemd::job(&self.guest, verb, &self.name, SERVER) {
            Ok(true) => Ok(()),
            Ok(false) => Err(refused(format!("`{}` does not {verb}", self.name))),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

impl Service for Unit {
    fn start(&self) -> Result<(), StateError> {
        self.job("start")
    }

    fn stop(&self) -> Result<(), StateError> {
        self.job("stop")
    }
}
