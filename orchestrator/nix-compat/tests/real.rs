//! Real Nix on a flake that needs nothing from outside, in a store of its own. The
//! builder is `/bin/sh` of this machine, bound into Nix's sandbox.

mod common;

use std::time::Duration;

use anyhow::{Context, Result};
use common::{Fixture, skip};
use nix_compat::{Event, Installable, NixError, StorePath, Watch};
use serde_json::{Value, json};

const FLAKE: &str = r#"{
  description = "for tests";
  outputs = { self }: let
    build = name: text: builtins.derivation {
      inherit name;
      system = builtins.currentSystem or "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" text ];
    };
    data = builtins.toFile "data" "content\n";
    leaf = build "leaf" "echo leaf of ${data}; echo ${data} > $out";
    bad = build "bad" "echo about to fail; echo really; exit 3";
  in {
    facts = { number = 1; names = [ "a" "b.c" ]; "dotted.name" = true; };
    broken = throw "this is broken on purpose";
    systems = {
      good = build "good" "read x < ${leaf}; echo $x ${leaf} > $out";
      inherit bad;
      above = build "above" "read x < ${bad}; echo $x > $out";
      slow = build "slow" "echo started; while :; do :; done";
    };
  };
}"#;

fn silent(_: Event) {}

fn watch(emit: &mut (dyn FnMut(Event) + Send)) -> Watch<'_> {
    Watch { emit, limit: Duration::from_secs(120) }
}

macro_rules! fixture {
    () => {
        match Fixture::new(FLAKE).await? {
            Ok(fixture) => fixture,
            Err(why) => {
                skip(&why);
                return Ok(());
            }
        }
    };
}

#[tokio::test]
async fn evaluates() -> Result<()> {
    let fixture = fixture!();
    let facts: Value = fixture.nix.eval(&fixture.attribute(&["facts"])?, watch(&mut silent)).await?;
    assert_eq!(facts, json!({ "number": 1, "names": ["a", "b.c"], "dotted.name": true }));
    let dotted: bool = fixture.nix.eval(&fixture.attribute(&["facts", "dotted.name"])?, watch(&mut silent)).await?;
    assert!(dotted);
    let both: Value = fixture
        .nix
        .eval_through(&fixture.attribute(&["facts"])?, Some("facts: [ facts.number facts.names ]"), watch(&mut silent))
        .await?;
    assert_eq!(both, json!([1, ["a", "b.c"]]));
    // What a system will be is known without building it.
    let path: String =
        fixture.nix.eval(&fixture.attribute(&["systems", "good", "outPath"])?, watch(&mut silent)).await?;
    assert_eq!(StorePath::parse(&path)?.name(), "good");
    assert!(!fixture.store_has(&path));
    Ok(())
}

#[tokio::test]
async fn tells_what_does_not_evaluate() -> Result<()> {
    let fixture = fixture!();
    for (names, words) in [
        (&["broken"][..], "this is broken on purpose"),
        (&["facts", "nothing"][..], "nothing"),
        (&["nowhere", "at all"][..], "nowhere"),
    ] {
        let error = fixture.nix.eval::<Value>(&fixture.attribute(names)?, watch(&mut silent)).await.unwrap_err();
        let NixError::Evaluation { attribute, message } = &error else { panic!("{error:?}") };
        assert!(message.contains(words) && !message.contains('\u{1b}'), "{message}");
        assert!(attribute.contains(names[0]));
        assert!(error.hint().is_some());
        let error = fixture.nix.build(&fixture.attribute(names)?, watch(&mut silent)).await.unwrap_err();
        assert!(matches!(error, NixError::Evaluation { .. }), "{error:?}");
    }
    let elsewhere = Installable::new("/nonexistent/flake", ["a"])?;
    let error = fixture.nix.eval::<Value>(&elsewhere, watch(&mut silent)).await.unwrap_err();
    assert!(matches!(error, NixError::Evaluation { .. }), "{error:?}");
    let mistaken = fixture.nix.eval::<u8>(&fixture.attribute(&["facts"])?, watch(&mut silent)).await.unwrap_err();
    assert!(matches!(mistaken, NixError::Answer { .. }), "{mistaken:?}");
    Ok(())
}

#[tokio::test]
async fn builds_and_measures() -> Result<()> {
    let fixture = fixture!();
    let mut events = Vec::new();
    let built =
        fixture.nix.build(&fixture.attribute(&["systems", "good"])?, watch(&mut |event| events.push(event))).await?;
    assert_eq!(built.output.name(), "good");
    assert!(fixture.store_has(built.output.as_str()));
    let building = events.iter().filter(|event| matches!(event, Event::Building { .. })).count();
    assert_eq!(building, 2, "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::BuildLine { line, .. } if line.starts_with("leaf of"))));
    assert!(events.contains(&Event::Builds { done: 2, expected: 2 }), "{events:?}");

    // A second time there is nothing to do.
    let mut again = Vec::new();
    assert_eq!(
        fixture.nix.build(&fixture.attribute(&["systems", "good"])?, watch(&mut |event| again.push(event))).await?,
        built
    );
    assert!(!again.iter().any(|event| matches!(event, Event::Building { .. })), "{again:?}");

    let info = fixture.nix.path_info(&built.output, watch(&mut silent)).await?.context("it is there")?;
    let closure = fixture.nix.closure(&built.output, watch(&mut silent)).await?;
    assert_eq!(closure.len(), 3, "{closure:?}");
    assert_eq!(info.closure_size, closure.iter().map(|info| info.size).sum::<u64>());
    let mut references: Vec<_> = info.references.iter().map(StorePath::name).collect();
    references.sort_unstable();
    assert_eq!(references, ["data", "leaf"]);
    let absent = StorePath::parse("/nix/store/00000000000000000000000000000000-absent")?;
    assert_eq!(fixture.nix.path_info(&absent, watch(&mut silent)).await?, None);
    Ok(())
}

#[tokio::test]
async fn tells_what_does_not_build() -> Result<()> {
    let fixture = fixture!();
    for system in ["bad", "above"] {
        let error = fixture.nix.build(&fixture.attribute(&["systems", system])?, watch(&mut silent)).await.unwrap_err();
        let NixError::Build { derivation, message, log } = error else { panic!("{error:?}") };
        assert_eq!(derivation.context("a derivation")?.name(), "bad.drv");
        assert_eq!(log, ["about to fail", "really"]);
        assert!(message.contains("exit code 3"), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_or_a_lost_caller_kills_everything() -> Result<()> {
    let fixture = fixture!();
    let slow = fixture.attribute(&["systems", "slow"])?;
    let limited = Watch { emit: &mut silent, limit: Duration::from_secs(3) };
    let error = fixture.nix.build(&slow, limited).await.unwrap_err();
    assert!(matches!(error, NixError::Timeout { seconds: 3, .. }), "{error:?}");
    fixture.wait_until_idle().await?;

    let (started, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let mut emit = |event| {
        if matches!(event, Event::BuildLine { .. }) {
            // The test has gone on already.
            let _ = started.send(());
        }
    };
    tokio::select! {
        built = fixture.nix.build(&slow, watch(&mut emit)) => panic!("{built:?}"),
        _ = begun.recv() => {}
    }
    fixture.wait_until_idle().await
}

#[tokio::test]
async fn no_lock_file_is_written() -> Result<()> {
    let fixture = fixture!();
    let _: Value = fixture.nix.eval(&fixture.attribute(&["facts"])?, watch(&mut silent)).await?;
    assert!(!fixture.flake().join("flake.lock").exists());
    Ok(())
}
