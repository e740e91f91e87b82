//! `redis` against real servers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use fedi_model::manifest::{Holds, Redis as Declared};
use fedi_state::redis::{Access, Redis, Service};
use fedi_state::{Consistency, ErrorClass, Kind, Observed, StateError};
use rustix::process::Signal;

use crate::server::{Server, account, folder_of, program};
use crate::support::{Place, alter_one_byte, skipped};

const PASSWORD: &str = "correct horse";

/// A server that can be stopped and started again.
#[derive(Clone)]
struct Unit {
    binary: PathBuf,
    folder: PathBuf,
    extra: Vec<&'static str>,
    account: fedi_state::Account,
    running: Arc<Mutex<Option<Server>>>,
}

impl Unit {
    fn new(place: &Place, name: &str, extra: &[&'static str]) -> Option<Self> {
        let Some(binary) = program(&["/usr/bin/redis-server", "/usr/bin/valkey-server"]) else {
            skipped("no Redis server is installed");
            return None;
        };
        let account = account(place, "redis");
        let folder = place.path(name);
        folder_of(&folder, account);
        let unit = Self { binary, folder, extra: extra.to_vec(), account, running: Arc::default() };
        unit.start().unwrap();
        Some(unit)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    fn file(&self) -> PathBuf {
        self.folder.join("dump.rdb")
    }

    fn access(&self) -> Access {
        Access { socket: self.socket(), password: Some(PASSWORD.to_owned().into()), file: self.file() }
    }

    fn ask(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(format!("redis+unix://{}", self.socket().display())).unwrap();
        let mut connection = client.get_connection().unwrap();
        redis::cmd("AUTH").arg(PASSWORD).exec(&mut connection).unwrap();
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut connection).unwrap()
    }

    fn fill(&self) {
        self.ask(&["RPUSH", "queue:default", "job 1", "job 2", "job 3"]);
        self.ask(&["ZADD", "schedule", "1", "later"]);
        self.ask(&["SET", "feed:1", "x"]);
        self.ask(&["SET", "ends", "soon", "EX", "1000"]);
        for number in 0..500 {
            self.ask(&["SET", &format!("key {number}"), "value"]);
        }
    }
}

impl Service for Unit {
    fn start(&self) -> Result<(), StateError> {
        let mut command = Command::new(&self.binary);
        command.args(["--port", "0", "--save", "", "--requirepass", PASSWORD, "--unixsocket"]).arg(self.socket());
        command.arg("--dir").arg(&self.folder).args(&self.extra);
        let mut server = Server::start(command, self.account, Signal::TERM);
        server.until("Redis", || std::os::unix::net::UnixStream::connect(self.socket()).is_ok());
        *self.running.lock().unwrap() = Some(server);
        Ok(())
    }

