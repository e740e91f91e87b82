//! MariaDB, Redis and buckets through the agent: there and back again between real servers,
//! and what is refused with nothing touched.

use std::fs;
use std::os::unix::fs::MetadataExt;

use fedi_guest::protocol::{ErrorKind, StatePause, StatePlaces, StateRestore, StateVerify};
use fedi_model::state::Consistency::{DumpThenFiles, Quiesced};
use serde_json::{Value, json};

use crate::machine::{Machine, captures, repository, restores, toy};
use crate::running::{Redis, ask_mariadb, mariadb};
use crate::seen::{altered, noise, restic, succeeds};
use crate::servers::{self, garage::Garage};

/// Declares one item instead of those that the toy has.
fn only(machine: &Machine, name: &str, item: &Value) {
    machine.declare(|app| {
        app["items"] = json!({ name: item });
        app["order"] = json!([name]);
        app["secrets"]["signing-key"]["protects"] = json!([]);
    });
}

fn is_empty(machine: &Machine) -> bool {
    machine.call(StatePlaces { app: toy() }).unwrap().places.iter().all(|place| place.holds.is_none())
}

#[test]
fn a_database_of_mariadb() {
    let (Some(source), Some(target)) = (Machine::with_application(), Machine::dormant("1.5")) else { return };
    let (Some(here), Some(there)) = (mariadb(&source), mariadb(&target)) else { return };
    let (_folder, repository) = repository();
    for machine in [&source, &target] {
        only(machine, "db", &json!({ "mysql": { "database": "toy", "owner": "toy" } }));
    }
    ask_mariadb(
        &source,
        "CREATE DATABASE toy CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; USE toy;
         CREATE TABLE users (id bigint AUTO_INCREMENT PRIMARY KEY, name varchar(100), app_key varbinary(64));
         INSERT INTO users (name, app_key) VALUES ('Zürich 🐘', x'00ff27'); CREATE VIEW names AS SELECT name FROM users;
         INSERT INTO users (name) SELECT seq FROM seq_1_to_3000;",
    );
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    assert_eq!(captured.manifest["items"]["db"]["mysql"]["rows"]["users"], 3001, "{}", captured.manifest);
    let wants = restores(&repository, &captured);

    // Of a newer server; then into what is not empty, or of another character set.
    let newer = |it: &mut Value| it["items"]["db"]["mysql"]["serverVersion"] = "99.1.0-MariaDB".into();
    let newer = StateRestore { snapshot: altered(&repository, &captured.snapshot, newer), ..wants.clone() };
    let error = target.untouched(&repository, newer);
    assert_eq!(error.kind, ErrorKind::Incompatible);
    assert!(error.message.contains("the dump is of 99.1.0-MariaDB"), "{error}");
    ask_mariadb(&target, "CREATE DATABASE toy CHARACTER SET latin1");
    let error = target.untouched(&repository, wants.clone());
    assert_eq!(error.kind, ErrorKind::Incompatible);
    assert!(error.message.contains("latin1"), "{error}");
    ask_mariadb(&target, "DROP DATABASE toy; CREATE DATABASE toy; CREATE TABLE toy.mine (v int)");
    let error = target.untouched(&repository, wants.clone());
    assert_eq!(error.kind, ErrorKind::NotEmpty);
    assert_eq!(ask_mariadb(&target, "SHOW TABLES FROM toy"), "mine");
    ask_mariadb(&target, "DROP DATABASE toy");
    assert!(is_empty(&target));

    let restored = target.call(wants.clone()).unwrap();
    assert!(!restored.items[0].checks.is_empty(), "{restored:?}");
    assert_eq!(ask_mariadb(&target, "SELECT name, hex(app_key) FROM toy.users WHERE id = 1"), "Zürich 🐘\t00FF27");
    assert_eq!(ask_mariadb(&target, "SELECT count(*) FROM toy.names"), "3001");
    ask_mariadb(&target, "DELETE FROM toy.users WHERE id = 7");
    let verify = StateVerify { app: toy(), repository, snapshot: captured.snapshot };
    assert_eq!(target.refuses(verify).0, ErrorKind::Differs);
    drop((here, there));
}

