//! Workers that misbehave, and the environment they run in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use octodns_client::testing::{Pdns, skip};
use octodns_client::{
    Effect, Error, Interpreter, Limits, OctoDns, Process, Provider, RecordName, RecordSet, RecordType, Venv, VenvError,
    VenvSpec, ZoneName,
};

/// A program that takes an interpreter's place.
fn impostor(directory: &Path, name: &str, script: &str) -> Result<PathBuf> {
    use std::io::Write as _;
    let path = directory.join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path)?;
    write!(file, "#!/bin/sh\n{script}\n")?;
    Ok(path)
}

fn client(interpreter: PathBuf) -> OctoDns {
    OctoDns::new(Process::new(Interpreter::Existing(interpreter)), Provider::new("x.Y"))
}

const HELLO: &str = r#"echo '{"hello": {"octodns": "1.22.0"}}'"#;

#[tokio::test]
async fn a_worker_that_misbehaves_is_a_protocol_error() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let zone = ZoneName::new("example.test")?;
    let dies = format!("{HELLO}; read line; echo 'MemoryError' >&2; exit 1");
    let babbles = format!("{HELLO}; read line; echo 'hello there'; read line");
    let confused = format!("{HELLO}; read line; echo '{{\"id\": 99, \"ok\": true}}'; read line");
    for (name, script, says) in [
        ("dies", &dies, "it ended: MemoryError"),
        ("babbles", &babbles, "not an answer"),
        ("confused", &confused, "an answer to another question"),
    ] {
        let dns = client(impostor(directory.path(), name, script)?);
        // and again: each request gets a new worker after a broken one
        for _ in 0..2 {
            let error = dns.read(&zone).await.unwrap_err();
            assert!(matches!(error, Error::Protocol { effect: Effect::Nothing, .. }), "{error:?}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    let old = client(impostor(directory.path(), "old", r#"echo '{"hello": {"octodns": "1.9.0"}}'; read line"#)?);
    let error = old.read(&zone).await.unwrap_err();
    assert_eq!(error.to_string(), "octoDNS 1.9.0 is not supported, >=1.22,<2 is needed");

    let missing = client(directory.path().join("nothing-here"));
    let error = missing.read(&zone).await.unwrap_err();
    assert!(matches!(error, Error::Venv(VenvError::NoPython(_))), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_worker_that_dies_while_applying_leaves_the_effect_unknown() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let plan = r#"{"id": 1, "ok": true, "checksum": "c", "conflicts": [], "changes": [
        {"before": null, "after": {"name": "x", "type": "A", "ttl": 60, "values": ["192.0.2.1"]}}]}"#;
    let script = format!("{HELLO}; read line; echo '{}'; read line; exit 1", plan.replace('\n', " "));
    let dns = client(impostor(directory.path(), "python", &script)?);
    let zone = ZoneName::new("example.test")?;
    let wanted = RecordSet::new(RecordName::new("x.example.test")?, RecordType::A, 60, ["192.0.2.1"])?;
    let plan = dns.plan(&zone, &[], &[wanted], Limits::KEEP).await?;
    let error = dns.apply(&plan).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert_eq!(error.effect(), Effect::Unknown);
    Ok(())
}

/// Needs a package index; about ten seconds.
#[tokio::test]
async fn an_environment_is_made_found_and_mended() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let spec = VenvSpec::default();
    // two at once make one
    let (first, second) = tokio::join!(Venv::ensure(directory.path(), &spec), Venv::ensure(directory.path(), &spec));
    let venv = match first {
        Err(VenvError::Install { message, .. }) => {
            skip(&format!("no package index to install octoDNS from: {message}"));
            return Ok(());
        }
        made => made?,
    };
    assert_eq!(venv, second?);
    let age = |venv: &Venv| venv.root().join("fedi-complete").metadata()?.modified();
    let made = age(&venv)?;
    assert_eq!(age(&Venv::ensure(directory.path(), &spec).await?)?, made, "it was found, not made again");

    // what a killed installation leaves behind is made anew
    std::fs::remove_file(venv.root().join("fedi-complete"))?;
    let venv = Venv::ensure(directory.path(), &spec).await?;
    assert!(age(&venv)? > made);

    // and so is one that is complete and does not start
    let packages = venv.root().join("lib").read_dir()?.next().unwrap()?.path().join("site-packages");
    std::fs::remove_dir_all(packages.join("octodns"))?;
    let process = Process::new(Interpreter::Managed { dir: directory.path().to_owned(), spec });
    process.warm_up().await?;
    assert!(packages.join("octodns").exists());
    process.close().await;
    Ok(())
}

/// An operator's own interpreter, and no environment of ours anywhere.
#[tokio::test]
async fn an_existing_interpreter_is_used_as_it_is() -> Result<()> {
    let Some(pdns) = Pdns::start()? else {
        return Ok(());
    };
    pdns.create_zone("example.test")?;
    let Some(venv) = octodns_client::testing::venv().await else {
        return Ok(());
    };
    let process = Process::new(Interpreter::Existing(venv.python()));
    let dns = OctoDns::new(process.clone(), pdns.provider()).timeout(Duration::from_secs(20));
    assert_eq!(dns.read(&ZoneName::new("example.test")?).await?.len(), 1);
    process.close().await;
    Ok(())
}
