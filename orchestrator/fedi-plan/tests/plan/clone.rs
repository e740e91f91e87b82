//! Copies: what they consist of, and what would pass for the first.

use fedi_model::inventory::Deployment;
use fedi_model::manifest::{App, Fence, Item};
use fedi_model::name::{DeploymentName, Domain};
use fedi_model::plan::{Action, Plan};
use fedi_model::resource::{Resource, ResourceId, Secret, System};
use fedi_model::run::check_plan;
use fedi_plan::{PlanError, Refusal, RestoreInputs, not_clonable, plan_clone};
use serde_json::json;

use crate::restore::{at, inputs, snapshot};
use crate::world::{World, deployed_world, empty_world, lines, name};

/// The first, as its manifest has it: fenced in where it is a copy.
fn first() -> App {
    let mut app = empty_world().manifest.apps.into_values().next().unwrap();
    app.fence = Some(Fence {
        set: [("serverName".to_owned(), json!("example.test")), ("federation.enable".to_owned(), json!(false))].into(),
        unset: vec!["smtp".to_owned()],
    });
    app
}

/// The world in which `copy` is to be made, with a system that is fenced in.
fn world() -> World {
    let mut world = empty_world();
    world.deployment.name = DeploymentName::new("copy").unwrap();
    for address in &mut world.addresses {
        address.deployment = name("copy");
    }
    world.deployment.file.domain = Domain::new("copy.example.test").unwrap();
    let app = world.manifest.apps.values_mut().next().unwrap();
    app.fence = first().fence;
    app.hooks.rehome = Some(serde_json::from_value(json!({ "unit": "fedi-matrix-rehome.service" })).unwrap());
    for record in &mut app.records {
        record.name = format!("of-copy.{}", record.name);
    }
    world
}

/// Without secrets that come from elsewhere but the pepper's like.
fn clone_inputs<'a>(world: &'a World, snapshot: &'a fedi_plan::SnapshotFacts) -> RestoreInputs<'a> {
    let mut inputs = inputs(world, snapshot);
    inputs.deploy.recovered.retain(|name, _| name.as_str() == "macaroon");
    inputs
}

fn clone(world: &World, first: &App) -> Result<Plan, PlanError> {
    let snapshot = snapshot(1 << 20);
    let plan = plan_clone(&clone_inputs(world, &snapshot), first, &world.known)?;
    check_plan(&plan).unwrap();
    Ok(plan)
}

fn refusals(world: &World, first: &App) -> Vec<Refusal> {
    clone(world, first).unwrap_err().refusals
}

#[test]
fn a_copy_is_made_that_of_another_before_it_may_run() {
    let plan = clone(&world(), &first()).unwrap();
    let lines = lines(&plan);
    let order = ["vm/copy", "records/", "system/", "state/", "rehome/copy", "pivot", "lease/", "restart/", "probe/"];
    assert!(order.map(|text| at(&lines, text)).is_sorted(), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("create-admin")), "the accounts are in the snapshot: {lines:#?}");
    let notes = plan.notes.join("\n");
    for wanted in ["`serverName = \"example.test\"`", "`federation.enable = false`", "no `smtp`", "passwords are those"]
    {
        assert!(notes.contains(wanted), "{wanted}: {notes}");
    }
}

#[test]
fn nothing_of_the_first_is_touched() {
    let plan = clone(&world(), &first()).unwrap();
    for step in plan.steps() {
        if let Action::Ensure { desired: resource, .. } | Action::Remove { resource } = &step.action {
            let id = resource.id().to_string();
            assert!(!id.split('/').any(|part| part == "matrix"), "{id}");
        }
    }
    assert!(plan.steps().all(|step| !matches!(step.action, Action::Remove { .. })), "{:#?}", lines(&plan));
}

#[test]
fn only_what_the_state_needs_comes_out_of_the_snapshot() {
    let plan = clone(&world(), &first()).unwrap();
    let carried = |wanted: &str| {
        plan.steps().find_map(|step| match &step.action {
            Action::Ensure { desired, .. } => match &**desired {
                Resource::Secret(Secret { name, from, .. }) if name.as_str() == wanted => Some(from.is_some()),
                _ => None,
            },
            _ => None,
        })
    };
    assert_eq!(carried("macaroon"), Some(true));
    assert_eq!(carried("signing-key"), Some(false));
    assert_eq!(carried("fingerprint-key"), Some(false));
}

