//! `state.postgres_*`: a database of 1 GB, captured from one server and restored into
//! another, against `pg_dump -Fd -j2` and `pg_restore -j2`.
//!
//! Both sides use the same two servers, which are throwaway ones and do not wait for the
//! disk. Ours counts rows, digests and checks the dump, and analyses the new database;
//! and it does not compress, since a repository does. What `pg_dump` takes without
//! compressing is therefore told too.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::place::Place;
use super::server::{Server, as_user};
use super::task::{StateTask, What, server_account};
use super::{LEAST, ROUNDS, Rounds, ours, theirs};
use crate::measurement::Measurement;
use crate::{NotHere, Options};

pub(crate) const NAMES: &[&str] = &[
    "state.postgres_capture_ratio",
    "state.postgres_restore_ratio",
    "state.postgres_capture_uncompressed_ratio",
    "state.postgres_size_gb",
];

/// Rows of each table, so that the database has 1 GB with its indexes.
const ROWS: u64 = 460_000;
/// Tables, so that there is work for two at once.
const TABLES: u32 = 4;

/// What an application's largest tables are like: a key, an indexed reference, a time,
/// and a document.
fn fill(rows: u64) -> String {
    let tables = (0..TABLES).map(|table| {
        format!(
            "CREATE TABLE events_{table} (id bigint PRIMARY KEY, room text NOT NULL, at timestamptz NOT NULL, json text); \
             INSERT INTO events_{table} SELECT n, '!' || left(md5((n % 5000)::text), 18) || ':example.test', \
             timestamptz '2026-01-01' + n * interval '1 second', '{{\"sender\":\"@user' || n % 997 || ':example.test\",' \
             || '\"type\":\"m.room.message\",\"content\":{{\"msgtype\":\"m.text\",\"body\":\"' || md5(n::text) || ' ' \
             || md5((n + {table})::text) || ' ' || md5((n * 3)::text) || ' and the like, said in a room to whoever \
             listens' || '\"}},\"auth\":[\"' || md5((n * 7)::text) || '\",\"' || md5((n * 11)::text) || '\"],\"hashes\":\"' \
             || md5((n * 13)::text) || md5((n * 17)::text) || '\"}}' FROM generate_series(1, {rows}) n; \
             CREATE INDEX ON events_{table} (room); "
        )
    });
    tables.collect()
}

/// Measures it.
pub(crate) fn run(options: &Options) -> Result<Vec<Measurement>> {
    let Some(bin) = newest() else {
        return Err(NotHere("no PostgreSQL server is installed".to_owned()).into());
    };
    let place = Place::new()?;
    let [source, target] = ["source", "target"].map(|name| Cluster::start(&place, &bin, name));
    let (source, target) = (source?, target?);
    source.sql("postgres", "CREATE DATABASE app TEMPLATE template0")?;
    source.sql("app", &fill(options.amount(ROWS)))?;
    source.sql("app", "VACUUM ANALYZE")?;
    let size: f64 = source.sql("app", "SELECT pg_database_size('app')")?.parse()?;

    let stage = place.path("stage");
    let what = |cluster: &Cluster| What::Postgres {
        socket: cluster.socket.clone(),
        bin: bin.clone(),
        database: "app".to_owned(),
    };
    let (mut capture, mut restore, mut uncompressed) = (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        let (plain, plainer) = (place.cleared("plain")?, place.cleared("uncompressed")?);
        let task = StateTask::Capture { what: what(&source), stage: stage.clone() };
        capture.add(|| ours(task), || theirs("pg_dump", || source.dump(&plain, &[])))?;
        uncompressed.theirs.push(theirs("pg_dump -Z0", || source.dump(&plainer, &["-Z0"]))?);
        let drop = || target.sql("postgres", "DROP DATABASE app");
        let task = StateTask::Restore { what: what(&target), stage: stage.clone() };
        restore.add(
            || {
                let seconds = ours(task)?;
                drop().map(|_| seconds)
            },
            || {
                let seconds = theirs("pg_restore", || target.load(&plain))?;
                drop().map(|_| seconds)
            },
        )?;
    }
    uncompressed.ours.clone_from(&capture.ours);
    let mut figures = vec![
        capture.speed(NAMES[0], "pg_dump -Fd -j2", Some(LEAST)),
        restore.speed(NAMES[1], "pg_restore -j2", Some(LEAST)),
        uncompressed.speed(NAMES[2], "pg_dump -Fd -j2 -Z0", None),
    ];
    figures.push(Measurement::new(NAMES[3], size / 1e9, "GB", None));
    Ok(figures)
}

fn newest() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = folders.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    bins.filter(|bin| bin.join("postgres").is_file()).max()
}

struct Cluster {
    socket: PathBuf,
    bin: PathBuf,
    _server: Server,
}

impl Cluster {
    fn start(place: &Place, bin: &Path, name: &str) -> Result<Self> {
        let account = server_account()?;
        let socket = place.path(name);
        fs::create_dir(&socket)?;
        chown(&socket, Some(account.uid), Some(account.gid))?;
        let data = socket.join("data");
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres"]);
        let made = as_user(initdb, account).arg("--pgdata").arg(&data).output().context("Failed to run initdb")?;
        if !made.status.success() {
            bail!("initdb: {}", String::from_utf8_lossy(&made.stderr));
        }
        let mut postgres = Command::new(bin.join("postgres"));
        postgres.arg("-D").arg(&data).arg("-k").arg(&socket).args(["-c", "listen_addresses="]);
        for setting in
            ["fsync=off", "full_page_writes=off", "shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off"]
        {
            postgres.args(["-c", setting]);
        }
        let server = Server::start(postgres, account, Signal::INT)?;
        let ready = || {
            let mut ask = Command::new(bin.join("pg_isready"));
            ask.args(["--quiet", "--host"]).arg(&socket).status().is_ok_and(|status| status.success())
        };
        server.until("PostgreSQL", ready)?;
        Ok(Self { socket, bin: bin.to_owned(), _server: server })
    }

    /// One of the server's own programs, connected to it.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.args(["-U", "postgres", "-h"]).arg(&self.socket);
        command
    }

    fn sql(&self, database: &str, script: &str) -> Result<String> {
        let mut psql = self.program("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", script]);
        Ok(output(&mut psql)?.trim().to_owned())
    }

    fn dump(&self, into: &Path, more: &[&str]) -> Result<()> {
        let mut command = self.program("pg_dump");
        output(command.args(["-Fd", "-j2", "-d", "app", "-f"]).arg(into).args(more)).map(drop)
    }

    fn load(&self, from: &Path) -> Result<()> {
        self.sql("postgres", "CREATE DATABASE app TEMPLATE template0")?;
        let mut command = self.program("pg_restore");
        output(command.args(["-j2", "--exit-on-error", "-d", "app"]).arg(from)).map(drop)
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("Failed to run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{}: {}", command.get_program().display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
