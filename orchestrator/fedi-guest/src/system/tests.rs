//! Activation in a folder that stands for a guest: systems are folders with a
//! shell script that writes down what it was asked, the supervisor is a thread.
//! Real systemd and a real guest are in `tests/guest.rs`.

use std::cell::RefCell;
use std::fs;
use std::thread::JoinHandle;

use proptest::prelude::*;
use uuid::Uuid;

use super::activation::{Record, Step, Store, advance, is_final};
use super::operations::Launcher;
use super::*;
use crate::protocol::{
    Activate, Activation, ErrorKind, Event, Phase, Prune, Reason, Rollback, SealSystem, StageSystem,
};
use crate::tree;

struct Fixture {
    root: tempfile::TempDir,
    guest: Guest,
}

/// Runs the supervisor in a thread, or not at all.
struct Threads<'a> {
    fixture: &'a Fixture,
    running: RefCell<Vec<JoinHandle<()>>>,
    broken: bool,
}

impl Launcher for Threads<'_> {
    fn launch(&self, token: Uuid) -> Result<(), GuestError> {
        if !self.broken {
            let guest = self.fixture.guest.clone();
            self.running.borrow_mut().push(std::thread::spawn(move || {
                supervise(&guest, token).unwrap();
            }));
        }
        Ok(())
    }

    fn alive(&self, _token: Uuid) -> Result<bool, GuestError> {
        Ok(self.running.borrow().iter().any(|thread| !thread.is_finished()))
    }
}

fn fixture() -> Fixture {
    let root = tempfile::tempdir().unwrap();
    // Never the machine's own.
    fedi_test::program(&root.path().join("systemctl"), "#!/bin/sh\n");
    let guest = Guest::in_folder(root.path(), root.path());
    Fixture { root, guest }
}

impl Fixture {
    fn launcher(&self) -> Threads<'_> {
        Threads { fixture: self, running: RefCell::default(), broken: false }
    }

    /// Makes a system whose script logs its action and then does `more`.
    fn system(&self, name: char, more: &str) -> PathBuf {
        let system = Path::new(SYSTEMS).join(String::from(name).repeat(64));
        let bin = self.guest.path(&system).join("bin");
        fs::create_dir_all(&bin).unwrap();
        let log = self.guest.path("/log");
        let script = format!("#!/bin/sh\necho {name} $1 >> {}\necho {name} says $1\n{more}\n", log.display());
        fedi_test::program(&bin.join("switch-to-configuration"), &script);
        system
    }

    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.guest.path("/log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn activate(&self, system: &Path, confirm_within_s: u32) -> Result<(Activation, Vec<Event>), GuestError> {
        let mut events = Vec::new();
        let request = Activate { confirm_within_s, ..request(system) };
        let activation = activate(&self.guest, &self.launcher(), &request, &mut |event| events.push(event))?;
        Ok((activation, events))
    }

    /// Activates and confirms.
    fn install(&self, system: &Path) -> u64 {
        let (activation, _) = self.activate(system, 60).unwrap();
        let done = confirm(&self.guest, &self.launcher(), activation.token, &mut |_| {}).unwrap();
        let Phase::Confirmed { generation } = done.phase else { panic!("{done:?}") };
        generation
    }

    fn boots(&self) -> Option<PathBuf> {
        Profile::at(Path::new(FEDI_PROFILES)).unwrap().current(&self.guest).unwrap().map(|current| current.1)
    }
}

fn request(system: &Path) -> Activate {
    Activate {
        token: Uuid::new_v4(),
        system: system.to_owned(),
        profile: FEDI_PROFILES.into(),
        confirm_within_s: 60,
        timeout_s: 60,
    }
}

