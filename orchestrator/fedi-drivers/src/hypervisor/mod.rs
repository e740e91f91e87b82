//! Hypervisors.

mod proxmox;

pub use proxmox::{Memory, ProxmoxHost, Tuning};
