//! Deploy, change, rotation and destroy through the real desk, planner, engine, journal
//! and drivers, on the simulator.
#![allow(clippy::unwrap_used)]

mod backups;
mod clone;
mod faults;
mod generic;
mod killed;
mod network;
mod state;
mod unhealthy;
