//! Deploy, change, rotation and destroy through the real desk, planner, engine, journal
//! and drivers, on the simulator.
#![allow(clippy::unwrap_used)]

mod backups;
mod clone;
mod faults;
mod generic;
mod killed;
mod network;
mod repositories;
mod state;
mod unhealthy;

/// Restic, or a skip.
fn restic_is_there() -> Option<()> {
    let there = fedi_state::Tools::default().find("restic").map(drop);
    if there.is_none() {
        octodns_client::testing::skip("no restic on this machine");
    }
    there
}