#[test]
fn a_dump_of_mariadb_that_is_killed() {
    let Some(source) = Machine::with_application() else { return };
    let Some(server) = mariadb(&source) else { return };
    let (_folder, repository) = repository();
    only(&source, "db", &json!({ "mysql": { "database": "toy", "owner": "toy" } }));
    ask_mariadb(
        &source,
        "CREATE DATABASE toy; USE toy; CREATE TABLE t (n int); INSERT INTO t SELECT seq FROM seq_1_to_3000",
    );
    for (end, kind) in [("kill -9 $$", ErrorKind::ToolFailed), ("exit 0", ErrorKind::Damaged)] {
        let script = format!("#!/bin/sh\n/usr/bin/mariadb-dump \"$@\" | head -c 1000\n{end}\n");
        source.tool("mariadb-dump", &script);
        let error = source.untouched(&repository, captures(&repository, DumpThenFiles, "one"));
        assert_eq!(error.kind, kind, "{error}");
    }
    source.no_tool("mariadb-dump");
    source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    drop(server);
}

#[test]
fn a_redis_is_stopped_while_its_file_is_put_in_place() {
    let (Some(source), Some(target)) = (Machine::with_application(), Machine::dormant("1.5")) else { return };
    let (Some(here), Some(there)) = (Redis::start(&source), Redis::start(&target)) else { return };
    let (_folder, repository) = repository();
    let item = json!({ "redis": { "instance": "toy", "holds": "mixed", "queues": ["queue:", "schedule"] } });
    for machine in [&source, &target] {
        only(machine, "queue", &item);
    }
    here.ask(&["RPUSH", "queue:default", "job 1", "job 2", "job 3"]);
    here.ask(&["ZADD", "schedule", "1", "later"]);
    here.ask(&["SET", "feed:1", "x"]);
    // What does not drain is told, and part of the state.
    let paused = source.call(StatePause { app: toy(), drain: true }).unwrap();
    assert_eq!((paused.queued["queue/queue:"], paused.queued["queue/schedule"]), (3, 1));
    let captured = source.call(captures(&repository, Quiesced, "one")).unwrap();
    let wants = restores(&repository, &captured);
    assert_eq!(here.noted(), ["started "], "the source was never stopped");

    let newer = |it: &mut Value| it["items"]["queue"]["redis"]["serverVersion"] = "99.0.0".into();
    let newer = StateRestore { snapshot: altered(&repository, &captured.snapshot, newer), ..wants.clone() };
    let error = target.untouched(&repository, newer);
    assert_eq!(error.kind, ErrorKind::Incompatible);
    assert!(error.message.contains("older than the snapshot's 99.0.0"), "{error}");
    there.ask(&["SET", "mine", "1"]);
    let error = target.untouched(&repository, wants.clone());
    assert_eq!(error.kind, ErrorKind::NotEmpty);
    assert_eq!(there.ask(&["GET", "mine"]), "1");
    there.ask(&["DEL", "mine"]);
    there.ask(&["CONFIG", "SET", "appendonly", "yes"]);
    assert_eq!(target.untouched(&repository, wants.clone()).kind, ErrorKind::Incompatible);
    there.ask(&["CONFIG", "SET", "appendonly", "no"]);
    assert_eq!(there.noted(), ["started "], "nothing was stopped for what is refused");

    target.call(wants.clone()).unwrap();
    assert_eq!(there.ask(&["LRANGE", "queue:default", "0", "-1"]), "job 1\njob 2\njob 3");
    assert_eq!(target.jobs(), ["start redis-toy.service", "stop redis-toy.service", "start redis-toy.service"]);
    // When it ended it wrote a file of its own; when it started, the snapshot's lay there.
    let file = succeeds(restic(&repository).args(["dump", &captured.snapshot, "/items/queue/dump.rdb"]));
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&file);
    let noted = there.noted();
    assert_eq!(noted[2], format!("started {}", hex::encode(digest)));
    assert!(noted[1].starts_with("ended ") && noted[1][6..] != noted[2][8..], "{noted:?}");
    let rdb = fs::metadata(target.path("/var/lib/redis-toy/dump.rdb")).unwrap();
    assert_eq!(rdb.uid(), fs::metadata(target.path("/var/lib/redis-toy")).unwrap().uid());
    // Again: it is not stopped for what is there already.
    target.call(wants).unwrap();
    assert_eq!(there.noted().len(), 3);
}

