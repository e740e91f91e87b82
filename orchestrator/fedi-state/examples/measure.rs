//! How fast a folder or a database is captured and restored, and how much memory
//! that takes: `measure directory SOURCE STAGE TARGET` and
//! `measure postgres SOCKET-FOLDER DATABASE STAGE TARGET-SOCKET-FOLDER`.
//! Compare with `rsync -a` and `pg_dump -Fd -j2 | pg_restore -j2` of the same data.

use std::time::Instant;

use anyhow::{Context as _, bail};
use fedi_model::manifest;
use fedi_state::directory::Directory;
use fedi_state::postgres::{Access, Postgres};
use fedi_state::{Accounts, Consistency, Kind, Stage, Work};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let accounts = Accounts::load()?;
    let (stage, source, target): (_, Box<dyn Kind>, Box<dyn Kind>) = match words[..] {
        ["directory", source, stage, target] => {
            let kind = |path: &str| {
                let (path, owner, exclude) = (path.to_owned(), "root".to_owned(), Vec::new());
                let declared =
                    manifest::Directory { path, owner, exclude, group: None, at_least_files: 0, at_least_bytes: 0 };
                Directory::new(declared, accounts.clone())
            };
            (stage, Box::new(kind(source)?), Box::new(kind(target)?))
        }
        ["postgres", source, database, stage, target] => {
            let account = accounts.user("postgres")?;
            let kind = |host: &str| {
                let declared = manifest::Postgres {
                    database: database.to_owned(),
                    owner: "postgres".to_owned(),
                    major: 1,
                    encoding: "UTF8".to_owned(),
                    locale: None,
                    extensions: Vec::new(),
                    skip_rows: Vec::new(),
                };
                let (host, user) = (host.to_owned(), "postgres".to_owned());
                Postgres::new(declared, Access { host, port: 5432, user, run_as: Some(account), passfile: None })
            };
            (stage, Box::new(kind(source)), Box::new(kind(target)))
        }
        _ => bail!("see the top of examples/measure.rs"),
    };
    let work = Work::default();
    let item = Stage::begin(stage)?.item_to_fill("item")?;
    let time = Instant::now();
    source.capture(&work, &item, Consistency::Quiesced)?;
    println!("capture {:.2} s", time.elapsed().as_secs_f64());
    let time = Instant::now();
    let observed = source.capture(&work, &item, Consistency::Quiesced)?;
    println!("capture again {:.2} s", time.elapsed().as_secs_f64());
    let time = Instant::now();
    target.restore(&work, &item, &observed)?;
    println!("restore {:.2} s", time.elapsed().as_secs_f64());
    let time = Instant::now();
    target.verify(&work, &item, &observed)?;
    println!("verify {:.2} s", time.elapsed().as_secs_f64());
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).context("no VmHWM")?;
    println!("{}", peak.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(())
}
