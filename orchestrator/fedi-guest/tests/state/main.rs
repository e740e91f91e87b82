//! State on a folder that stands for a guest, with the real PostgreSQL and the real
//! restic. What stands in is systemd: `systemctl` is a script that keeps the states of
//! units in files. Real systemd and a real application are in the sandbox.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

mod backends;
mod backup;
mod capture;
mod cut;
mod machine;
mod replace;
mod served;
#[path = "../../../fedi-state/tests/servers/mod.rs"]
mod servers;
mod talk;
