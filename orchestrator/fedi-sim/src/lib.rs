//! A stateful Proxmox VE that speaks its HTTPS API.
//!
//! Layer: stands beside the product; tests, benches and the sandbox talk to it over HTTPS as they would to a
//! real node. Invariant: an answer follows from state and rules, never from a table of recorded answers.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use fedi_sim::{Clock, Pace, SimBuilder, StorageSetup, Version};
//!
//! let sim = SimBuilder::new(Version::new(9, 2, 11))
//!     .storage(StorageSetup::directory("local", "/var/lib/vz"))
//!     .pool("fedi")
//!     .token("fedi@pve!deploy", true)
//!     .acl("/pool/fedi", "fedi@pve", "PVEVMAdmin")
//!     .acl("/pool/fedi", "fedi@pve!deploy", "PVEVMAdmin")
//!     .clock(Clock::virtual_now(Pace::Auto))
//!     .start()
//!     .await?;
//! sim.add_image("local", "debian.qcow2", 8 << 30, 400 << 20)?;
//! assert!(sim.url().starts_with("https://127.0.0.1:"));
//! # Ok(())
//! # }
//! ```

#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "`write!` to a `String` has a result that means nothing"
)]

mod access;
mod api;
mod auth;
pub mod backend;
mod builder;
mod call;
mod clock;
mod cluster;
mod config;
mod error;
pub mod faults;
mod handle;
mod http;
mod locks;
mod persist;
mod qemu;
mod sim;
mod state;
mod storage;
mod tasks;
mod traffic;
mod version;

pub use builder::{SimBuilder, StartError};
pub use clock::{Clock, Pace};
pub use cluster::{Daemon, Proxied};
pub use config::{
    AclConfig, NodeConfig, PoolConfig, RoleConfig, SimConfig, StorageSetup, TimingConfig, TokenConfig, UserConfig,
};
pub use handle::{SimHandle, TaskView, VmView};
pub use http::Limits;
pub use sim::Tuning;
pub use storage::empty_qcow2;
pub use traffic::RequestRecord;
pub use version::Version;
