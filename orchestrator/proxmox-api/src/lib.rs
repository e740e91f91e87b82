//! A thin typed client of the Proxmox VE API, for 8.4 to 9.x.
//!
//! Layer: a client of one outside system; knows nothing of fedi. What it promises:
//!
//! - The server is recognised by pinned fingerprint or authority; there is no way to accept just any.
//! - A write whose fate is not known is never sent again; it is reported as [`Class::Ambiguous`].
//! - Every error has a [`Class`] that says what follows from it, and Proxmox's words as its source.
//! - Requests are those of the tables of `proxmox-schema`; the tests hold every one of them against every release.
//!
//! ```no_run
//! use std::time::Duration;
//! use proxmox_api::{Client, CloudInit, CreateVm, Credentials, Disk, DiskSource, Endpoint, NetworkDevice, Options};
//! use proxmox_api::{Trust, Wait};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let fingerprint = "E9:79:86:D1:A1:7E:FB:94:25:FE:3E:28:5F:AE:3D:8B:BD:C9:2B:31:8A:57:76:03:02:BF:0E:7C:D4:DA:B3:40";
//! let client = Client::new(Options::new(
//!     Endpoint::parse("pve.example.org")?,
//!     Trust::Fingerprints(vec![fingerprint.parse()?]),
//!     Credentials::Token("fedi@pve!fedi=00000000-0000-0000-0000-000000000000".parse()?),
//! ))?;
//! client.supported_version().await?;
//!
//! let node = client.node("pve");
//! let vm = node.vm(9001);
//! let mut wanted = CreateVm::new("mastodon");
//! wanted.pool = Some("fedi".to_owned());
//! wanted.disks = vec![Disk::new("local-lvm", DiskSource::Image("local:import/fedi-base.qcow2".to_owned()))];
//! wanted.networks = vec![NetworkDevice::new("vmbr0")];
//! wanted.cloud_init = Some(CloudInit::new("local-lvm"));
//! wanted.start = true;
//! match vm.create(&wanted).await {
//!     Ok(upid) => {
//!         client.wait(&upid, &Wait::up_to(Duration::from_secs(900))).await?;
//!         let running = vm.await_start(&upid, &Wait::up_to(Duration::from_secs(120))).await?;
//!         println!("running: {running}");
//!     }
//!     Err(error) if error.class().is_exists() => println!("9001 is taken"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```

mod access;
mod class;
mod classify;
mod client;
mod clock;
mod cluster;
mod credentials;
mod error;
mod exchange;
mod fingerprint;
mod lenient;
mod node;
mod observe;
mod options;
mod pool;
mod probe;
mod request;
mod secret;
mod session;
mod storage;
mod task;
mod tls;
mod vm;

pub use access::{GetPermissions, Permissions};
pub use class::{Class, Conflict, Missing, State};
pub use client::Client;
pub use clock::{Clock, SystemClock};
pub use cluster::{GetNextId, GetVersion, ListNodes, ListVms, NodeEntry, Version, VmEntry};
pub use credentials::{ApiToken, Credentials, NotAToken};
pub use error::{During, Error, Reason};
pub use fingerprint::{Fingerprint, NotAFingerprint};
pub use node::{Bridge, Certificate, ListBridges, ListCertificates, ListStorages, Node, StorageEntry};
pub use observe::{Counter, Observer, Sent};
pub use options::{Endpoint, Limits, Options};
pub use pool::{GetPool, Pool, PoolMember};
pub use probe::presented_fingerprint;
pub use proxmox_schema::{Method, PropertyString, PveVersion, Upid};
pub use request::{Parameters, Request};
pub use secret::Secret;
pub use storage::{
    ContentAddress, DeleteVolume, DownloadImage, GetVolume, ListContent, LocalImage, Storage, UploadProgress, Volume,
    VolumeInfo,
};
pub use task::{
    Estimate, Exit, GetTaskLog, GetTaskStatus, History, ListTasks, LogLine, StopTask, TaskEnd, TaskEntry, TaskQuery,
    TaskSource, TaskState, TaskStatus, Wait,
};
pub use tls::{Trust, TrustError, WrongFingerprint};
pub use vm::{
    AgentRequest, CloudInit, ConfigChange, CreateVm, DestroyVm, Disk, DiskSource, ExecStatus, GetConfig, GetVmStatus,
    GuestFile, GuestInterface, GuestRequest, IpConfig, NetworkDevice, Power, ResizeDisk, SetConfig, SetPower, StaticIp,
    Vm, VmConfig, VmStatus,
};

/// Sorts a text of Proxmox, such as the end of a task, into a class.
pub fn classify(text: &str) -> Class {
    classify::of_text(text)
}
