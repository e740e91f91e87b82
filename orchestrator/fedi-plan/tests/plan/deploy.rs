//! What a deploy does, from nothing and from everything.

use fedi_model::inventory::{DnsDriver, HostKeyPin};
use fedi_model::manifest::{Generator, SecretClass};
use fedi_model::name::SecretName;
use fedi_model::plan::Action;
use fedi_model::resource::{Resource, ResourceId};

use crate::world::{World, address, check, deployed_world, domain, empty_world, lines};

#[test]
fn from_nothing() {
    check(
        &empty_world(),
        &[
            "reserve: + address/matrix/ipv4",
            "reserve: + address/matrix/ipv6",
            "reserve: + secret/matrix/admin-password",
            "reserve: + secret/matrix/macaroon",
            "reserve: + secret/matrix/signing-key",
            "image: + image/proxmox1/fedi-guest-0123456789abcdef.qcow2",
            "machine: + vm/matrix",
            "guest: + host-key/matrix",
            "contact: > await-guest/matrix",
            "names: + records/matrix/example.test",
            "propagation: > await-records/matrix/example.test",
            "secrets: + delivery/matrix",
            "pivot: pivot",
            "lease: + lease/matrix",
            "system: + system/matrix",
            "administrator: > create-admin/matrix",
            "verify: > probe/matrix",
        ],
    );
}

#[test]
fn a_second_time_nothing() {
    let plan = deployed_world().plan().unwrap();
    assert!(plan.is_empty(), "{plan:?}");
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn addresses_that_are_only_reserved_become_the_deployments() {
    let mut world = empty_world();
    for address in world.addresses.clone() {
        let address = Resource::Address(address);
        world.known.saw(&address, Some(address.clone()));
    }
    let plan = world.plan().unwrap();
    assert_eq!(lines(&plan)[..2], ["reserve: + address/matrix/ipv4", "reserve: + address/matrix/ipv6"]);
    world.apply(&plan);
    check(&world, &[]);
}

#[test]
fn the_image_is_there() {
    let mut world = empty_world();
    let image = Resource::Image(world.image.clone());
    world.known.saw(&image, Some(image.clone()));
    let plan = lines(&world.plan().unwrap());
    assert!(!plan.iter().any(|line| line.starts_with("image:")), "{plan:?}");
}

#[test]
fn a_new_image_is_for_new_guests() {
    let mut world = deployed_world();
    world.image.file = "fedi-guest-fedcba9876543210.qcow2".to_owned();
    world.look();
    check(&world, &[]);
}

#[test]
fn a_new_system() {
    let mut world = deployed_world();
    world.toplevel = "/nix/store/bbbb-matrix".to_owned();
    check(&world, &["pivot: pivot", "system: ~ system/matrix", "verify: > probe/matrix"]);
}

#[test]
fn more_memory_restarts_the_guest() {
    let mut world = deployed_world();
    world.deployment.file.resources.memory_mib = Some(4096);
    check(&world, &["machine: ~ vm/matrix", "contact: > await-guest/matrix", "verify: > probe/matrix"]);
    let plan = world.plan().unwrap();
    assert_eq!(plan.stages[0].steps[0].changes, ["memory: 2 GiB -> 4 GiB (restarts the guest)"]);
    assert_eq!(plan.notes, ["`matrix` is away while its guest starts"]);
}

/// A run was abandoned while the VM was made, and it came to be after that: it becomes the
/// deployment's, as it is.
#[test]
fn a_vm_that_an_abandoned_run_had_begun_is_taken_up() {
    let mut world = deployed_world();
    let id = ResourceId::vm(&world.deployment.name);
    world.known.ledger.remove(&id);
    check(&world, &["machine: ~ vm/matrix", "verify: > probe/matrix"]);
    let plan = world.plan().unwrap();
    assert_eq!(plan.stages[0].steps[0].changes, ["begun by a run that was abandoned"]);
    world.apply(&plan);
    assert!(world.known.ledger.contains_key(&id));
    check(&world, &[]);
}

#[test]
fn a_larger_disk_does_not() {
    let mut world = deployed_world();
    world.deployment.file.resources.state_gib = Some(30);
    check(&world, &["machine: ~ vm/matrix", "verify: > probe/matrix"]);
}

#[test]
fn sizes_that_nobody_asked_for_stay() {
    let mut world = deployed_world();
    let vm = world.vm();
    (vm.cores, vm.memory_mib, vm.state_gib) = (8, 16384, 500);
    check(&world, &[]);
}

#[test]
fn a_stopped_guest_is_started() {
    let mut world = deployed_world();
    world.vm().running = false;
    world.guest_is_silent();
    check(&world, &["machine: ~ vm/matrix", "contact: > await-guest/matrix", "verify: > probe/matrix"]);
}

#[test]
fn a_silent_guest_is_as_the_journal_says() {
    let mut world = deployed_world();
    world.guest_is_silent();
    let plan = world.plan().unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.notes, ["The guest of `matrix` does not answer; what it has is taken from the journal"]);
    world.toplevel = "/nix/store/bbbb-matrix".to_owned();
    check(
        &world,
        &["contact: > await-guest/matrix", "pivot: pivot", "system: ~ system/matrix", "verify: > probe/matrix"],
    );
}