#[test]
fn an_application_without_a_fence_cannot_be_copied() {
    let mut unfenced = first();
    unfenced.fence = None;
    let told = refusals(&world(), &unfenced);
    assert!(matches!(told[..], [Refusal::NotClonable { .. }]), "{told:?}");
    assert!(told[0].to_string().contains("would federate as `matrix`"), "{}", told[0]);
    let from: Deployment = empty_world().deployment;
    let early = not_clonable(&name("copy"), &from, &unfenced).unwrap();
    assert_eq!(early.refusals, told);
    assert_eq!(not_clonable(&name("copy"), &from, &first()), None);
}

#[test]
fn a_system_that_is_not_fenced_in_is_refused_with_what_to_set() {
    let mut world = world();
    world.manifest.apps.values_mut().next().unwrap().hooks.rehome = None;
    let told = refusals(&world, &first());
    assert!(matches!(told[..], [Refusal::NotFenced { .. }]), "{told:?}");
    let hint = told[0].hint().unwrap();
    for wanted in ["deployments/copy.toml`", "`serverName = \"example.test\"`", "`federation.enable = false`", "`smtp`"]
    {
        assert!(hint.contains(wanted), "{wanted}: {hint}");
    }
}

#[test]
fn a_copy_under_another_server_name_is_refused() {
    let mut world = world();
    let fence = world.manifest.apps.values_mut().next().unwrap().fence.as_mut().unwrap();
    fence.set.insert("serverName".to_owned(), json!("copy.example.test"));
    let told = refusals(&world, &first());
    assert!(matches!(told[..], [Refusal::NotFenced { .. }]), "{told:?}");
}

#[test]
fn a_name_of_the_first_is_refused() {
    let taken = first().records[0].name.clone();
    let mut by_record = world();
    by_record.manifest.apps.values_mut().next().unwrap().records[0].name.clone_from(&taken);
    let mut by_domain = world();
    by_domain.deployment.file.domain = Domain::new(taken.clone()).unwrap();
    for world in [by_record, by_domain] {
        let told = refusals(&world, &first());
        assert!(matches!(&told[..], [Refusal::NameOfFirst { name, .. }] if *name == taken), "{told:?}");
    }
}

#[test]
fn the_bucket_of_the_first_is_not_shared() {
    let bucket = |name: &str| -> Item {
        serde_json::from_value(json!({ "bucket": { "bucket": name, "endpoint": "https://s3.example.test",
            "region": "garage", "accessKey": "macaroon", "secretKey": "macaroon" } }))
        .unwrap()
    };
    let (mut first, mut world) = (first(), world());
    first.items.insert("bucket".to_owned(), bucket("media"));
    let copied = |world: &mut World, name: &str| {
        let app = world.manifest.apps.values_mut().next().unwrap();
        app.items.insert("bucket".to_owned(), bucket(name));
    };
    copied(&mut world, "media");
    let told = refusals(&world, &first);
    assert!(matches!(&told[..], [Refusal::BucketOfFirst { item, .. }] if item == "bucket"), "{told:?}");
    copied(&mut world, "media-of-the-copy");
    clone(&world, &first).unwrap();
}

#[test]
fn what_is_there_already_is_not_made_a_copy() {
    let mut world = deployed_world();
    let app = world.manifest.apps.values_mut().next().unwrap();
    (app.fence, app.hooks.rehome) = (first().fence, None);
    let told = refusals(&world, &first());
    assert!(matches!(told[..], [Refusal::TargetExists { .. }]), "{told:?}");
    // Also where its guest was removed by hand: the journal knows it.
    world.known.observed.insert(ResourceId::vm(&name("matrix")), None);
    let snapshot = snapshot(1 << 20);
    let mut other = snapshot.clone();
    other.at.deployment = name("another");
    let told = plan_clone(&clone_inputs(&world, &other), &first(), &world.known).unwrap_err().refusals;
    assert!(matches!(told[..], [Refusal::TargetExists { .. }]), "{told:?}");
}

#[test]
fn what_speaks_against_the_snapshot_is_told() {
    let world = world();
    let snapshot = snapshot(1 << 20);
    let mut inputs = clone_inputs(&world, &snapshot);
    inputs.misfits = vec!["The identity secrets `password-pepper` are missing".to_owned()];
    let error = plan_clone(&inputs, &first(), &world.known).unwrap_err();
    assert_eq!(error.deployment, name("copy"));
    assert!(error.refusals.iter().any(|it| it.to_string().contains("password-pepper")), "{error:?}");
}

#[test]
fn the_copy_gets_its_own_system() {
    let plan = clone(&world(), &first()).unwrap();
    let system = plan.steps().find_map(|step| match &step.action {
        Action::Ensure { desired, .. } => match &**desired {
            Resource::System(System { guest, .. }) => Some(guest.deployment.clone()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(system, Some(name("copy")));
}
