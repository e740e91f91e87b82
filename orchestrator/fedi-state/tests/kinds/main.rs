//! Every kind against the real thing: round trips, and each fault that must not
//! be called good. Servers are started by the tests themselves, unprivileged, on
//! sockets in folders of their own.

#![allow(clippy::unwrap_used)]

mod backends;
mod bucket;
mod directory;
mod left;
mod mysql;
mod postgres;
mod redis;
mod repository;
mod server;
#[path = "../servers/mod.rs"]
mod servers;
mod shown;
mod support;
