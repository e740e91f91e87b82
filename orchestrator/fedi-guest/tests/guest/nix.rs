//! A system that Nix builds: copied to a real guest over SSH, activated under the
//! supervisor, rolled back when it fails or when nobody confirms.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fedi_guest::protocol::{
    Activate, ActivationShow, Confirm, ErrorKind, FactsRequest, GenerationsRequest, Phase, Reason, Rollback,
};
use nix_compat::{
    NixError, Profile, Protocol, Runner, SshError, SshHost, SshTarget, StorePath, Transfer, Trust, Watch,
};
use uuid::Uuid;

use crate::flake::Fixture;
use crate::harness::{self, ADDRESS, TestGuest, wait_for};

const PROFILE: &str = "/nix/var/nix/profiles";

/// Systems with a `switch-to-configuration` that behaves as NixOS's does, in little.
const FLAKE: &str = r#"{
  outputs = { self }: let
    system = name: more: builtins.derivation {
      inherit name;
      system = "x86_64-linux";
      builder = "/bin/sh";
      PATH = "/usr/bin";
      dependency = builtins.toFile "data" "of ${name}\n";
      script = ''
        #!/bin/sh
        set -eu
        self=$(dirname "$(dirname "$(readlink -f "$0")")")
        echo "${name} $1"
        cat "$self/data"
        [ "$1" != boot ] || echo "${name}" > /boot-entry
        [ "$1" = test ] || exit 0
        ln -sfn "$self" /run/current-system
        ${more}
      '';
      args = [ "-c" ''
        mkdir -p $out/bin
        ln -s $dependency $out/data
        printf '%s' "$script" > $out/bin/switch-to-configuration
        chmod 755 $out/bin/switch-to-configuration
      '' ];
    };
  in {
    systems = {
      first = system "first" "true";
      second = system "second" "true";
      failing = system "failing" "echo unit toy.service failed >&2; exit 4";
    };
  };
}"#;

struct Machines {
    guest: TestGuest,
    fixture: Fixture,
    /// On this thread alone, which is in the guest's network, and so are its children.
    runtime: tokio::runtime::Runtime,
}

fn machines() -> Result<Option<Machines>> {
    let Some(guest) = harness::boot() else { return Ok(None) };
    if !guest.try_run("command -v nix-store")?.status.success() {
        harness::skip("the guest root has no Nix");
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(Fixture::new(FLAKE))? {
        Ok(mut fixture) => {
            fixture.add_sandbox_path("/usr/bin");
            Ok(Some(Machines { guest, fixture, runtime }))
        }
        Err(why) => {
            harness::skip(&why);
            Ok(None)
        }
    }
}

macro_rules! machines {
    () => {
        match machines()? {
            Some(machines) => machines,
            None => return Ok(()),
        }
    };
}

impl Machines {
    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn host(&self) -> Result<SshHost> {
        let known = std::fs::read_to_string(self.guest.known_hosts())?;
        let key = known.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ");
        Ok(SshHost {
            address: ADDRESS.parse()?,
            port: 22,
            user: "root".to_owned(),
            identity: self.guest.key(),
            host_keys: vec![key],
        })
    }

    fn build(&self, name: &str) -> Result<StorePath> {
        let attribute = self.fixture.attribute(&["systems", name])?;
        let watch = Watch { emit: &mut |_| {}, limit: Duration::from_secs(120) };
        Ok(self.wait(self.fixture.nix.build(&attribute, watch))?.output)
    }

    fn copy(&self, path: &StorePath, host: SshHost, transfer: Transfer) -> Result<Vec<nix_compat::Event>, NixError> {
        let mut events = Vec::new();
        let target = SshTarget::new(host)?;
        let watch = Watch { emit: &mut |event| events.push(event), limit: Duration::from_secs(120) };
        self.wait(self.fixture.nix.copy(path, &target, transfer, watch))?;
        Ok(events)
    }

    /// Builds a system and brings it to the guest.
    fn bring(&self, name: &str) -> Result<StorePath> {
        let path = self.build(name)?;
        self.copy(&path, self.host()?, Transfer::default())?;
        Ok(path)
    }
}

fn activate(system: &StorePath) -> Activate {
    Activate {
        token: Uuid::new_v4(),
        system: system.as_path().to_owned(),
        profile: PROFILE.into(),
        confirm_within_s: 120,
        timeout_s: 120,
    }
}

#[test]
fn copied_over_ssh_to_the_right_machine_only() -> Result<()> {
    let machines = machines!();
    let path = machines.build("first")?;
    let host = machines.host()?;

    let unsigned = Transfer { trust: Trust::Signatures, protocol: Protocol::NextGeneration, ..Transfer::default() };
    let error = machines.copy(&path, host.clone(), unsigned).expect_err("nothing is signed");
    assert!(matches!(&error, NixError::Copy { message, .. } if message.contains("signature")), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("trusts no key")));

    let stranger = SshHost {
        host_keys: vec!["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4mXrVfLTWYsSfQcMVVO8JXnZKjoOjwWRBTyTYhtJ4J".to_owned()],
        ..host.clone()
    };
    for protocol in [Protocol::Legacy, Protocol::NextGeneration] {
        let transfer = Transfer { protocol, ..Transfer::default() };
        let error = machines.copy(&path, stranger.clone(), transfer).expect_err("another machine");
        assert!(matches!(error, NixError::Ssh { source: SshError::HostKeyChanged, .. }), "{error:?}");
        let closed = SshHost { port: 2222, ..host.clone() };
        let error = machines.copy(&path, closed, transfer).expect_err("a closed port");
        assert!(matches!(error, NixError::Ssh { source: SshError::Unreachable(_), .. }), "{error:?}");
    }
    let nobody = SshHost { user: "nobody".to_owned(), ..host.clone() };
    let error = machines.copy(&path, nobody, Transfer::default()).expect_err("another user");
    assert!(matches!(error, NixError::Ssh { source: SshError::Denied, .. }), "{error:?}");
    assert!(!machines.guest.try_run(&format!("test -e {path}"))?.status.success());

    let events = machines.copy(&path, host.clone(), Transfer::default())?;
    assert!(events.iter().any(|event| matches!(event, nix_compat::Event::Copying { .. })), "{events:?}");
    machines.guest.run(&format!("nix-store --check-validity $(nix-store -qR {path})"))?;
    let again = machines.copy(&path, host.clone(), Transfer::default())?;
    assert!(!again.iter().any(|event| matches!(event, nix_compat::Event::Copying { .. })), "{again:?}");

    let second = machines.build("second")?;
    machines.copy(&second, host, Transfer { protocol: Protocol::NextGeneration, ..Transfer::default() })?;
    machines.guest.run(&format!("nix-store --check-validity $(nix-store -qR {second})"))?;
    Ok(())
}