#[test]
fn a_vm_that_is_gone_is_made_again() {
    let mut world = deployed_world();
    let id = ResourceId::vm(&world.deployment.name);
    world.known.observed.insert(id, None);
    world.guest_is_silent();
    let plan = world.plan().unwrap();
    assert_eq!(
        lines(&plan),
        [
            "reserve: - host-key/matrix",
            "machine: + vm/matrix",
            "guest: + host-key/matrix",
            "contact: > await-guest/matrix",
            "secrets: + delivery/matrix",
            "pivot: pivot",
            "lease: + lease/matrix",
            "system: + system/matrix",
            "administrator: > create-admin/matrix",
            "verify: > probe/matrix",
        ]
    );
    assert!(plan.notes[0].contains("begins without its data"), "{:?}", plan.notes);
    assert_eq!(granted(&world), 2);
}

/// The epoch of the lease that the plan grants.
fn granted(world: &World) -> u64 {
    let plan = world.plan().unwrap();
    let lease = plan.steps().find_map(|step| match &step.action {
        Action::Ensure { desired, .. } => match &**desired {
            Resource::Lease(lease) => Some(lease.epoch),
            _ => None,
        },
        _ => None,
    });
    lease.unwrap()
}

#[test]
fn an_epoch_only_grows() {
    let mut world = deployed_world();
    // Somebody else was granted it since: the application starts again under the next.
    world.epoch = 5;
    check(&world, &["pivot: pivot", "lease: ~ lease/matrix", "system: ~ system/matrix", "verify: > probe/matrix"]);
    assert_eq!(granted(&world), 6);
    // A journal that knows less than the guest.
    world.epoch = 0;
    check(&world, &[]);
}

#[test]
fn a_revoked_lease_is_granted_again() {
    let mut world = deployed_world();
    let id = ResourceId::lease(&world.deployment.name);
    world.known.observed.insert(id, None);
    check(&world, &["pivot: pivot", "lease: + lease/matrix", "system: ~ system/matrix", "verify: > probe/matrix"]);
    assert_eq!(granted(&world), 2);
}

