//! Redis instances (and Valkey, which speaks the same): carried whole as the file
//! that the server itself writes. An instance that only holds a cache is skipped.
//!
//! The file is put in place while the server is stopped: a running one would write
//! its own over it when it ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fedi_model::manifest::{Holds, Redis as Declared};
use redis::{Commands, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use zeroize::Zeroizing;

use crate::error::{ErrorClass, StateError};
use crate::kind::{Contents, Kind, Report};
use crate::snapshot::{Consistency, Observed, ObservedRedis};
use crate::stage::ItemStage;
use crate::sums;
use crate::work::Work;

/// Pause between two questions whether the server has written its file.
const PAUSE: Duration = Duration::from_millis(100);
/// Keys that a server is asked for at once.
const BATCH: usize = 1000;
/// First bytes of the file.
const MAGIC: &[u8] = b"REDIS";
const MAGIC_VALKEY: &[u8] = b"VALKEY";

/// The unit of a server, as seen by whoever can start and stop it.
pub trait Service {
    /// Starts it and returns when it accepts connections or has failed.
    fn start(&self) -> Result<(), StateError>;
    /// Stops it and returns when no process of it is left.
    fn stop(&self) -> Result<(), StateError>;
}

/// How to reach the server.
pub struct Access {
    /// Its socket, on this machine.
    pub socket: PathBuf,
    /// Its password, if it has one.
    pub password: Option<Zeroizing<String>>,
    /// Where its file lies: `/var/lib/redis-<instance>/dump.rdb`.
    pub file: PathBuf,
}

/// A Redis instance.
pub struct Redis {
    declared: Declared,
    access: Access,
    service: Box<dyn Service>,
}

/// What was counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    keys: BTreeMap<u32, u64>,
    expiring: BTreeMap<u32, u64>,
    queues: BTreeMap<String, u64>,
}

impl Redis {
    /// As the contract declares it.
    pub fn new(declared: Declared, access: Access, service: Box<dyn Service>) -> Self {
        Self { declared, access, service }
    }

    fn connect(&self) -> Result<Connection, StateError> {
        let unreachable = |error: redis::RedisError| {
            let message = format!("Redis `{}` does not answer: {}", self.declared.instance, plain(&error));
            StateError::refused(ErrorClass::Unreachable, message)
        };
        let info: ConnectionInfo =
            ConnectionAddr::Unix(self.access.socket.clone()).into_connection_info().map_err(unreachable)?;
        let mut settings = info.redis_settings().clone();
        if let Some(password) = &self.access.password {
            settings = settings.set_password(password.as_str());
        }
        let client = redis::Client::open(info.set_redis_settings(settings)).map_err(unreachable)?;
        client.get_connection_with_timeout(Duration::from_secs(15)).map_err(unreachable)
    }

    fn count(&self, work: &Work, connection: &mut Connection) -> Result<Counted, StateError> {
        let mut counted = Counted::default();
        let text: String = redis::cmd("INFO").arg("keyspace").query(connection).map_err(|e| self.failed(&e))?;
        for line in text.lines() {
            if let Some((number, keys, expiring)) = keyspace(line) {
                counted.keys.insert(number, keys);
                counted.expiring.insert(number, expiring);
            }
        }
        for prefix in &self.declared.queues {
            counted.queues.insert(prefix.clone(), 0);
        }
        if self.declared.queues.is_empty() {
            return Ok(counted);
        }
        for number in counted.keys.keys() {
            redis::cmd("SELECT").arg(*number).exec(connection).map_err(|e| self.failed(&e))?;
            for (prefix, entries) in &mut counted.queues {
                *entries += self.queued(work, connection, prefix)?;
            }
        }
        Ok(counted)
    }

