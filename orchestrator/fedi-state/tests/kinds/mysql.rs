//! `mysql` against real MariaDB servers, two of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fedi_model::manifest::Mysql as Declared;
use fedi_state::mysql::{Access, Mysql};
use fedi_state::{Consistency, ErrorClass, Kind, Observed, StateError};
use rustix::process::Signal;

use crate::server::{Server, account, as_user, copy_as, folder_of, program};
use crate::support::{Place, SmallDisk, alter_one_byte, is_root, skipped};

struct Maria {
    access: Access,
    _server: Server,
}

impl Maria {
    fn start(place: &Place, daemon: &Path, name: &str) -> Self {
        let account = account(place, "mysql");
        let folder = place.path(name);
        folder_of(&folder, account);
        let temporary = format!("--tmpdir={}", folder.display());
        copy_as(&place.path("template"), &folder.join("data"));
        let socket = folder.join("socket");
        let mut command = Command::new(daemon);
        command.arg("--no-defaults").arg("--datadir").arg(folder.join("data")).arg("--socket").arg(&socket);
        command.arg("--pid-file").arg(folder.join("pid")).arg(&temporary);
        command.args(["--skip-networking", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=32M"]);
        let mut server = Server::start(command, account, Signal::TERM);
        server.until("MariaDB", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        let access = Access { socket, user: "root".to_owned(), run_as: None, option_file: None };
        Self { access, _server: server }
    }

    fn sql(&self, script: &str) -> String {
        let mut client = Command::new("mariadb");
        client
            .args([
                "--no-defaults",
                "--default-character-set=utf8mb4",
                "--batch",
                "--skip-column-names",
                "--user=root",
                "--socket",
            ])
            .arg(&self.access.socket);
        let output = client.arg("--execute").arg(script).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn kind(&self) -> Mysql {
        let declared = Declared { database: "pixelfed".to_owned(), owner: "pixelfed".to_owned() };
        Mysql::new(declared, self.access.clone())
    }
}

const FILL: &str = "
    CREATE DATABASE pixelfed CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; USE pixelfed;
    CREATE TABLE users (id bigint AUTO_INCREMENT PRIMARY KEY, name varchar(100), app_key varbinary(64));
    INSERT INTO users (name, app_key) VALUES ('Zürich 🐘', x'00ff27'), ('quote '' \\\\ line\\nbreak', NULL);
    INSERT INTO users (name) SELECT seq FROM seq_1_to_3000;
    CREATE TABLE `odd ``table` (v text); INSERT INTO `odd ``table` VALUES ('1');
    CREATE VIEW names AS SELECT name FROM users;
    CREATE TRIGGER filled BEFORE INSERT ON users FOR EACH ROW SET NEW.name = coalesce(NEW.name, 'nobody');
    CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC RETURN n * 2;
";

fn pair() -> Option<(Place, Maria, Maria)> {
    let Some(daemon) = program(&["/usr/sbin/mariadbd", "/usr/sbin/mysqld"]) else {
        skipped("no MariaDB server is installed");
        return None;
    };
    let place = Place::new();
    let account = account(&place, "mysql");
    folder_of(&place.path("template"), account);
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    let template = place.path("template").display().to_string();
    let made =
        as_user(install, account).args([format!("--tmpdir={template}"), format!("--datadir={template}")]).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (source, target) = (Maria::start(&place, &daemon, "one"), Maria::start(&place, &daemon, "two"));
    source.sql(FILL);
    Some((place, source, target))
}

fn capture(place: &Place, source: &Maria) -> Result<Observed, StateError> {
    source.kind().capture(&place.work, &place.item("db"), Consistency::Quiesced)
}

fn figures(observed: &mut Observed) -> &mut fedi_state::snapshot::ObservedMysql {
    match observed {
        Observed::Mysql(observed) => observed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_there_is_told_and_cleared() {
    let Some((place, source, _)) = pair() else { return };
    let (kind, item) = (source.kind(), place.item("db"));
    let observed = capture(&place, &source).unwrap();
    let contents = kind.contents(&place.work).unwrap().unwrap();
    assert_eq!(contents.what, "2 tables, 3 programs");
    assert!(contents.bytes > 0);
    assert_eq!(kind.users(&place.work).unwrap(), Vec::<String>::new());
    kind.clear(&place.work).unwrap();
    assert_eq!(kind.contents(&place.work).unwrap(), None);
    kind.clear(&place.work).unwrap();
    kind.restore(&place.work, &item, &observed).unwrap();
    kind.verify(&place.work, &item, &observed).unwrap();
}

#[test]
fn a_database_comes_back_whole() {
    let Some((place, source, target)) = pair() else { return };
    let mut observed = capture(&place, &source).unwrap();
    let seen = figures(&mut observed);
    assert_eq!((seen.rows["users"], seen.rows["odd `table"], seen.programs, seen.rows_exact), (3002, 1, 3, true));
    let there = target.kind();
    let item = place.item("db");
    there.restore(&place.work, &item, &observed).unwrap();
    there.verify(&place.work, &item, &observed).unwrap();
    assert_eq!(target.sql("SELECT name, hex(app_key) FROM pixelfed.users WHERE id = 1"), "Zürich 🐘\t00FF27");
    assert_eq!(target.sql("SELECT pixelfed.twice(21)"), "42");
    assert_eq!(
        target.sql("INSERT INTO pixelfed.users () VALUES (); SELECT name FROM pixelfed.users ORDER BY id DESC LIMIT 1"),
        "nobody"
    );
    let error = there.verify(&place.work, &item, &observed).unwrap_err();
    assert!(error.to_string().contains("`users` has 3003 rows, not 3002"), "{error}");
    assert_eq!(there.restore(&place.work, &item, &observed).unwrap_err().class(), ErrorClass::NotEmpty);
    target.sql("DELETE FROM pixelfed.users ORDER BY id DESC LIMIT 1");
    there.restore(&place.work, &item, &observed).unwrap();
    // A run that was killed midway is made anew.
    target.sql("CREATE TABLE pixelfed.fedi_restoring (x int); DROP TABLE pixelfed.`odd ``table`");
    assert_eq!(there.verify(&place.work, &item, &observed).unwrap_err().class(), ErrorClass::Differs);
    there.restore(&place.work, &item, &observed).unwrap();
    there.verify(&place.work, &item, &observed).unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some((place, source, target)) = pair() else { return };
    let mut observed = capture(&place, &source).unwrap();
    let version = std::mem::replace(&mut figures(&mut observed).server_version, "99.1.0-MariaDB".to_owned());
    let restore = |observed: &Observed| target.kind().restore(&place.work, &place.item("db"), observed);
    assert_eq!(restore(&observed).unwrap_err().class(), ErrorClass::Incompatible);
    figures(&mut observed).server_version = version;
    target.sql("CREATE DATABASE pixelfed CHARACTER SET latin1");
    assert_eq!(restore(&observed).unwrap_err().class(), ErrorClass::Incompatible);
    target.sql("ALTER DATABASE pixelfed CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci");
    target.sql("CREATE TABLE pixelfed.mine (v int)");
    assert_eq!(restore(&observed).unwrap_err().class(), ErrorClass::NotEmpty);
    assert_eq!(target.sql("SHOW TABLES FROM pixelfed"), "mine");
    target.sql("DROP TABLE pixelfed.mine");
    restore(&observed).unwrap();
}

#[test]
fn a_dump_that_is_killed_cut_off_or_altered_is_never_good() {
    let Some((mut place, source, target)) = pair() else { return };
    let folders = place.work.tools.folders.clone();
    let tools = place.path("tools");
    fs::create_dir(&tools).unwrap();
    let wrapper = |end: &str| {
        let script = format!("#!/bin/sh\n/usr/bin/mariadb-dump \"$@\" | head -c 1000\n{end}\n");
        fedi_test::program(&tools.join("mariadb-dump"), &script);
    };
    place.work.tools.folders = vec![tools.clone()];
    wrapper("kill -9 $$");
    assert!(capture(&place, &source).unwrap_err().to_string().contains("signal 9"));
    // A pipe that hides the failure: the missing end is found all the same.
    wrapper("exit 0");
    assert_eq!(capture(&place, &source).unwrap_err().class(), ErrorClass::Damaged);
    assert_eq!(fs::read_dir(place.path("stage/items/db")).unwrap().count(), 0);
    place.work.tools.folders = folders;
    let dump: PathBuf = place.path("stage/items/db/dump.sql");
    let truncate = |path: &Path| fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap();
    for fault in [alter_one_byte as fn(&Path), truncate] {
        let observed = capture(&place, &source).unwrap();
        fault(&dump);
        let error = target.kind().restore(&place.work, &place.item("db"), &observed).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Damaged);
        assert_eq!(target.sql("SHOW DATABASES LIKE 'pixelfed'"), "");
    }
    if !is_root() {
        skipped("small disks need root");
        return;
    }
    fs::remove_dir_all(place.path("stage")).unwrap();
    let _disk = SmallDisk::mount(&place.path("stage"), 64);
    assert_eq!(capture(&place, &source).unwrap_err().class(), ErrorClass::Full);
}
