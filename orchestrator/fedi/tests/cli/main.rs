//! What people and programs see of the command: exit code, stdout and stderr of the real
//! binary, as snapshots.
#![allow(clippy::unwrap_used)]

mod administrator;
mod backups;
mod broken;
mod clone;
mod drill;
mod faults;
mod host;
mod init;
mod interrupted;
mod machine;
mod name_server;
mod names;
mod place;
mod proxmox;
mod run;
mod secret;
mod state;
mod support;