    /// Entries of the lists, sets, sorted sets and streams whose names begin so.
    fn queued(&self, work: &Work, connection: &mut Connection, prefix: &str) -> Result<u64, StateError> {
        let escaped: String = prefix
            .chars()
            .flat_map(|c| {
                let special = matches!(c, '*' | '?' | '[' | ']' | '\\');
                special.then_some('\\').into_iter().chain([c])
            })
            .collect();
        // A scan may name a key twice.
        let mut keys = std::collections::BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            work.check()?;
            let (next, found): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("{escaped}*"))
                .arg("COUNT")
                .arg(BATCH)
                .query(connection)
                .map_err(|e| self.failed(&e))?;
            keys.extend(found);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let mut entries = 0;
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query(connection).map_err(|e| self.failed(&e))?;
            let length: Result<u64, _> = match kind.as_str() {
                "list" => connection.llen(&key),
                "set" => connection.scard(&key),
                "zset" => connection.zcard(&key),
                "stream" => redis::cmd("XLEN").arg(&key).query(connection),
                // What ended meanwhile is no entry; a plain key is one.
                "none" => Ok(0),
                _ => Ok(1),
            };
            entries += length.map_err(|e| self.failed(&e))?;
        }
        Ok(entries)
    }

    /// Makes the server write its file and waits until it has.
    fn save(&self, work: &Work, connection: &mut Connection) -> Result<(), StateError> {
        // One that is under way may have begun before the last change.
        while self.info(connection, "rdb_bgsave_in_progress")? != "0" {
            work.check()?;
            std::thread::sleep(PAUSE);
        }
        redis::cmd("BGSAVE").exec(connection).map_err(|e| self.failed(&e))?;
        while self.info(connection, "rdb_bgsave_in_progress")? != "0" {
            work.check()?;
            std::thread::sleep(PAUSE);
        }
        if self.info(connection, "rdb_last_bgsave_status")? == "ok" {
            return Ok(());
        }
        let message = format!("Redis `{}` could not write its file", self.declared.instance);
        Err(StateError::refused(ErrorClass::Tool, message).with_hint("Its log says why: most often no room is left"))
    }

    fn info(&self, connection: &mut Connection, field: &str) -> Result<String, StateError> {
        let text: String = redis::cmd("INFO").arg("persistence").query(connection).map_err(|e| self.failed(&e))?;
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.unwrap_or_default().trim().to_owned())
    }

    fn version(&self, connection: &mut Connection) -> Result<String, StateError> {
        let text: String = redis::cmd("INFO").arg("server").query(connection).map_err(|e| self.failed(&e))?;
        let found = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(found.unwrap_or_default().trim().to_owned())
    }

    fn failed(&self, error: &redis::RedisError) -> StateError {
        StateError::refused(ErrorClass::Tool, format!("Redis `{}` refused: {}", self.declared.instance, plain(error)))
    }

    fn expected(observed: &Observed) -> Result<&ObservedRedis, StateError> {
        match observed {
            Observed::Redis(observed) => Ok(observed),
            _ => Err(StateError::damaged("The snapshot has another kind of item here")),
        }
    }

    /// Refuses a server that would not read the file.
    fn suits(&self, connection: &mut Connection, observed: &ObservedRedis) -> Result<(), StateError> {
        let version = self.version(connection)?;
        if crate::snapshot::older(&version, &observed.server_version) {
            let message = format!(
                "Redis `{}` is {version}, older than the snapshot's {}",
                self.declared.instance, observed.server_version
            );
            return Err(StateError::refused(ErrorClass::Incompatible, message)
                .with_hint("Give the guest a server at least as new, and deploy before the restore"));
        }
        let setting: Vec<String> =
            redis::cmd("CONFIG").arg("GET").arg("appendonly").query(connection).map_err(|e| self.failed(&e))?;
        if setting.get(1).is_some_and(|value| value == "yes") {
            let message = format!(
                "Redis `{}` reads an append-only file, and would not read the snapshot",
                self.declared.instance
            );
            return Err(StateError::refused(ErrorClass::Incompatible, message)
                .with_hint("Set `appendonly no` for the restore; turn it on again with CONFIG SET afterwards"));
        }
        Ok(())
    }

    /// Puts the file in place; the server is stopped.
    fn put(&self, stage: &ItemStage) -> Result<(), StateError> {
        let target = &self.access.file;
        let folder = target.parent().unwrap_or(Path::new("/"));
        let new = target.with_extension("rdb.fedi-restoring");
        let owner = fs::metadata(folder).map_err(StateError::file("look at", folder))?;
        let put = || -> io::Result<()> {
            let mut from = fs::File::open(stage.folder.join("dump.rdb"))?;
            let mut to = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            io::copy(&mut from, &mut to)?;
            fchown(&to, Some(owner.uid()), Some(owner.gid()))?;
            to.sync_all()?;
            fs::rename(&new, target)
        };
        put().map_err(|error| {
            // What was half written must not take the room; the first error counts.
            let _ = fs::remove_file(&new);
            StateError::file("write", target)(error)
        })
    }
}

