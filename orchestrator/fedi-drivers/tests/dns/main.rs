//! One conformance suite for the DNS drivers, each on a real PowerDNS, and what is
//! particular to each of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod manual;
mod octodns;
mod world;
