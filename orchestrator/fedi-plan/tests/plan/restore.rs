//! Capturing, restoring, rehearsing and cloning.

use fedi_model::manifest::Item;
use fedi_model::name::{AppName, DeploymentName, RepositoryName, SecretName};
use fedi_model::plan::{Action, Plan};
use fedi_model::resource::{Lease, Resource, ResourceId, Secret, SnapshotRef, State};
use fedi_model::run::check_plan;
use fedi_model::state::Consistency;
use fedi_plan::{BackupInputs, PlanError, RestoreInputs, SnapshotFacts, plan_backup, plan_drill, plan_restore};
use uuid::Uuid;

use crate::world::{World, deployed_world, empty_world, lines, name};

fn main_repository() -> RepositoryName {
    RepositoryName::new("main").unwrap()
}

pub(crate) fn snapshot(bytes: u64) -> SnapshotFacts {
    SnapshotFacts {
        at: SnapshotRef { repository: main_repository(), deployment: name("matrix"), id: "0123456789abcdef".repeat(4) },
        taken: "2026-01-01 00:00 UTC".to_owned(),
        app: AppName::new("matrix").unwrap(),
        version: "1.158.0".to_owned(),
        consistency: Consistency::DumpThenFiles,
        bytes,
        items: vec!["db: PostgreSQL database synapse, 171 tables, 4 rows".to_owned()],
    }
}

pub(crate) fn inputs<'a>(world: &'a World, snapshot: &'a SnapshotFacts) -> RestoreInputs<'a> {
    let mut deploy = world.inputs();
    for secret in ["signing-key", "macaroon", "fingerprint-key"] {
        deploy.recovered.insert(SecretName::new(secret).unwrap(), snapshot.at.clone());
    }
    RestoreInputs {
        deploy,
        snapshot,
        misfits: Vec::new(),
        sessions_lost: Vec::new(),
        fail_safe: Uuid::from_u128(9),
        answers: true,
    }
}

fn restore(world: &World) -> Result<Plan, PlanError> {
    let snapshot = snapshot(1 << 20);
    let plan = plan_restore(&inputs(world, &snapshot), &world.known)?;
    check_plan(&plan).unwrap();
    Ok(plan)
}

fn backup(world: &World, consistency: Consistency, recipients: usize) -> Result<Plan, PlanError> {
    let repository = main_repository();
    let guest = match world.known.ledger.get(&ResourceId::lease(&name("matrix"))) {
        Some(Resource::Lease(lease)) => lease.guest.clone(),
        _ => fedi_model::resource::GuestRef {
            deployment: name("matrix"),
            host: world.deployment.host.clone(),
            uuid: world.uuid,
            addresses: Vec::new(),
        },
    };
    let key = Uuid::from_u128(5);
    let inputs = BackupInputs { guest, repository: &repository, consistency, key, answers: true, recipients };
    let plan = plan_backup(&inputs, &world.known)?;
    check_plan(&plan).unwrap();
    Ok(plan)
}

/// The place of a line in a plan.
pub(crate) fn at(lines: &[String], text: &str) -> usize {
    lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("no `{text}` in {lines:#?}"))
}

#[test]
fn a_new_guest_gets_its_state_before_the_right_to_run() {
    let plan = restore(&empty_world()).unwrap();
    let lines = lines(&plan);
    let order = ["vm/matrix", "records/", "delivery/", "system/", "state/", "pivot", "lease/", "restart/", "probe/"];
    let places: Vec<usize> = order.iter().map(|text| at(&lines, text)).collect();
    assert!(places.is_sorted(), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("create-admin")), "the accounts are in the snapshot: {lines:#?}");
}

#[test]
fn identity_comes_out_of_the_snapshot_and_the_rest_is_made_anew() {
    let plan = restore(&empty_world()).unwrap();
    let from = |wanted: &str| {
        plan.steps().find_map(|step| match &step.action {
            Action::Ensure { desired, .. } => match &**desired {
                Resource::Secret(Secret { name, from, .. }) if name.as_str() == wanted => Some(from.is_some()),
                _ => None,
            },
            _ => None,
        })
    };
    assert_eq!(from("signing-key"), Some(true));
    assert_eq!(from("macaroon"), Some(true));
    assert_eq!(from("fingerprint-key"), Some(true));
    assert_eq!(from("admin-password"), Some(false));
}