/// The store has another value of the secret.
fn rotate(world: &mut World, name: &str) {
    let id = ResourceId::secret(&world.deployment.name, &SecretName::new(name).unwrap());
    match world.known.observed.get_mut(&id) {
        Some(Some(Resource::Secret(secret))) => secret.version = Some(2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rotated_secret_is_delivered() {
    let mut world = deployed_world();
    rotate(&mut world, "admin-password");
    // The guest's old value cannot be brought back, so there is no way back.
    check(&world, &["pivot: pivot", "secrets: ~ delivery/matrix", "verify: > probe/matrix"]);
    assert_eq!(world.plan().unwrap().stages[1].steps[0].changes, ["~ admin-password: version 1 -> 2"]);
}

#[test]
fn an_application_that_reads_a_rotated_secret_is_restarted() {
    let mut world = deployed_world();
    rotate(&mut world, "macaroon");
    let restarted =
        ["pivot: pivot", "secrets: ~ delivery/matrix", "restart: > restart/matrix", "verify: > probe/matrix"];
    check(&world, &restarted);
    let plan = world.plan().unwrap();
    world.apply(&plan);
    check(&world, &[]);
    // Switching the system restarts only what differs in it.
    rotate(&mut world, "macaroon");
    if let Some(Some(Resource::Delivery(delivery))) =
        world.known.observed.get_mut(&ResourceId::delivery(&world.deployment.name))
    {
        delivery.files.get_mut(&SecretName::new("macaroon").unwrap()).unwrap().version = Some(1);
    }
    world.toplevel = "/nix/store/bbbb-matrix".to_owned();
    check(
        &world,
        &[
            "pivot: pivot",
            "secrets: ~ delivery/matrix",
            "system: ~ system/matrix",
            "restart: > restart/matrix",
            "verify: > probe/matrix",
        ],
    );
}

#[test]
fn a_derived_secret_comes_after_its_source() {
    let mut world = empty_world();
    let app = world.manifest.apps.values_mut().next().unwrap();
    let mut key = app.secrets.values().next().unwrap().clone();
    key.class = SecretClass::Identity;
    key.generator = Generator::RsaPrivateKey { bits: 2048 };
    app.secrets.insert(SecretName::new("rsa").unwrap(), key.clone());
    key.generator = Generator::RsaPublicKey { of: SecretName::new("rsa").unwrap() };
    app.secrets.insert(SecretName::new("rsa-public").unwrap(), key);
    world.look();
    let plan = lines(&world.plan().unwrap());
    assert!(plan.contains(&"reserve: + secret/matrix/rsa".to_owned()), "{plan:?}");
    assert!(plan.contains(&"derive: + secret/matrix/rsa-public".to_owned()), "{plan:?}");
}

#[test]
fn an_optional_secret_may_be_left_out() {
    let mut world = deployed_world();
    let app = world.manifest.apps.values_mut().next().unwrap();
    let mut smtp = app.secrets.values().next().unwrap().clone();
    smtp.generator = Generator::Operator { describe: "mail relay".to_owned(), optional: true };
    app.secrets.insert(SecretName::new("smtp-password").unwrap(), smtp);
    world.look();
    check(&world, &[]);
    // Once it is given, it is delivered.
    let id = ResourceId::secret(&world.deployment.name, &SecretName::new("smtp-password").unwrap());
    let like = fedi_plan::desired(&world.inputs(), &world.known).unwrap();
    let Some(Resource::Secret(mut secret)) = like.into_iter().find(|it| it.id() == id) else { panic!() };
    secret.version = Some(1);
    world.known.observed.insert(id, Some(Resource::Secret(secret)));
    check(&world, &["secrets: ~ delivery/matrix", "verify: > probe/matrix"]);
}

#[test]
fn a_record_that_somebody_deleted() {
    let mut world = deployed_world();
    let id = world.known.ledger.keys().find(|id| id.kind() == "records").unwrap().clone();
    world.known.observed.insert(id, None);
    check(
        &world,
        &[
            "names: + records/matrix/example.test",
            "propagation: > await-records/matrix/example.test",
            "verify: > probe/matrix",
        ],
    );
}

#[test]
fn a_zone_of_its_own_takes_the_records() {
    let mut world = deployed_world();
    // The operator cut a zone out of the zone: the name is another zone's now.
    world.host.dns.zones[1].name = domain("matrix.example.test");
    world.look();
    check(
        &world,
        &[
            "names: + records/matrix/matrix.example.test",
            "propagation: > await-records/matrix/matrix.example.test",
            "tidy: - records/matrix/example.test",
            "verify: > probe/matrix",
        ],
    );
}

#[test]
fn an_administrator_that_was_never_made() {
    let mut world = deployed_world();
    world.admin_made = false;
    check(&world, &["administrator: > create-admin/matrix", "verify: > probe/matrix"]);
}

#[test]
fn one_address_family_is_enough() {
    let mut world = empty_world();
    world.addresses = vec![address("fd78:1::10/64", "fd78:1::1")];
    let plan = world.plan().unwrap();
    assert!(!lines(&plan).contains(&"reserve: + address/matrix/ipv4".to_owned()));
    let names = plan.stages.iter().find(|stage| stage.title == "names").unwrap();
    assert_eq!(names.steps[0].changes, ["+ matrix.example.test AAAA fd78:1::10"]);
}

#[test]
fn families_of_a_guest_that_exists_are_its_own() {
    let mut world = empty_world();
    let families = |world: &World| fedi_plan::families(&world.deployment.name, &world.host, &world.known.ledger).len();
    assert_eq!(families(&world), 2);
    world.addresses = vec![address("fd78:1::10/64", "fd78:1::1")];
    let plan = world.plan().unwrap();
    world.apply(&plan);
    assert_eq!(families(&world), 1);
}

#[test]
fn notes_for_what_is_less_safe_or_more_work() {
    let mut world = empty_world();
    world.host.host_key_pin = HostKeyPin::FirstContact;
    world.host.dns.driver = DnsDriver::Manual;
    let notes = world.plan().unwrap().notes;
    assert!(notes[0].contains("whoever answers first"), "{notes:?}");
    assert!(notes[1].contains("DNS is yours to write"), "{notes:?}");
}