fn reason(error: &GuestError) -> Reason {
    let GuestError::Activation { activation } = error else { panic!("{error:?}") };
    match &activation.phase {
        Phase::RolledBack { reason } | Phase::RollbackFailed { reason, .. } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn confirmed_it_is_permanent() {
    let fixture = fixture();
    let first = fixture.system('a', "");
    let (activation, events) = fixture.activate(&first, 60).unwrap();
    assert!(matches!(activation.phase, Phase::Waiting { .. }));
    assert!(events.contains(&Event::Output { line: "a says test".to_owned() }), "{events:?}");
    assert_eq!(running(&fixture.guest).unwrap(), Some(first.clone()));
    assert_eq!(fixture.boots(), None);

    let launcher = fixture.launcher();
    confirm(&fixture.guest, &launcher, activation.token, &mut |_| {}).unwrap();
    // The answer was lost; it is asked again.
    confirm(&fixture.guest, &launcher, activation.token, &mut |_| {}).unwrap();
    assert_eq!(fixture.boots(), Some(first));
    assert_eq!(fixture.log(), ["a test", "a boot"]);
}

#[test]
fn failed_it_is_rolled_back() {
    let fixture = fixture();
    let good = fixture.system('a', "");
    fixture.install(&good);
    let bad = fixture.system('b', "echo cannot do it >&2; exit 4");
    let error = fixture.activate(&bad, 60).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ActivationFailed);
    let Reason::ActivationFailed { status, output } = reason(&error) else { panic!("{error:?}") };
    assert_eq!((status.as_str(), output.last().map(String::as_str)), ("exit status 4", Some("cannot do it")));
    assert_eq!((running(&fixture.guest).unwrap(), fixture.boots()), (Some(good.clone()), Some(good)));
    assert_eq!(fixture.log(), ["a test", "a boot", "b test", "a test"]);
}

#[test]
fn what_a_timer_ran_before_does_not_count() {
    let fixture = fixture();
    let log = fixture.guest.path("/log");
    let units = "printf 'backup.service loaded failed failed x\\nworker.service loaded failed failed x\\n'";
    let shown = "printf 'Id=backup.service\\nTriggeredBy=backup.timer\\n\\nId=worker.service\\n'";
    let script = format!(
        "#!/bin/sh\ncase $1 in\nlist-units) {units} ;;\nshow) {shown} ;;\n*) echo \"$@\" >>{} ;;\nesac\n",
        log.display()
    );
    fedi_test::program(&fixture.root.path().join("systemctl"), &script);
    fixture.install(&fixture.system('a', ""));
    assert_eq!(fixture.log(), ["reset-failed -- backup.service", "a test", "a boot"]);
}

#[test]
fn unconfirmed_it_is_rolled_back() {
    let fixture = fixture();
    let good = fixture.system('a', "");
    fixture.install(&good);
    let next = fixture.system('b', "");
    let (activation, _) = fixture.activate(&next, 0).unwrap_or_else(|error| {
        assert_eq!(reason(&error), Reason::NotConfirmed { seconds: 0 });
        (show(&fixture.guest, None).unwrap(), Vec::new())
    });
    let store = Store::of(&fixture.guest);
    let launcher = fixture.launcher();
    let end = follow::follow(&store, activation.token, &launcher, false, &mut |_| {}).unwrap();
    assert_eq!(end.activation.phase, Phase::RolledBack { reason: Reason::NotConfirmed { seconds: 0 } });
    let late = confirm(&fixture.guest, &launcher, activation.token, &mut |_| {}).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TooLate);
    assert_eq!((running(&fixture.guest).unwrap(), fixture.boots()), (Some(good.clone()), Some(good)));
}

#[test]
fn cancelled_it_is_rolled_back() {
    let fixture = fixture();
    let first = fixture.system('a', "");
    let (activation, _) = fixture.activate(&first, 60).unwrap();
    let done = cancel(&fixture.guest, &fixture.launcher(), activation.token, &mut |_| {}).unwrap();
    assert_eq!(done.phase, Phase::RolledBack { reason: Reason::Cancelled });
    // There was nothing before.
    assert_eq!((running(&fixture.guest).unwrap(), fixture.boots()), (None, None));
}

#[test]
fn a_failed_boot_loader_undoes_the_profile() {
    let fixture = fixture();
    let good = fixture.system('a', "");
    fixture.install(&good);
    let bad = fixture.system('b', "if [ $1 = boot ]; then echo /boot is full; exit 1; fi");
    let (activation, _) = fixture.activate(&bad, 60).unwrap();
    let error = confirm(&fixture.guest, &fixture.launcher(), activation.token, &mut |_| {}).unwrap_err();
    assert!(matches!(reason(&error), Reason::CommitFailed { error } if error.contains("/boot is full")));
    assert_eq!((running(&fixture.guest).unwrap(), fixture.boots()), (Some(good.clone()), Some(good)));
}

#[test]
fn a_failed_rollback_is_told() {
    let fixture = fixture();
    let flag = fixture.guest.path("/broken");
    let good = fixture.system('a', &format!("if [ -e {} ]; then exit 9; fi", flag.display()));
    fixture.install(&good);
    fs::write(&flag, "").unwrap();
    let bad = fixture.system('b', "exit 1");
    let error = fixture.activate(&bad, 60).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RollbackFailed);
    let reply = error.reply();
    assert!(reply.causes.iter().any(|cause| cause.contains("exit status 9")), "{reply}");
    assert!(reply.hint.is_some_and(|hint| hint.contains("Restart the guest")));
}

