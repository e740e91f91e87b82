//! Runs that are stopped, killed, or held by another fedi.

use insta::assert_snapshot;
use rustix::process::Signal;

use crate::place::Place;

#[test]
fn an_interrupted_deploy_is_taken_back() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    let begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::INT);
    assert_snapshot!(begun.end(machine), @"
    exit code: 4
    ----- stderr -----
    Deploy `notes` on host `here`

      reserve        + address 192.0.2.10 from the pool of here
                     + secret cookie-key (session, generated)
                     + secret signing-key (identity, generated)
      image          + image fedi-guest-041c707a5145acfb.qcow2 on here (1 MiB)
      machine        + VM notes on here (2 cores, 2 GiB memory, 20 GiB state)
      guest          + SSH host key of notes
      contact        > wait until guest notes answers
      names          + 1 DNS record set in example.org
                         + notes.example.org A 192.0.2.10
      propagation    > wait until every name server of example.org has them
      secrets        + 3 secrets on guest notes
      -- From here on the application writes data of its own: a failure pauses, nothing is unwound
      lease          + lease for notes on guest notes (epoch 1)
      system         + prebuilt system [DIGEST]
      verify         > check that notes is healthy, from inside and outside

    note: DNS is yours to write: fedi shows the records and waits until they are there

    Plan: 10 to create, 3 to run

    [CLOCK] run 1: deploy `notes`, 14 steps
    [CLOCK] [4/14] + image fedi-guest-041c707a5145acfb.qcow2 on here (1 MiB) ([SPAN])
    [CLOCK] [5/14] + VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    [CLOCK] Stopping at the next safe point; press Ctrl-C again to stop at once
    [CLOCK] stopped: + SSH host key of notes ([SPAN])
    error: Run 1 stopped: Interrupted

    hint: Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_eq!(place.sim.vmids(), [9000]);
    assert_snapshot!(machine.fedi("run list"), @"
    exit code: 0
    ----- stdout -----
    run  what    deployment  host  state   started
    1    deploy  notes       here  paused  [TIME]
    ");
    assert_snapshot!(machine.fedi("run show 1"), @"
    exit code: 0
    ----- stdout -----
    Run 1: deploy `notes` on host `here`, paused
      because: Interrupted
      finished  + address 192.0.2.10 from the pool of here
      finished  + secret cookie-key (session, generated)
      finished  + secret signing-key (identity, generated)
      finished  + image fedi-guest-041c707a5145acfb.qcow2 on here (1 MiB)
      finished  + VM notes on here (2 cores, 2 GiB memory, 20 GiB state)
      stopped   + SSH host key of notes
      waiting   > wait until guest notes answers
      waiting   + 1 DNS record set in example.org
      waiting   > wait until every name server of example.org has them
      waiting   + 3 secrets on guest notes
      waiting   -- From here on the application writes data of its own: a failure pauses, nothing is unwound
      waiting   + lease for notes on guest notes (epoch 1)
      waiting   + prebuilt system [DIGEST]
      waiting   > check that notes is healthy, from inside and outside

    Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 4
    ----- stdout -----
    deployment  app    host  domain             state
    notes       notes  here  notes.example.org  unfinished

    notes
      run 1 is not finished; go on with `fedi run resume 1`
    ");
    assert_snapshot!(machine.fedi("deploy notes --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Run 1 of `notes` is not finished

    hint: Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_snapshot!(machine.fedi("destroy notes --destroy-data notes"), @"
    exit code: 2
    ----- stderr -----
    error: Run 1 of `notes` is not finished

    hint: Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_snapshot!(machine.fedi("run undo"), @"
    exit code: 2
    ----- stderr -----
    error: There is nobody to ask for a confirmation

    hint: Add `--yes`
    ");
    assert_snapshot!(machine.fedi("run undo --yes"), @"
    exit code: 0
    ----- stdout -----
    Run 1 is taken back
    ----- stderr -----
    [CLOCK] run 1: deploy `notes`, 14 steps, 5 done already
    [CLOCK] undo: SSH host key of notes ([SPAN])
    [CLOCK] undo: VM notes on here (2 cores, 2 GiB memory, 20 GiB state) ([SPAN])
    ");
    assert!(place.sim.vmids().is_empty());
    assert_snapshot!(machine.fedi("run undo 1 --yes"), @"
    exit code: 2
    ----- stderr -----
    error: Run 1 is unwound

    hint: See `fedi run show 1`
    ");
    assert_snapshot!(machine.fedi("status"), @"
    exit code: 0
    ----- stdout -----
    deployment  app    host  domain             state
    notes       notes  here  notes.example.org  not deployed
    ");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let Some(place) = Place::ready() else { return };
    let mut begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::TERM);
    begun.until("Stopping");
    begun.signal(Signal::TERM);
    let told = begun.end(&place.machine);
    assert!(told.starts_with("exit code: 4"), "{told}");
    assert!(place.machine.fedi("run undo --yes").starts_with("exit code: 0"));
    assert!(place.sim.vmids().is_empty());
}

#[test]
fn a_killed_deploy_leaves_a_run_that_can_be_taken_up() {
    let Some(place) = Place::ready() else { return };
    let begun = place.begin_and_wait("deploy notes --yes");
    begun.signal(Signal::KILL);
    begun.end(&place.machine);
    let begun = place.begin_and_wait("run resume");
    begun.signal(Signal::INT);
    assert_snapshot!(begun.end(&place.machine), @"
    exit code: 4
    ----- stderr -----
    [CLOCK] run 1: deploy `notes`, 14 steps, 5 done already
    [CLOCK] Stopping at the next safe point; press Ctrl-C again to stop at once
    [CLOCK] stopped: + SSH host key of notes ([SPAN])
    error: Run 1 stopped: Interrupted

    hint: Go on with `fedi run resume 1`, or take it back with `fedi run undo 1`
    ");
    assert_eq!(place.sim.vmids(), [9000], "there is still one VM");
}

#[test]
fn two_at_once() {
    let Some(place) = Place::ready() else { return };
    let machine = &place.machine;
    let begun = place.begin_and_wait("deploy notes --yes");
    assert_snapshot!(machine.fedi("run undo 1 --yes"), @"
    exit code: 5
    ----- stderr -----
    error: Another fedi is at work: operator@[MACHINE] (pid [PID]) holds the writer lease since [TIME]

    hint: Wait until it is done. Should that process be gone, its lease can be taken over 60 s after its last sign of life
    ");
    machine.write("inventory/systems/wiki/manifest.json", r#"{ "schema": 1, "apps": { "wiki": { "version": "1", "upgradesFrom": "1", "gate": "wiki.target", "units": [], "items": {}, "order": [], "secrets": {} } } }"#);
    machine.write("inventory/systems/wiki/bin/switch-to-configuration", "#!/bin/sh\n");
    let told = machine.fedi("deploy wiki --host here --domain wiki.example.org --yes");
    assert!(told.starts_with("exit code: 5"), "{told}");
    assert!(!machine.path("inventory/hosts/here/deployments/wiki.toml").exists());
    begun.signal(Signal::INT);
    begun.end(machine);
    assert!(machine.fedi("run undo 1 --yes").starts_with("exit code: 0"));
}
