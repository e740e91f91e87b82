//! A whole site in a temporary folder: the real inventory, journal, planner, engine, desk
//! and world, the real Proxmox driver on the simulator over HTTPS, the real age store and
//! address book, the real prebuilt systems as far as they are made here.
//!
//! What stands in for something is called so: [`StandInGuests`] for machines that boot
//! and for what is on them, reached without SSH; [`StandInZone`] for a DNS zone and its
//! servers; [`StandInSystems`] for the copying of systems; [`StandInOutside`] for looking
//! from outside; [`StandInRepositories`] for repositories of snapshots, unless
//! [`Layout::use_restic`] asks for real ones. They keep their state in files, so that it
//! outlives a process that is killed, and they refuse what the real ones refuse.
//!
//! A dev-dependency of tests and of the benches; it panics where a test should fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod bed;
mod clock;
mod files;
mod folder;
mod guest;
mod outside;
mod site;
mod system;
mod wiring;
mod zone;

pub use fedi_drivers::site::Patience;

pub use bed::{SiteBed, Task};
pub use clock::FastClock;
pub use folder::Layout;
pub use guest::{
    AppState, BackupSettings, GuestFault, GuestState, StandInGuests, StandInMachines, StandInRepositories,
    StandInRepository, StandInSnapshot, StandInVault,
};
pub use outside::StandInOutside;
pub use site::{Setup, TestSite};
pub use system::StandInSystems;
pub use wiring::{Wires, Wiring};
pub use zone::{StandInZone, ZoneFault};