#[test]
fn a_bucket_at_another_endpoint_with_other_keys() {
    let Some(_) = servers::program("/usr/bin/rclone") else { return };
    let (Some(source), Some(target)) = (Machine::with_application(), Machine::dormant("1.5")) else { return };
    let (Some(here), Some(there)) =
        (Garage::start(&source.path("/garage"), 0x1a), Garage::start(&target.path("/garage"), 0x2b))
    else {
        return;
    };
    let (_folder, repository) = repository();
    for (machine, garage) in [(&source, &here), (&target, &there)] {
        let bucket = json!({ "bucket": "media", "endpoint": garage.endpoint(), "region": "garage",
            "accessKey": "s3-key-id", "secretKey": "s3-key" });
        only(machine, "objects", &json!({ "bucket": bucket }));
        machine.declare(|app| {
            for (name, value) in [("s3-key-id", &garage.key), ("s3-key", &garage.secret)] {
                let path = format!("/var/lib/fedi/secrets/toy/{name}");
                app["secrets"][name] =
                    json!({ "class": "provider", "generator": { "hex": { "bytes": 8 } }, "path": path });
                machine.write(&path, value.as_bytes());
            }
        });
    }
    let files = source.path("/objects");
    source.write("/objects/a b+c&d=ü?#%.png", b"odd");
    source.write("/objects/deep/er/film", &noise(6 << 20));
    for number in 0..30 {
        source.write(&format!("/objects/many/{number}"), format!("content {number}").as_bytes());
    }
    succeeds(here.rclone().arg("copy").arg(&files).arg("g:media"));
    let captured = source.call(captures(&repository, DumpThenFiles, "one")).unwrap();
    assert_eq!(captured.manifest["items"]["objects"]["bucket"]["objects"], 32, "{}", captured.manifest);
    let wants = restores(&repository, &captured);

    // A key that was not delivered, and another one.
    let secret = target.path("/var/lib/fedi/secrets/toy/s3-key");
    fs::remove_file(&secret).unwrap();
    let error = target.untouched(&repository, wants.clone());
    assert_eq!(error.kind, ErrorKind::Missing);
    assert!(error.message.contains("`s3-key`"), "{error}");
    fs::write(&secret, "cd".repeat(32)).unwrap();
    let error = target.untouched(&repository, wants.clone());
    assert_eq!(error.kind, ErrorKind::Password, "{error}");
    assert!(!format!("{error:?}").contains("cdcd"), "{error:?}");
    fs::write(&secret, &there.secret).unwrap();

    succeeds(there.rclone().args(["copyto"]).arg(source.path("/var/lib/toy/picture")).arg("g:media/mine"));
    let error = target.untouched(&repository, wants.clone());
    assert_eq!(error.kind, ErrorKind::NotEmpty);
    assert_eq!(succeeds(there.rclone().args(["lsf", "g:media"])), b"mine\n");
    succeeds(there.rclone().args(["deletefile", "g:media/mine"]));
    assert!(is_empty(&target));

    target.call(wants.clone()).unwrap();
    succeeds(there.rclone().args(["check", "--download"]).arg(&files).arg("g:media"));
    succeeds(there.rclone().args(["deletefile", "g:media/many/7"]));
    let verify = StateVerify { app: toy(), repository, snapshot: captured.snapshot };
    assert_eq!(target.refuses(verify).0, ErrorKind::Differs);
    drop((here, there));
}