#[test]
fn a_switch_that_hangs_is_killed() {
    let fixture = fixture();
    let slow = fixture.system('a', "sleep 1000 & wait");
    let request = Activate { timeout_s: 1, ..request(&slow) };
    let error = activate(&fixture.guest, &fixture.launcher(), &request, &mut |_| {}).unwrap_err();
    assert_eq!(reason(&error), Reason::ActivationTimeout { seconds: 1 });
}

#[test]
fn the_same_token_joins() {
    let fixture = fixture();
    let system = fixture.system('a', "");
    let request = request(&system);
    let launcher = fixture.launcher();
    activate(&fixture.guest, &launcher, &request, &mut |_| {}).unwrap();
    activate(&fixture.guest, &launcher, &request, &mut |_| {}).unwrap();
    assert_eq!(fixture.log(), ["a test"]);
    let other = Activate { token: Uuid::new_v4(), ..request.clone() };
    let busy = activate(&fixture.guest, &launcher, &other, &mut |_| {}).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    cancel(&fixture.guest, &launcher, request.token, &mut |_| {}).unwrap();
}

#[test]
fn a_dead_supervisor_is_replaced_and_its_system_rolled_back() {
    let fixture = fixture();
    let good = fixture.system('a', "");
    fixture.install(&good);
    let next = fixture.system('b', "");
    let request = request(&next);
    // The supervisor was started and died in the middle of the switch.
    let broken = Threads { broken: true, ..fixture.launcher() };
    let lost = activate(&fixture.guest, &broken, &request, &mut |_| {}).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::ToolFailed);
    let store = Store::of(&fixture.guest);
    store.step(request.token, |_| Step::Switch).unwrap();
    let error = activate(&fixture.guest, &fixture.launcher(), &request, &mut |_| {}).unwrap_err();
    assert_eq!(reason(&error), Reason::SupervisorDied);
    assert_eq!(running(&fixture.guest).unwrap(), Some(good));
}

#[test]
fn what_a_dead_activation_left_is_nothing_to_go_back_to() {
    let fixture = fixture();
    let good = fixture.system('a', "");
    fixture.install(&good);
    let half = fixture.system('b', "");
    let broken = Threads { broken: true, ..fixture.launcher() };
    activate(&fixture.guest, &broken, &request(&half), &mut |_| {}).unwrap_err();
    supervisor::make_current(&fixture.guest, &half).unwrap();
    let next = fixture.system('c', "exit 1");
    let error = fixture.activate(&next, 60).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ActivationFailed);
    assert_eq!(running(&fixture.guest).unwrap(), Some(good));
}

#[test]
fn generations_rollback_and_prune() {
    let fixture = fixture();
    let systems = ['a', 'b', 'c'].map(|name| fixture.system(name, ""));
    let numbers: Vec<u64> = systems.iter().map(|system| fixture.install(system)).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(fixture.install(&systems[2]), 3);

    let back = Rollback {
        token: Uuid::new_v4(),
        profile: FEDI_PROFILES.into(),
        generation: None,
        confirm_within_s: 60,
        timeout_s: 60,
    };
    rollback(&fixture.guest, &fixture.launcher(), &back, &mut |_| {}).unwrap();
    let done = confirm(&fixture.guest, &fixture.launcher(), back.token, &mut |_| {}).unwrap();
    assert_eq!(done.phase, Phase::Confirmed { generation: 2 });
    assert_eq!(fixture.boots(), Some(systems[1].clone()));

    let pruned = prune(&fixture.guest, &Prune { profile: FEDI_PROFILES.into(), keep: 1 }).unwrap();
    assert_eq!((pruned.generations, pruned.systems), (vec![1], vec![systems[0].clone()]));
    assert!(!fixture.guest.path(&systems[0]).exists());
    // Numbers are not used twice.
    assert_eq!(fixture.install(&fixture.system('d', "")), 4);
}