impl Kind for Redis {
    fn capture(&self, work: &Work, stage: &ItemStage, consistency: Consistency) -> Result<Observed, StateError> {
        let instance = self.declared.instance.clone();
        if self.declared.holds == Holds::Cache {
            stage.clear()?;
            return Ok(Observed::Redis(ObservedRedis {
                instance,
                server_version: String::new(),
                skipped: true,
                keys: BTreeMap::new(),
                expiring: BTreeMap::new(),
                queues: BTreeMap::new(),
                bytes: 0,
                digest: String::new(),
            }));
        }
        stage.filled(|| {
            let mut connection = self.connect()?;
            let server_version = self.version(&mut connection)?;
            let before = self.count(work, &mut connection)?;
            self.save(work, &mut connection)?;
            let copy = stage.folder.join("dump.rdb");
            let bytes = fs::copy(&self.access.file, &copy).map_err(StateError::file("read", &self.access.file))?;
            let mut start = Vec::new();
            let file = fs::File::open(&copy).map_err(StateError::file("read", &copy))?;
            file.take(16).read_to_end(&mut start).map_err(StateError::file("read", &copy))?;
            if !(start.starts_with(MAGIC) || start.starts_with(MAGIC_VALKEY)) {
                return Err(StateError::damaged(format!("`{}` is no file of a Redis", self.access.file.display())));
            }
            let after = self.count(work, &mut connection)?;
            // Keys may end by themselves meanwhile; queued work may not.
            if consistency == Consistency::Quiesced && after.queues != before.queues {
                let message = format!("The queues of Redis `{instance}` moved while it was captured");
                return Err(StateError::refused(ErrorClass::Changed, message)
                    .with_hint("Something still works on them; see which process does"));
            }
            Ok(Observed::Redis(ObservedRedis {
                instance: instance.clone(),
                server_version,
                skipped: false,
                keys: before.keys,
                expiring: before.expiring,
                queues: before.queues,
                bytes,
                digest: sums::write(work, &stage.folder)?,
            }))
        })
    }

    fn fits(&self, _: &Work, observed: &Observed) -> Result<(), StateError> {
        let observed = Self::expected(observed)?;
        if observed.skipped {
            return Ok(());
        }
        self.suits(&mut self.connect()?, observed)
    }

