//! A stateful Proxmox VE that speaks its HTTPS API.
//!
//! Layer: stands beside the product; tests, benches and the sandbox talk to it over HTTPS as they would to a
//! real node. Invariant: an answer follows from state and rules, never from a table of recorded answers.

pub mod backend;
