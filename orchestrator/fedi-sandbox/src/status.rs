//! What of a sandbox is there.

use std::path::PathBuf;

use serde::Serialize;

/// A sandbox as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Whether every part answers.
    pub up: bool,
    /// Whether nothing of it is there: no process, namespace or state.
    pub absent: bool,
    /// Its folder.
    pub folder: PathBuf,
    /// Its servers.
    pub parts: Vec<Part>,
    /// Its guests.
    pub guests: Vec<Guest>,
}

/// A server of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Part {
    /// What it is: `PowerDNS`, `Proxmox VE 9.2 (proxmox1)`.
    pub title: String,
    /// Where it answers.
    pub address: String,
    /// Whether its process runs.
    pub running: bool,
    /// Whether it answers.
    pub answering: bool,
}

/// A guest, whether it runs or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Guest {
    /// The host it is on.
    pub host: String,
    /// The VM's name.
    pub name: String,
    /// The VM's id.
    pub vmid: u32,
    /// The VM's uuid.
    pub uuid: uuid::Uuid,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Whether it runs.
    pub running: bool,
}
