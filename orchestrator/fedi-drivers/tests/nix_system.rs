//! NixOS systems as the driver brings them: a real Nix, a real guest. The flake has
//! no nixpkgs; its one configuration is a toplevel and a manifest, in little.

// A flake in a store of its own, and a guest, as the tests of these crates use them.
#[path = "../../nix-compat/tests/common/mod.rs"]
mod flake;
#[allow(dead_code, reason = "what the agent's own tests need besides")]
#[path = "../../fedi-guest/tests/guest/harness.rs"]
mod harness;

use std::future::Future;

use anyhow::{Context, Result};
use fedi_drivers::guest::SshAccess;
use fedi_drivers::system::NixSystems;
use fedi_engine::drivers::{DriverErrorKind, NoStep, SystemSource};
use fedi_model::inventory::{Deployment, SystemDriver};
use fedi_model::name::{AppName, DeploymentName, HostName};
use fedi_model::resource::{GuestRef, System};

const FLAKE: &str = r#"{
  outputs = { self }: let
    build = name: script: builtins.derivation {
      inherit name;
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" script ];
    };
    configuration = toplevel: manifest: { config = { system.build = { inherit toplevel; }; fedi = { inherit manifest; }; }; };
    manifest.schema = 1;
    manifest.apps.matrix = { version = "1"; upgradesFrom = "1"; gate = "fedi-matrix.target"; };
  in {
    nixosConfigurations = {
      matrix = configuration (build "nixos-system-matrix" "echo system > $out") manifest;
      broken = configuration (build "nixos-system-broken" "echo compiling; echo cannot; exit 1") manifest;
      throws = throw "an option is misspelt";
      newer = configuration (build "nixos-system-newer" "echo > $out") (manifest // { schema = 2; });
      other = configuration (build "nixos-system-other" "echo > $out") { schema = 1; apps = { }; };
    };
  };
}"#;

/// On one thread, which is in the guest's network once there is a guest.
fn wait<T>(work: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work))
}

fn fixture() -> Result<Option<flake::Fixture>> {
    match wait(flake::Fixture::new(FLAKE))?? {
        Ok(fixture) => Ok(Some(fixture)),
        Err(why) => {
            flake::skip(&why);
            Ok(None)
        }
    }
}

fn deployment(name: &str) -> Deployment {
    Deployment {
        name: DeploymentName::new(name).expect("a name"),
        host: HostName::new("here").expect("a name"),
        file: serde_json::from_value(serde_json::json!({ "app": "matrix", "domain": "matrix.example.test" }))
            .expect("a deployment file"),
        has_nix: false,
    }
}

#[test]
fn a_system_is_known_before_it_is_built() -> Result<()> {
    let Some(fixture) = fixture()? else { return Ok(()) };
    let systems = NixSystems::new(fixture.flake(), SshAccess::new("/nonexistent".into())).with_nix(fixture.nix.clone());
    let resolved = wait(systems.resolve(&deployment("matrix")))??;
    assert!(resolved.toplevel.ends_with("-nixos-system-matrix"), "{resolved:?}");
    assert!(resolved.source.ends_with("#nixosConfigurations.matrix"), "{resolved:?}");
    assert!(!fixture.store_has(&resolved.toplevel));
    assert_eq!(resolved.manifest.apps.len(), 1);

    for (name, cause) in [
        ("throws", "an option is misspelt"),
        ("absent", "does not provide attribute"),
        ("newer", "version 2"),
        ("other", "does not declare `matrix`"),
    ] {
        let error = wait(systems.resolve(&deployment(name)))?.expect_err(name);
        assert_eq!(error.kind, DriverErrorKind::Invalid);
        assert!(error.causes.iter().any(|text| text.contains(cause)), "{name}: {error:?}");
        assert!(error.message.contains(&format!("`{name}`")), "{error:?}");
    }
    let absent = wait(systems.resolve(&deployment("absent")))?.expect_err("absent");
    assert!(absent.hint.is_some_and(|hint| hint.contains("git add")));
    Ok(())
}

#[test]
fn a_system_is_built_and_brought_to_its_guest() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let Some(fixture) = fixture()? else { return Ok(()) };
    let systems = NixSystems::new(fixture.flake(), SshAccess::new(guest.key())).with_nix(fixture.nix.clone());
    let known = std::fs::read_to_string(guest.known_hosts())?;
    let (_, key) = known.trim().split_once(' ').context("a host key")?;
    let wanted = |name: &str| -> Result<System> {
        let resolved = wait(systems.resolve(&deployment(name)))??;
        Ok(System {
            guest: GuestRef {
                deployment: DeploymentName::new(name)?,
                host: HostName::new("here")?,
                uuid: guest.uuid,
                addresses: vec![harness::ADDRESS.parse()?],
            },
            app: AppName::new("matrix")?,
            driver: SystemDriver::Nix,
            source: resolved.source,
            toplevel: resolved.toplevel,
        })
    };

    let system = wanted("matrix")?;
    // Twice: the second time there is nothing to do.
    for _ in 0..2 {
        wait(systems.transfer(&system, key, &NoStep::default()))??;
        guest.run(&format!("nix-store --check-validity {}", system.toplevel))?;
    }

    let broken = wait(systems.transfer(&wanted("broken")?, key, &NoStep::default()))?.expect_err("it does not build");
    assert!(broken.causes.contains(&"cannot".to_owned()), "{broken:?}");
    assert!(broken.hint.is_some_and(|hint| hint.starts_with("Run `nix log /nix/store/")));

    let mut stale = system.clone();
    stale.toplevel = stale.toplevel.replace("-matrix", "-older");
    let drift = wait(systems.transfer(&stale, key, &NoStep::default()))?.expect_err("it is not the planned one");
    assert_eq!(drift.kind, DriverErrorKind::Drift, "{drift:?}");

    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4mXrVfLTWYsSfQcMVVO8JXnZKjoOjwWRBTyTYhtJ4J";
    let foreign = wait(systems.transfer(&system, other, &NoStep::default()))?.expect_err("another machine");
    assert_eq!(foreign.kind, DriverErrorKind::Foreign, "{foreign:?}");
    Ok(())
}
