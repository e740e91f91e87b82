//! `postgres` against real servers, two of them: captured on one, restored on the other.

use std::path::{Path, PathBuf};
use std::process::Command;

use fedi_model::manifest::Postgres as Declared;
use fedi_state::postgres::{Access, Postgres};
use fedi_state::{Consistency, ErrorClass, Kind, Observed, StateError, Tools};
use rustix::process::Signal;

use crate::server::{Server, account, as_user, copy_as, folder_of};
use crate::support::{Place, SmallDisk, alter_one_byte, is_root, skipped};

/// Two servers, and the item between them.
struct Pair {
    source: Cluster,
    target: Cluster,
    place: Place,
}

struct Cluster {
    access: Access,
    bin: PathBuf,
    _server: Server,
}

impl Cluster {
    fn start(place: &Place, bin: &Path, name: &str) -> Self {
        let account = account(place, "postgres");
        let folder = place.path(name);
        folder_of(&folder, account);
        copy_as(&place.path("template"), &folder.join("data"));
        let mut postgres = Command::new(bin.join("postgres"));
        postgres.arg("-D").arg(folder.join("data")).arg("-k").arg(&folder).args(["-c", "listen_addresses="]);
        postgres.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]);
        let mut server = Server::start(postgres, account, Signal::INT);
        let host = folder.to_str().unwrap().to_owned();
        let access = Access { host, port: 5432, user: "postgres".to_owned(), run_as: Some(account), passfile: None };
        let ready = |access: &Access| {
            let mut ask = Command::new(bin.join("pg_isready"));
            ask.args(["--quiet", "--host", &access.host]).status().unwrap().success()
        };
        server.until("PostgreSQL", || ready(&access));
        Self { access, bin: bin.to_owned(), _server: server }
    }

    fn sql(&self, database: &str, script: &str) -> String {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h", &self.access.host]);
        let output = psql.args(["-d", database, "-c", script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// What an application leaves in a database: encrypted columns, sequences, large
/// objects, views, functions, partitions, odd names.
const FILL: &str = r#"
    CREATE EXTENSION pg_trgm;
    CREATE TABLE users (id bigserial PRIMARY KEY, name text NOT NULL, otp bytea);
    CREATE INDEX users_name ON users (name);
    CREATE INDEX users_trgm ON users USING gin (name gin_trgm_ops);
    INSERT INTO users (name, otp) SELECT 'user ' || n || ' Zürich', decode(md5(n::text), 'hex') FROM generate_series(1, 5000) n;
    CREATE SCHEMA "odd ""Schema";
    CREATE TABLE "odd ""Schema"."odd 'table" (v text);
    INSERT INTO "odd ""Schema"."odd 'table" VALUES (E'line\nbreak'), (NULL);
    CREATE TABLE e2e_one_time_keys_json (k text);
    INSERT INTO e2e_one_time_keys_json VALUES ('secret');
    CREATE TABLE events (at int NOT NULL) PARTITION BY RANGE (at);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
    INSERT INTO events VALUES (1), (2);
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM users;
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
    SELECT lo_create(4711);
    CREATE SEQUENCE unused;
    DO $$ DECLARE o record; BEGIN
      FOR o IN SELECT c.oid::regclass AS name FROM pg_class c WHERE relkind IN ('r', 'p', 'm') AND relnamespace = 'public'::regnamespace
      LOOP EXECUTE format('ALTER TABLE %s OWNER TO synapse', o.name); END LOOP; END $$;
"#;

fn newest() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop()
}

impl Pair {
    fn start() -> Option<Self> {
        let Some(bin) = newest() else {
            skipped("no PostgreSQL server is installed");
            return None;
        };
        let mut place = Place::new();
        place.work.tools = Tools { folders: vec![bin.clone()] };
        let account = account(&place, "postgres");
        folder_of(&place.path("template"), account);
        let mut initdb = Command::new(bin.join("initdb"));
        initdb.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres"]);
        let made = as_user(initdb, account).arg("--pgdata").arg(place.path("template")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let source = Cluster::start(&place, &bin, "source");
        let target = Cluster::start(&place, &bin, "target");
        for cluster in [&source, &target] {
            cluster.sql("postgres", "CREATE ROLE synapse");
        }
        source.sql("postgres", "CREATE DATABASE synapse OWNER synapse TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        source.sql("synapse", FILL);
        Some(Self { source, target, place })
    }

    fn kind(cluster: &Cluster) -> Postgres {
        let declared = Declared {
            database: "synapse".to_owned(),
            owner: "synapse".to_owned(),
            major: 15,
            encoding: "UTF8".to_owned(),
            locale: Some("C".to_owned()),
            extensions: vec!["pg_trgm".to_owned()],
            skip_rows: vec!["e2e_one_time_keys_json".to_owned()],
        };
        Postgres::new(declared, cluster.access.clone())
    }

    fn capture(&self) -> Result<Observed, StateError> {
        Self::kind(&self.source).capture(&self.place.work, &self.place.item("db"), Consistency::Quiesced)
    }

    fn restore(&self, observed: &Observed) -> Result<(), StateError> {
        Self::kind(&self.target).restore(&self.place.work, &self.place.item("db"), observed)
    }

    fn databases(&self) -> String {
        self.target.sql(
            "postgres",
            "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate",
        )
    }
}

fn figures(observed: &mut Observed) -> &mut fedi_state::snapshot::ObservedPostgres {
    match observed {
        Observed::Postgres(observed) => observed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_database_comes_back_whole_and_only_once() {
    let Some(pair) = Pair::start() else { return };
    let mut observed = pair.capture().unwrap();
    let seen = figures(&mut observed);
    assert_eq!((seen.collate.as_str(), seen.rows["public.users"], seen.large_objects), ("C", 5000, 1));
    assert_eq!(seen.rows["odd \"Schema.odd 'table"], 2);
    assert!(!seen.rows.contains_key("public.e2e_one_time_keys_json"));
    assert_eq!((seen.sequences["public.users_id_seq"], seen.sequences["public.unused"]), (Some(5000), None));
    let item = pair.place.item("db");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(item.folder.join("dump/toc.dat")).unwrap());
    assert_eq!(owner, rustix::process::geteuid().as_raw(), "the dump is not the stage's own");

    pair.restore(&observed).unwrap();
    let report = Pair::kind(&pair.target).verify(&pair.place.work, &item, &observed).unwrap();
    assert!(report.checks.iter().any(|check| check.contains("indexes are sound")), "{report:?}");
    let count = |what: &str| pair.target.sql("synapse", what);
    assert_eq!(count("SELECT count(*) FROM e2e_one_time_keys_json"), "0");
    assert_eq!(count("SELECT nextval('users_id_seq')"), "5001");
    assert_eq!(count("SELECT twice(21)"), "42");
    assert_eq!(count("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'"), "0");
    assert_eq!(count("SELECT tableowner FROM pg_tables WHERE tablename = 'users'"), "synapse");
    // Again: nothing to do, nothing done.
    pair.restore(&observed).unwrap();
    assert_eq!(pair.databases(), "postgres synapse");
    // One row more or less is found.
    pair.target.sql("synapse", "DELETE FROM users WHERE id = 1");
    let error = Pair::kind(&pair.target).verify(&pair.place.work, &item, &observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Differs);
    assert!(error.to_string().contains("`public.users` has 4999 rows, not 5000"), "{error}");
}

#[test]
fn a_database_that_is_not_empty_is_refused_and_an_empty_one_taken() {
    let Some(pair) = Pair::start() else { return };
    let observed = pair.capture().unwrap();
    let create = "CREATE DATABASE synapse OWNER synapse TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    pair.target.sql("postgres", create);
    pair.target.sql("synapse", "CREATE TABLE mine (v int)");
    let error = pair.restore(&observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotEmpty);
    assert!(error.to_string().contains("public.mine"), "{error}");
    assert_eq!(pair.target.sql("synapse", "SELECT count(*) FROM mine"), "0");
    pair.target.sql("synapse", "DROP TABLE mine");
    pair.restore(&observed).unwrap();
    assert_eq!(pair.target.sql("synapse", "SELECT count(*) FROM users"), "5000");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_made() {
    let Some(pair) = Pair::start() else { return };
    let mut observed = pair.capture().unwrap();
    figures(&mut observed).server_major = 99;
    let error = pair.restore(&observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Incompatible, "{error}");
    figures(&mut observed).server_major = 15;
    figures(&mut observed).extensions.insert("nonesuch".to_owned(), "1".to_owned());
    assert_eq!(pair.restore(&observed).unwrap_err().class(), ErrorClass::Missing);
    figures(&mut observed).extensions.remove("nonesuch");
    figures(&mut observed).roles.push("nobody".to_owned());
    assert!(pair.restore(&observed).unwrap_err().to_string().contains("no role `nobody`"));
    figures(&mut observed).roles.pop();
    assert_eq!(pair.databases(), "postgres");
    // An empty database of another collation.
    pair.target.sql(
        "postgres",
        "CREATE DATABASE synapse OWNER synapse TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'",
    );
    let error = pair.restore(&observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Incompatible);
    assert!(error.to_string().contains("collation C.UTF-8"), "{error}");
    // A source that is not what the contract says is not captured at all.
    pair.source.sql("postgres", "ALTER DATABASE synapse OWNER TO postgres");
    assert_eq!(pair.capture().unwrap_err().class(), ErrorClass::Incompatible);
}

#[test]
fn a_dump_that_is_killed_or_called_off_is_no_capture() {
    let Some(mut pair) = Pair::start() else { return };
    let tools = pair.place.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let real = pair.source.bin.join("pg_dump");
    // Killed when most of it is written, but not its table of contents.
    let script = format!(
        "#!/bin/sh\nfor word; do case $last in --file) dump=$word;; esac; last=$word; done\n{} \"$@\" && rm \"$dump/toc.dat\"\nkill -9 $$\n",
        real.display()
    );
    fedi_test::program(&tools.join("pg_dump"), &script);
    pair.place.work.tools.folders.insert(0, tools);
    let error = pair.capture().unwrap_err();
    assert!(error.to_string().contains("signal 9"), "{error}");
    let left = || std::fs::read_dir(pair.place.path("stage/items/db")).unwrap().count();
    assert_eq!(left(), 0);
    pair.place.work.cancel.cancel();
    assert_eq!(pair.capture().unwrap_err().class(), ErrorClass::Cancelled);
    assert_eq!(left(), 0);
    assert_eq!(pair.source.sql("synapse", "SELECT count(*) FROM users"), "5000");
}

#[test]
fn a_damaged_dump_never_takes_the_name() {
    let Some(pair) = Pair::start() else { return };
    let dump = pair.place.path("stage/items/db/dump");
    let biggest = || {
        let files = std::fs::read_dir(&dump).unwrap().map(|entry| entry.unwrap().path());
        files.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap()
    };
    let truncate = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    for fault in [alter_one_byte as fn(&Path), truncate] {
        let observed = pair.capture().unwrap();
        fault(&biggest());
        let error = pair.restore(&observed).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Damaged, "{error}");
        assert_eq!(pair.databases(), "postgres");
    }
    // A dump that the server refuses midway: a role of a grant is not there.
    pair.source.sql("synapse", "CREATE ROLE reader; GRANT SELECT ON users TO reader");
    let observed = pair.capture().unwrap();
    let error = pair.restore(&observed).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Tool, "{error}");
    assert_eq!(pair.databases(), "postgres");
    // What a killed run left is made anew.
    pair.target.sql("postgres", "CREATE ROLE reader");
    pair.restore(&observed).unwrap();
    assert_eq!(pair.databases(), "postgres synapse");
}

#[test]
fn a_full_stage_is_told_and_nothing_stays() {
    if !is_root() {
        skipped("small disks need root");
        return;
    }
    let Some(pair) = Pair::start() else { return };
    let _disk = SmallDisk::mount(&pair.place.path("stage"), 64);
    let error = pair.capture().unwrap_err();
    assert_eq!(error.class(), ErrorClass::Full, "{error}");
    assert_eq!(std::fs::read_dir(pair.place.path("stage/items/db")).unwrap().count(), 0);
}