#[test]
fn activated_failed_lost_and_rolled_back() -> Result<()> {
    let machines = machines!();
    let guest = &machines.guest;
    let mut session = guest.session()?;
    let first = machines.bring("first")?;
    let token = session.ok(activate(&first))?.token;
    // Nothing but the activation holds it; the garbage collector leaves it.
    guest.run("rm /run/current-system; nix-collect-garbage 2>&1")?;
    let confirmed = session.ok(Confirm { token })?;
    assert_eq!(confirmed.phase, Phase::Confirmed { generation: 1 });
    assert_eq!(guest.run("cat /boot-entry")?.trim(), "first");
    guest.run(&format!("ln -sfn {first} /run/current-system"))?;

    // It fails: the first is active again, the boot entry is untouched.
    let failing = machines.bring("failing")?;
    let error = session.call(activate(&failing))?.expect_err("it fails");
    assert_eq!(error.kind, ErrorKind::ActivationFailed);
    assert!(error.causes.contains(&"unit toy.service failed".to_owned()), "{error}");

    // The connection is lost, and nobody comes back to confirm.
    let second = machines.bring("second")?;
    let request = Activate { confirm_within_s: 1, ..activate(&second) };
    session.ask(request.clone())?;
    session.event()?;
    session.cut()?;
    let mut session = guest.session()?;
    wait_for("the rollback", || {
        let shown = session.ok(ActivationShow { token: Some(request.token) })?;
        Ok(matches!(shown.phase, Phase::RolledBack { reason: Reason::NotConfirmed { seconds: 1 } }))
    })?;
    let system = session.ok(FactsRequest::default())?.system;
    assert_eq!(system.running, Some(PathBuf::from(first.clone())));
    assert_eq!((system.profile, system.generation), (PROFILE.into(), Some(1)));
    assert_eq!(guest.run("cat /boot-entry")?.trim(), "first");

    // Confirmed, it is the second generation; Nix on the guest says the same.
    let token = session.ok(activate(&second))?.token;
    assert_eq!(session.ok(Confirm { token })?.phase, Phase::Confirmed { generation: 2 });
    let target = SshTarget::new(machines.host()?)?;
    let profile = Profile::system();
    let generations = machines.wait(profile.generations(&target))?;
    assert_eq!(generations.iter().map(|it| (it.number, it.current)).collect::<Vec<_>>(), [(1, false), (2, true)]);
    assert_eq!(machines.wait(profile.current(&target))?, Some(second.clone()));

    // Back to the first, under the same supervisor.
    let back = Rollback {
        token: Uuid::new_v4(),
        profile: PROFILE.into(),
        generation: None,
        confirm_within_s: 120,
        timeout_s: 120,
    };
    session.ok(back.clone())?;
    assert_eq!(session.ok(Confirm { token: back.token })?.phase, Phase::Confirmed { generation: 1 });
    assert_eq!(machines.wait(profile.current(&target))?, Some(first.clone()));
    let shown = session.ok(GenerationsRequest::default())?;
    let current = shown.generations.iter().find(|generation| generation.current).context("a current one")?;
    assert!(current.running);

    let absent = StorePath::parse("/nix/store/00000000000000000000000000000000-absent")?;
    let missing = session.call(activate(&absent))?.expect_err("it was not copied");
    assert_eq!(missing.kind, ErrorKind::Missing);
    Ok(())
}

#[test]
fn profiles_without_the_agent() -> Result<()> {
    let machines = machines!();
    let (first, second) = (machines.bring("first")?, machines.bring("second")?);
    let target = SshTarget::new(machines.host()?)?;
    let profile = Profile::at("/nix/var/nix/profiles/toy")?;
    assert_eq!(machines.wait(profile.current(&target))?, None);
    for path in [&first, &second] {
        machines.wait(profile.set(&target, path))?;
    }
    machines.wait(profile.roll_back(&target, None))?;
    assert_eq!(machines.wait(profile.current(&target))?, Some(first.clone()));
    machines.wait(profile.roll_back(&target, Some(2)))?;
    assert_eq!(machines.wait(profile.current(&target))?, Some(second));
    let error = machines.wait(profile.roll_back(&target, Some(9))).expect_err("there is no such generation");
    let NixError::Failed { message, .. } = &error else { bail!("{error:?}") };
    // Older versions of Nix call a generation a version.
    assert!(message.contains(" 9 ") && message.lines().count() == 1, "{message}");
    let slow = machines.wait(target.run(&["sleep", "600"], Duration::from_secs(1))).expect_err("it is too slow");
    assert!(matches!(slow, NixError::Timeout { .. }), "{slow:?}");
    Ok(())
}