#[test]
fn what_a_guest_has_is_captured_before_it_is_replaced() {
    let mut world = deployed_world();
    let lease = match world.known.ledger.get(&ResourceId::lease(&name("matrix"))) {
        Some(Resource::Lease(lease)) => lease.clone(),
        other => panic!("{other:?}"),
    };
    let found = State {
        guest: lease.guest.clone(),
        app: lease.app.clone(),
        repository: main_repository(),
        snapshot: None,
        fail_safe: None,
        holds: vec!["db: PostgreSQL database synapse: 171 tables".to_owned()],
    };
    world.known.observed.insert(ResourceId::state(&name("matrix")), Some(Resource::State(found)));
    let plan = restore(&world).unwrap();
    let lines = lines(&plan);
    let order = ["- lease/", "capture/", "~ state/", "pivot", "+ lease/", "restart/", "probe/"];
    let places: Vec<usize> = order.iter().map(|text| at(&lines, text)).collect();
    assert!(places.is_sorted(), "{lines:#?}");
    // No epoch is granted twice, not even on the way back.
    let epochs: Vec<(u64, Option<u64>)> = plan
        .steps()
        .filter_map(|step| match &step.action {
            Action::Ensure { desired: resource, .. } | Action::Remove { resource } => match &**resource {
                Resource::Lease(Lease { epoch, back_as, .. }) => Some((*epoch, *back_as)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(epochs, [(lease.epoch, Some(lease.epoch + 1)), (lease.epoch + 2, None)]);
    let state = plan.steps().find(|step| step.id.as_str() == "ensure/state/matrix").unwrap();
    assert_eq!(state.changes.iter().filter(|line| line.starts_with("- ")).count(), 1, "what is replaced is shown");
}

#[test]
fn what_speaks_against_a_restore_is_told_at_once() {
    let world = empty_world();
    let snapshot = snapshot(30 << 30);
    let mut inputs = inputs(&world, &snapshot);
    inputs.misfits = vec!["it is of another application".to_owned()];
    let error = plan_restore(&inputs, &world.known).unwrap_err();
    let texts: Vec<String> = error.refusals.iter().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text.contains("another application")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("61 GiB")), "{texts:?}");
}

#[test]
fn a_guest_that_does_not_answer_is_not_replaced() {
    let mut world = deployed_world();
    world.guest_is_silent();
    let snapshot = snapshot(1 << 20);
    let mut inputs = inputs(&world, &snapshot);
    inputs.answers = false;
    let error = plan_restore(&inputs, &world.known).unwrap_err();
    assert!(error.refusals.iter().any(|it| it.to_string().contains("does not answer")), "{error:?}");
}

#[test]
fn a_rehearsal_leaves_nothing_and_has_neither_name_nor_right() {
    let mut world = empty_world();
    world.deployment.name = DeploymentName::new("matrix-drill").unwrap();
    let snapshot = snapshot(1 << 20);
    let plan = plan_drill(&inputs(&world, &snapshot), &world.known).unwrap();
    check_plan(&plan).unwrap();
    let lines = lines(&plan);
    assert!(!lines.iter().any(|line| line.contains("lease/") || line.contains("records/")), "{lines:#?}");
    let places = ["+ state/", "pivot", "- vm/", "proof"].map(|text| at(&lines, text));
    assert!(places.is_sorted(), "{lines:#?}");
    let made = |kind: &str, sign: char| lines.iter().filter(|line| line.contains(&format!("{sign} {kind}/"))).count();
    for kind in ["vm", "address", "secret", "host-key"] {
        assert_eq!(made(kind, '+'), made(kind, '-'), "{kind}: {lines:#?}");
    }
}

/// It would clear and fill the bucket that the application lives on.
#[test]
fn a_rehearsal_never_writes_into_the_deployments_bucket() {
    let mut world = empty_world();
    world.deployment.name = DeploymentName::new("matrix-drill").unwrap();
    let snapshot = snapshot(1 << 20);
    let bucket = |endpoint: &str| -> Item {
        serde_json::from_value(serde_json::json!({ "bucket": { "bucket": "media", "endpoint": endpoint,
            "region": "garage", "accessKey": "macaroon", "secretKey": "macaroon" } }))
        .unwrap()
    };
    let app = world.manifest.apps.values_mut().next().unwrap();
    for (name, endpoint) in [("avatars", "https://s3.example.test"), ("media", "http://127.0.0.1:3900")] {
        app.items.insert(name.to_owned(), bucket(endpoint));
        app.order.push(name.to_owned());
    }
    // Nothing on this guest serves the second: the address alone makes it nobody's own.
    let error = plan_drill(&inputs(&world, &snapshot), &world.known).unwrap_err();
    let told: Vec<String> = error.refusals.iter().map(ToString::to_string).collect();
    let says = |item: &str| format!("`{item}` lies in a bucket, and a rehearsal would write into that bucket");
    assert_eq!(told, [says("avatars"), says("media")]);
    let hint = error.refusals[0].hint().unwrap();
    assert!(hint.contains("`fedi backup check --read 100`"), "{hint}");
    // To restore is another matter: the deployment's bucket is where its state belongs.
    plan_restore(&inputs(&world, &snapshot), &world.known).unwrap();
}

#[test]
fn a_rehearsal_is_refused_in_the_name_of_what_is_rehearsed() {
    let mut world = empty_world();
    world.deployment.name = DeploymentName::new("matrix-drill").unwrap();
    let snapshot = snapshot(1 << 60);
    let error = plan_drill(&inputs(&world, &snapshot), &world.known).unwrap_err();
    assert_eq!(error.deployment, name("matrix"), "{error:?}");
}

#[test]
fn what_is_derived_is_made_again_once_the_application_is_healthy() {
    let mut world = empty_world();
    let snapshot = snapshot(1 << 20);
    let app = world.manifest.apps.values_mut().next().unwrap();
    let derived = serde_json::json!({ "derived": { "rebuild": "fedi-matrix-index.service" } });
    app.items.insert("index".to_owned(), serde_json::from_value(derived).unwrap());
    app.order.push("index".to_owned());
    let restored = plan_restore(&inputs(&world, &snapshot), &world.known).unwrap();
    check_plan(&restored).unwrap();
    let restored = lines(&restored);
    let places = ["lease/", "restart/", "probe/", "rebuild/"].map(|text| at(&restored, text));
    assert!(places.is_sorted(), "{restored:#?}");
    let drill = lines(&plan_drill(&inputs(&world, &snapshot), &world.known).unwrap());
    assert!(!drill.iter().any(|line| line.contains("rebuild/")), "{drill:#?}");
}

#[test]
fn a_capture_stops_the_application_only_where_that_is_asked_for() {
    let world = deployed_world();
    let live = lines(&backup(&world, Consistency::DumpThenFiles, 2).unwrap());
    assert!(!live.iter().any(|line| line.contains("service/")), "{live:#?}");
    let quiesced = lines(&backup(&world, Consistency::Quiesced, 2).unwrap());
    let places = ["- service/", "capture/", "+ service/"].map(|text| at(&quiesced, text));
    assert!(places.is_sorted(), "{quiesced:#?}");
}

#[test]
fn a_repository_is_not_begun_with_a_password_that_one_key_reads() {
    let error = backup(&deployed_world(), Consistency::Live, 1).unwrap_err();
    assert!(error.refusals[0].to_string().contains("one key only"), "{error:?}");
    let error = backup(&empty_world(), Consistency::Live, 2).unwrap_err();
    assert!(error.refusals[0].to_string().contains("is not deployed"), "{error:?}");
}
