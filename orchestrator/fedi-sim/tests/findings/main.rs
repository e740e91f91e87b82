//! What was found out about real installs and what the product relies on, each held by a test. The recording they
//! come from is not needed here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod create;
mod faults;
mod persistence;
mod program;
mod storage;
mod thin_path;
mod world;
