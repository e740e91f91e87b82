//! What people see.

use fedi_plan::render;

use crate::world::{deployed_world, empty_world};

#[test]
fn a_first_deploy() {
    let mut world = empty_world();
    world.deployment.file.dns.caa = true;
    insta::assert_snapshot!(render::plan(&world.plan().unwrap()));
}

#[test]
fn changes() {
    let mut world = deployed_world();
    world.deployment.file.resources.memory_mib = Some(3000);
    world.deployment.file.resources.state_gib = Some(30);
    world.host.dns.ttl = 60;
    world.toplevel = "/nix/store/2q7d1ql1wmv0c3w9x1kbbbbbbbbbbbbb-nixos-system-matrix-26.05".to_owned();
    insta::assert_snapshot!(render::plan(&world.plan().unwrap()));
}

#[test]
fn a_destroy() {
    insta::assert_snapshot!(render::plan(&deployed_world().plan_destroy().unwrap()));
}

#[test]
fn nothing_to_do() {
    let mut world = deployed_world();
    assert_eq!(render::plan(&world.plan().unwrap()), "No changes: `matrix` on host `proxmox1` is as its files say\n");
    world.guest_is_silent();
    assert_eq!(
        render::plan(&world.plan().unwrap()),
        "note: The guest of `matrix` does not answer; what it has is taken from the journal\n\n\
         No changes: `matrix` on host `proxmox1` is as its files say\n"
    );
    assert_eq!(render::plan(&empty_world().plan_destroy().unwrap()), "Nothing of `matrix` is left\n");
}
