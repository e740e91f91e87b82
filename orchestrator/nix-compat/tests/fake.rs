//! What real Nix of this machine cannot show: other versions of it, and answers that
//! are none. `nix` is a script here; the real one is in `real.rs`.

use std::time::Duration;

use anyhow::Result;
use nix_compat::{Installable, Nix, NixError, StorePath, Watch};
use serde_json::Value;

const BASE: &str = "5r7jmrdk3cdd3vy3min1n6f9gi28vvhx-toy";

struct Fake {
    _folder: tempfile::TempDir,
    nix: Nix,
}

/// A `nix` of this version that does `script` for everything else.
fn fake(version: &str, script: &str) -> Result<Fake> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("nix");
    fedi_test::program(
        &program,
        &format!("#!/bin/sh\n[ \"$1\" = --version ] && echo '{version}' && exit 0\n{script}\n"),
    );
    let nix = Nix::new().with_program(program);
    Ok(Fake { _folder: folder, nix })
}

fn watch(emit: &mut (dyn FnMut(nix_compat::Event) + Send)) -> Watch<'_> {
    Watch { emit, limit: Duration::from_secs(60) }
}

fn attribute() -> Installable {
    Installable::new("/srv/inventory", ["nixosConfigurations", "matrix"]).expect("an attribute")
}

#[tokio::test]
async fn missing_or_too_old() -> Result<()> {
    let missing = Nix::new().with_program("/nonexistent/nix").version().await.unwrap_err();
    assert!(matches!(missing, NixError::Missing { .. }));
    assert!(missing.hint().is_some_and(|hint| hint.contains("nix-bin")));
    let old = fake("nix (Nix) 2.3.16", "exit 1")?;
    let error = old.nix.eval::<Value>(&attribute(), watch(&mut |_| {})).await.unwrap_err();
    assert!(matches!(&error, NixError::Invalid { message } if message.contains("2.3.16 is too old")), "{error:?}");
    let none = fake("hello", "exit 1")?;
    assert!(matches!(none.nix.version().await.unwrap_err(), NixError::Answer { .. }));
    Ok(())
}

#[tokio::test]
async fn the_form_of_path_info_is_asked_for_where_it_can_be() -> Result<()> {
    let path = StorePath::parse(&format!("/nix/store/{BASE}"))?;
    let entry = format!(r#"{{"/nix/store/{BASE}":{{"narSize":1,"closureSize":2,"references":[]}}}}"#);
    for (version, asks) in
        [("nix (Nix) 2.34.1", true), ("nix (Nix) 2.31.0", false), ("nix (Lix, like Nix) 2.94.0", false)]
    {
        let wanted = if asks { "*'--json-format 1'*" } else { "*" };
        let refused = if asks { "--never--" } else { "--json-format" };
        let script = format!(
            "case \"$*\" in *'{refused}'*) echo 'error: unrecognised flag' >&2; exit 1;; {wanted}) echo '{entry}';; *) exit 1;; esac"
        );
        let fake = fake(version, &script)?;
        let info = fake.nix.path_info(&path, watch(&mut |_| {})).await?;
        assert_eq!(info.map(|info| (info.size, info.closure_size)), Some((1, 2)), "{version}");
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_build_in_the_words_of_newer_versions() -> Result<()> {
    let drv = format!("/nix/store/{BASE}.drv");
    let script = format!(
        r#"echo '@nix {{"action":"start","fields":["{drv}","",1,1],"id":2,"level":3,"text":"","type":105}}' >&2
echo '@nix {{"action":"result","fields":["the last word"],"id":2,"type":101}}' >&2
printf '%s\n' "@nix {{\"action\":\"msg\",\"level\":0,\"msg\":\"error: Cannot build '{drv}'.\\\\nReason: builder failed with exit code 1.\"}}" >&2
exit 1"#
    );
    let fake = fake("nix (Nix) 2.33.0", &script)?;
    let error = fake.nix.build(&attribute(), watch(&mut |_| {})).await.unwrap_err();
    let NixError::Build { derivation, log, message } = error else { panic!("{error:?}") };
    assert_eq!(derivation.map(|path| path.to_string()), Some(drv), "{message}");
    assert_eq!(log, ["the last word"]);
    Ok(())
}

#[tokio::test]
async fn answers_that_are_none() -> Result<()> {
    for answer in ["", "not json", "[]", "{}", "[{\"outputs\":{}}]", "[{\"outputs\":{\"out\":\"/etc/passwd\"}}]"] {
        let fake = fake("nix (Nix) 2.34.0", &format!("printf '%s' '{answer}'"))?;
        let error = fake.nix.build(&attribute(), watch(&mut |_| {})).await.unwrap_err();
        assert!(matches!(error, NixError::Answer { .. }), "{answer}: {error:?}");
    }
    let killed = fake("nix (Nix) 2.34.0", "kill -9 $$")?;
    let error = killed.nix.eval::<Value>(&attribute(), watch(&mut |_| {})).await.unwrap_err();
    assert!(matches!(error, NixError::Evaluation { .. }), "{error:?}");
    Ok(())
}
