//! State on a folder that stands for a guest, with the real PostgreSQL, MariaDB, Redis,
//! Garage and restic. What stands in is systemd: `systemctl` is a script that keeps the
//! states of units in files. Real systemd and a real application are in the sandbox.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

mod backends;
mod backup;
mod capture;
mod cut;
mod folders;
mod kinds;
mod machine;
mod replace;
mod running;
mod seen;
mod served;
#[path = "../../../fedi-state/tests/servers/mod.rs"]
mod servers;
mod source;
mod talk;
mod target;