    fn stop(&self) -> Result<(), StateError> {
        drop(self.running.lock().unwrap().take());
        Ok(())
    }
}

fn kind(unit: &Unit, holds: Holds) -> Redis {
    let queues = vec!["queue:".to_owned(), "schedule".to_owned()];
    let declared = Declared { instance: "mastodon".to_owned(), holds, queues };
    Redis::new(declared, unit.access(), Box::new(unit.clone()))
}

fn captured(place: &Place, unit: &Unit) -> Observed {
    kind(unit, Holds::Mixed).capture(&place.work, &place.item("queue"), Consistency::Quiesced).unwrap()
}

fn figures(observed: &Observed) -> &fedi_state::snapshot::ObservedRedis {
    match observed {
        Observed::Redis(observed) => observed,
        other => panic!("{other:?}"),
    }
}

fn rdb(place: &Place) -> PathBuf {
    place.path("stage/items/queue/dump.rdb")
}

#[test]
fn queues_and_keys_come_back() {
    let place = Place::new();
    let (Some(source), Some(target)) = (Unit::new(&place, "one", &[]), Unit::new(&place, "two", &[])) else { return };
    source.fill();
    let observed = captured(&place, &source);
    let seen = figures(&observed);
    assert_eq!((seen.keys[&0], seen.expiring[&0]), (504, 1));
    assert_eq!((seen.queues["queue:"], seen.queues["schedule"]), (3, 1));
    let there = kind(&target, Holds::Mixed);
    there.restore(&place.work, &place.item("queue"), &observed).unwrap();
    there.verify(&place.work, &place.item("queue"), &observed).unwrap();
    assert_eq!(target.ask(&["LINDEX", "queue:default", "0"]), redis::Value::BulkString(b"job 1".to_vec()));
    // Again: nothing is done to what is there already.
    there.restore(&place.work, &place.item("queue"), &observed).unwrap();
    target.ask(&["RPOP", "queue:default"]);
    let error = there.verify(&place.work, &place.item("queue"), &observed).unwrap_err();
    assert!(error.to_string().contains("2 entries under `queue:`, not 3"), "{error}");
    let error = there.restore(&place.work, &place.item("queue"), &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotEmpty);
}

#[test]
fn what_is_there_is_told_and_cleared() {
    let place = Place::new();
    let Some(unit) = Unit::new(&place, "one", &[]) else { return };
    let kind = kind(&unit, Holds::Mixed);
    assert_eq!(kind.contents(&place.work).unwrap(), None);
    unit.fill();
    let queued = kind.queued(&place.work).unwrap();
    assert_eq!((queued["queue:"], queued["schedule"]), (3, 1));
    let observed = captured(&place, &unit);
    assert_eq!(kind.contents(&place.work).unwrap().unwrap().what, "504 keys");
    kind.clear(&place.work).unwrap();
    assert_eq!(kind.contents(&place.work).unwrap(), None);
    // Also after a restart, which reads the file.
    unit.stop().unwrap();
    unit.start().unwrap();
    assert_eq!(kind.contents(&place.work).unwrap(), None);
    kind.restore(&place.work, &place.item("queue"), &observed).unwrap();
    kind.verify(&place.work, &place.item("queue"), &observed).unwrap();
}

#[test]
fn a_cache_is_skipped() {
    let place = Place::new();
    let Some(unit) = Unit::new(&place, "one", &[]) else { return };
    let kind = kind(&unit, Holds::Cache);
    let observed = kind.capture(&place.work, &place.item("queue"), Consistency::Quiesced).unwrap();
    assert!(figures(&observed).skipped);
    kind.restore(&place.work, &place.item("queue"), &observed).unwrap();
    assert_eq!(kind.verify(&place.work, &place.item("queue"), &observed).unwrap().notes.len(), 1);
}

#[test]
fn a_damaged_file_is_never_put_in_place() {
    let place = Place::new();
    let (Some(source), Some(target)) = (Unit::new(&place, "one", &[]), Unit::new(&place, "two", &[])) else { return };
    source.fill();
    let truncate = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(20).unwrap();
    for fault in [alter_one_byte as fn(&Path), truncate] {
        let observed = captured(&place, &source);
        fault(&rdb(&place));
        let error = kind(&target, Holds::Mixed).restore(&place.work, &place.item("queue"), &observed).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Damaged);
        assert!(!target.file().exists());
    }
}

#[test]
fn a_server_that_would_not_read_the_file_is_refused() {
    let place = Place::new();
    let Some(source) = Unit::new(&place, "one", &[]) else { return };
    let Some(target) = Unit::new(&place, "two", &["--appendonly", "yes"]) else { return };
    source.fill();
    let observed = captured(&place, &source);
    let error = kind(&target, Holds::Mixed).restore(&place.work, &place.item("queue"), &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Incompatible);
    assert!(error.hint().unwrap().contains("appendonly"));
}

#[test]
fn a_server_that_is_not_there_or_refuses_us_is_told_without_the_password() {
    let place = Place::new();
    let Some(unit) = Unit::new(&place, "one", &[]) else { return };
    let mut access = unit.access();
    access.password = Some("wrong secret".to_owned().into());
    let declared = Declared { instance: "x".to_owned(), holds: Holds::Queue, queues: Vec::new() };
    let wrong = Redis::new(declared, access, Box::new(unit.clone()));
    let error = wrong.capture(&place.work, &place.item("queue"), Consistency::Live).unwrap_err();
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    unit.stop().unwrap();
    let error = kind(&unit, Holds::Queue).capture(&place.work, &place.item("queue"), Consistency::Live).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unreachable, "{error}");
}