    fn restore(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<(), StateError> {
        let observed = Self::expected(observed)?;
        if observed.skipped {
            return Ok(());
        }
        sums::check(work, &stage.folder, &observed.digest)?;
        let mut connection = self.connect()?;
        self.suits(&mut connection, observed)?;
        let found = self.count(work, &mut connection)?;
        if found.keys.values().sum::<u64>() > 0 {
            // Perhaps an earlier run did it all.
            if compare(&found, observed).is_none() {
                return Ok(());
            }
            let message = format!("Redis `{}` is not empty: it has the keys {:?}", self.declared.instance, found.keys);
            return Err(StateError::refused(ErrorClass::NotEmpty, message)
                .with_hint("Restoring goes only into an empty instance; stop it and move its file away first"));
        }
        drop(connection);
        self.service.stop()?;
        let put = self.put(stage);
        let started = self.service.start();
        put?;
        started?;
        let mut connection = self.connect()?;
        self.loaded(work, &mut connection)?;
        let found = self.count(work, &mut connection)?;
        match compare(&found, observed) {
            None => Ok(()),
            Some(what) => Err(StateError::refused(ErrorClass::Differs, what)),
        }
    }

    fn verify(&self, work: &Work, _: &ItemStage, observed: &Observed) -> Result<Report, StateError> {
        let observed = Self::expected(observed)?;
        if observed.skipped {
            return Ok(Report { checks: Vec::new(), notes: vec!["it holds a cache only, and was skipped".to_owned()] });
        }
        let mut connection = self.connect()?;
        let found = self.count(work, &mut connection)?;
        if let Some(what) = compare(&found, observed) {
            return Err(StateError::refused(ErrorClass::Differs, what));
        }
        let (keys, queued) = (found.keys.values().sum::<u64>(), found.queues.values().sum::<u64>());
        Ok(Report {
            checks: vec![format!("{keys} keys and {queued} queued entries are as recorded")],
            notes: Vec::new(),
        })
    }

    fn contents(&self, work: &Work) -> Result<Option<Contents>, StateError> {
        if self.declared.holds == Holds::Cache {
            return Ok(None);
        }
        let mut connection = self.connect()?;
        let counted = self.count(work, &mut connection)?;
        let keys: u64 = counted.keys.values().sum();
        if keys == 0 {
            return Ok(None);
        }
        let bytes = fs::metadata(&self.access.file).map_or(0, |found| found.len());
        Ok(Some(Contents { what: format!("{keys} keys"), bytes }))
    }

    fn clear(&self, work: &Work) -> Result<(), StateError> {
        let mut connection = self.connect()?;
        redis::cmd("FLUSHALL").exec(&mut connection).map_err(|error| self.failed(&error))?;
        // Else the keys come back with the next start.
        self.save(work, &mut connection)
    }

    fn queued(&self, work: &Work) -> Result<BTreeMap<String, u64>, StateError> {
        if self.declared.queues.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut connection = self.connect()?;
        Ok(self.count(work, &mut connection)?.queues)
    }
}

impl Redis {
    /// Waits until the server has read its file.
    fn loaded(&self, work: &Work, connection: &mut Connection) -> Result<(), StateError> {
        while self.info(connection, "loading")? != "0" {
            work.check()?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// What differs. Keys that end by themselves may have; nothing may have come.
fn compare(found: &Counted, observed: &ObservedRedis) -> Option<String> {
    let instance = &observed.instance;
    for (number, there) in &observed.keys {
        let here = found.keys.get(number).copied().unwrap_or(0);
        let expiring = observed.expiring.get(number).copied().unwrap_or(0);
        if here > *there || here + expiring < *there {
            return Some(format!("Redis `{instance}` has {here} keys in database {number}, not {there}"));
        }
    }
    if let Some(number) = found.keys.keys().find(|number| !observed.keys.contains_key(number)) {
        return Some(format!("Redis `{instance}` has keys in database {number}, which the snapshot does not have"));
    }
    let queue = observed.queues.iter().find(|(prefix, there)| found.queues.get(*prefix) != Some(there));
    queue.map(|(prefix, there)| {
        let here = found.queues.get(prefix).copied().unwrap_or(0);
        format!("Redis `{instance}` has {here} entries under `{prefix}`, not {there}")
    })
}

/// A line of `INFO keyspace`: `db0:keys=3,expires=1,avg_ttl=0`.
fn keyspace(line: &str) -> Option<(u32, u64, u64)> {
    let (number, fields) = line.trim().strip_prefix("db")?.split_once(':')?;
    let field =
        |name: &str| fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    Some((number.parse().ok()?, field("keys")?, field("expires")?))
}

/// An error's text; the server's own never holds a password.
fn plain(error: &redis::RedisError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_keyspace() {
        assert_eq!(keyspace("db10:keys=3,expires=1,avg_ttl=5\r"), Some((10, 3, 1)));
        assert_eq!(keyspace("# Keyspace"), None);
    }

    #[test]
    fn keys_may_end_but_not_come() {
        let mut observed = ObservedRedis {
            instance: "x".to_owned(),
            server_version: String::new(),
            skipped: false,
            keys: [(0, 10)].into(),
            expiring: [(0, 3)].into(),
            queues: BTreeMap::new(),
            bytes: 0,
            digest: String::new(),
        };
        let found = |keys: u64| Counted { keys: [(0, keys)].into(), ..Counted::default() };
        for (keys, fits) in [(10, true), (7, true), (6, false), (11, false)] {
            assert_eq!(compare(&found(keys), &observed).is_none(), fits, "{keys}");
        }
        observed.queues.insert("queue:".to_owned(), 2);
        assert!(compare(&found(10), &observed).unwrap().contains("`queue:`"));
    }
}