#[test]
fn a_copied_system_is_checked_before_it_counts() {
    let fixture = fixture();
    let source = fixture.guest.path(fixture.system('a', ""));
    let digest = tree::digest(&source).unwrap();
    let staged = stage(&fixture.guest, &StageSystem { digest: digest.clone() }).unwrap();
    assert!(!staged.present);
    let seal_it = || seal(&fixture.guest, &SealSystem { digest: digest.clone() });
    // Half a copy.
    let staging = fixture.guest.path(&staged.staging);
    fs::create_dir_all(staging.join("bin")).unwrap();
    assert_eq!(seal_it().unwrap_err().kind(), ErrorKind::Damaged);
    fs::copy(source.join(SWITCH), staging.join(SWITCH)).unwrap();
    assert_eq!(seal_it().unwrap().system, staged.system);
    assert_eq!(seal_it().unwrap().system, staged.system);
    assert!(stage(&fixture.guest, &StageSystem { digest: digest.clone() }).unwrap().present);
    fixture.install(&staged.system);

    // Damaged afterwards, it is copied again.
    fs::write(fixture.guest.path(&staged.system).join("extra"), "").unwrap();
    assert!(!stage(&fixture.guest, &StageSystem { digest: digest.clone() }).unwrap().present);
    fs::create_dir_all(staging.join("bin")).unwrap();
    fs::copy(source.join(SWITCH), staging.join(SWITCH)).unwrap();
    seal_it().unwrap();
    assert!(stage(&fixture.guest, &StageSystem { digest }).unwrap().present);
}

#[test]
fn paths_that_are_no_systems() {
    let fixture = fixture();
    for bad in ["", "a", "/etc", "/nix/store", "/nix/store/../../etc", "/var/lib/fedi/systems/a/b", "/nix/store/a/"] {
        let kind =
            activate(&fixture.guest, &fixture.launcher(), &request(Path::new(bad)), &mut |_| {}).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Invalid | ErrorKind::Missing), "{bad}: {kind:?}");
    }
    let missing = Path::new(SYSTEMS).join("e".repeat(64));
    assert_eq!(fixture.activate(&missing, 1).unwrap_err().kind(), ErrorKind::Missing);
    for bad in ["/", "/var/lib/fedi/../../etc", "/etc", "relative"] {
        assert!(Profile::at(Path::new(bad)).is_err(), "{bad}");
    }
}

#[test]
fn at_boot_the_permanent_system_is_activated_once() {
    let fixture = fixture();
    assert_eq!(activate_at_boot(&fixture.guest).unwrap(), None);
    let system = fixture.system('a', "");
    fixture.install(&system);
    assert_eq!(activate_at_boot(&fixture.guest).unwrap(), None);
    // `/run` is empty after a restart.
    fs::remove_dir_all(fixture.root.path().join("run")).unwrap();
    fs::create_dir(fixture.root.path().join("run")).unwrap();
    assert_eq!(activate_at_boot(&fixture.guest).unwrap(), Some(system.clone()));
    assert_eq!(running(&fixture.guest).unwrap(), Some(system));
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Switch),
        (0_u64..50).prop_map(|deadline_ms| Step::Switched { deadline_ms }),
        Just(Step::Fail(Reason::SupervisorDied)),
        (0_u64..50).prop_map(|now_ms| Step::Confirm { now_ms }),
        Just(Step::Cancel),
        (0_u64..50).prop_map(|now_ms| Step::Expire { now_ms, seconds: 1 }),
        Just(Step::Committed { generation: 1 }),
        Just(Step::Restored),
        Just(Step::RestoreFailed { error: "x".to_owned() }),
    ]
}

proptest! {
    /// In whatever order things happen: an end stays the end, and nothing is both
    /// confirmed and rolled back unless the commit itself failed.
    #[test]
    fn an_activation_ends_one_way(steps in prop::collection::vec(any_step(), 0..40)) {
        let (mut phase, mut committing, mut commit_failed) = (Phase::Starting, false, false);
        for step in steps {
            let fails = phase == Phase::Committing && matches!(step, Step::Fail(_));
            let Ok(next) = advance(&phase, step) else { continue };
            if is_final(&phase) {
                prop_assert_eq!(&next, &phase);
            }
            commit_failed |= fails;
            committing |= next == Phase::Committing;
            phase = next;
        }
        match phase {
            Phase::Confirmed { .. } => prop_assert!(committing && !commit_failed),
            Phase::RollingBack { .. } | Phase::RolledBack { .. } | Phase::RollbackFailed { .. } => {
                prop_assert!(!committing || commit_failed);
            }
            _ => {}
        }
    }

    #[test]
    fn records_read_back(deadline_ms: u64, confirm_within_s: u32) {
        let activation = Activation {
            token: Uuid::nil(),
            system: "/nix/store/x".into(),
            previous: None,
            phase: Phase::Waiting { deadline_ms },
        };
        let record = Record {
            activation,
            profile: FEDI_PROFILES.into(),
            to_generation: None,
            generation_before: Some(3),
            confirm_within_s,
            timeout_s: 1,
        };
        let text = serde_json::to_vec(&record).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Record>(&text).unwrap(), record);
    }
}
