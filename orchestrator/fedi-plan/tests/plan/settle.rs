//! Whatever the world is like: carrying the plan out leads to where there is nothing
//! left to do.

use fedi_model::name::SecretName;
use fedi_model::resource::{Resource, ResourceId};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use crate::world::{World, deployed_world, empty_world};

/// Something that happens to a world.
#[derive(Debug, Clone)]
enum Change {
    Memory(u32),
    Cores(u32),
    GrowDisk(u32),
    NewSystem(u8),
    NewTtl(u32),
    Caa(bool),
    Epoch(u64),
    Stop,
    Silence,
    Rotate(Index),
    Vanish(Index),
    AdminForgotten,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (512u32..8192).prop_map(Change::Memory),
        (1u32..16).prop_map(Change::Cores),
        (0u32..20).prop_map(Change::GrowDisk),
        any::<u8>().prop_map(Change::NewSystem),
        (1u32..1000).prop_map(Change::NewTtl),
        any::<bool>().prop_map(Change::Caa),
        (0u64..9).prop_map(Change::Epoch),
        Just(Change::Stop),
        Just(Change::Silence),
        any::<Index>().prop_map(Change::Rotate),
        any::<Index>().prop_map(Change::Vanish),
        Just(Change::AdminForgotten),
    ]
}

fn happen(world: &mut World, change: &Change) {
    let vm_id = ResourceId::vm(&world.deployment.name);
    match change {
        Change::Memory(mib) => world.deployment.file.resources.memory_mib = Some(*mib),
        Change::Cores(cores) => world.deployment.file.resources.cores = Some(*cores),
        Change::GrowDisk(by) => world.deployment.file.resources.state_gib = Some(20 + by),
        Change::NewSystem(number) => world.toplevel = format!("/nix/store/{number}-matrix"),
        Change::NewTtl(ttl) => world.host.dns.ttl = *ttl,
        Change::Caa(caa) => world.deployment.file.dns.caa = *caa,
        Change::Epoch(epoch) => world.epoch = *epoch,
        Change::Stop => {
            if let Some(Some(Resource::Vm(vm))) = world.known.observed.get_mut(&vm_id) {
                vm.running = false;
                world.guest_is_silent();
            }
        }
        Change::Silence => world.guest_is_silent(),
        Change::Rotate(index) => {
            let name = *index.get(&["signing-key", "macaroon", "admin-password"]);
            let id = ResourceId::secret(&world.deployment.name, &SecretName::new(name).unwrap());
            if let Some(Some(Resource::Secret(secret))) = world.known.observed.get_mut(&id) {
                secret.version = secret.version.map(|version| version + 1);
            }
        }
        Change::Vanish(index) => {
            let ids: Vec<ResourceId> = world.known.observed.keys().cloned().collect();
            let id = index.get(&ids).clone();
            world.known.observed.insert(id.clone(), None);
            if id == vm_id {
                for kind in ["delivery", "lease", "system"] {
                    let gone = world.known.observed.keys().find(|id| id.kind() == kind).cloned();
                    gone.map(|id| world.known.observed.insert(id, None));
                }
            }
        }
        Change::AdminForgotten => world.admin_made = false,
    }
}

proptest! {
    #[test]
    fn a_plan_leaves_nothing_to_do(
        deployed in any::<bool>(),
        changes in subsequence((0..8).collect::<Vec<usize>>(), 0..8)
            .prop_flat_map(|picked| prop::collection::vec(change(), picked.len())),
    ) {
        let mut world = if deployed { deployed_world() } else { empty_world() };
        for change in &changes {
            happen(&mut world, change);
        }
        if let Ok(plan) = world.plan() {
            world.apply(&plan);
            let again = world.plan().unwrap();
            prop_assert!(again.is_empty(), "{:?}\nafter\n{:?}", crate::world::lines(&again), crate::world::lines(&plan));
        }
        if let Ok(plan) = world.plan_destroy() {
            world.apply(&plan);
            prop_assert!(world.plan_destroy().unwrap().is_empty());
        }
    }
}
