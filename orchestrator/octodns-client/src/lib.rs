//! Plans and applies DNS records through octoDNS, and asks authoritative
//! servers what they really answer.
//!
//! This crate knows octoDNS and nothing of who uses it. octoDNS (Python, about
//! 45 providers) does the talking to providers; what it does not do by itself
//! is added here:
//!
//! * **Ownership is exact.** A caller names the (name, type) pairs it owns.
//!   Everything else in the zone is neither changed nor deleted, and a wanted
//!   record that exists but is not owned is a [`Conflict`] that names it,
//!   never adopted. So is one that would stand beside a CNAME or below a
//!   delegation.
//! * **A plan is data, and an apply is of exactly that plan.** [`DnsPlan`] can
//!   be stored; its token is octoDNS's checksum, and [`Error::Drift`] is the
//!   answer when the zone moved meanwhile. Where the protocol allows it (RFC
//!   2136) the server itself checks, in one step with the write.
//! * **Deletes are bounded** by [`Limits`], whatever octoDNS's percentages
//!   would allow; an existing zone is required and its own NS set untouched.
//! * **Errors are classes** a caller can act on, with the [`Effect`] a failed
//!   apply had.
//!
//! A set of one name and type has one owner, TXT at the apex included, where
//! several really want one (SPF, verification strings). Values are not merged:
//! an owner of single values would have to be known on every later change by
//! anybody. The conflict says so and what to do; a zone delegated to fedi
//! avoids the question.
//!
//! Python is started once per [`Process`] (0.15 s with the first request) and serves several
//! requests. Where only the question "is it still so?" has to be answered,
//! [`authoritative`] does it in milliseconds without Python.
//!
//! ```no_run
//! use octodns_client::{
//!     Interpreter, Limits, OctoDns, Process, Provider, RecordName, RecordSet, RecordType, Secret,
//!     VenvSpec, ZoneName,
//! };
//!
//! # async fn example(key: Secret, cache: std::path::PathBuf) -> Result<(), Box<dyn std::error::Error>> {
//! let process = Process::new(Interpreter::Managed {
//!     dir: cache.join("venvs"),
//!     spec: VenvSpec::default(),
//! });
//! let provider = Provider::new("octodns_powerdns.PowerDnsProvider")
//!     .setting("host", "192.0.2.53")
//!     .secret("api_key", key);
//! let dns = OctoDns::new(process.clone(), provider);
//!
//! let zone = ZoneName::new("example.org")?;
//! let name = RecordName::new("matrix.example.org")?;
//! let wanted = [RecordSet::new(name, RecordType::A, 300, ["192.0.2.10"])?];
//!
//! let plan = dns.plan(&zone, &[], &wanted, Limits::default()).await?;
//! for change in &plan.changes {
//!     println!("{change}"); // + matrix.example.org 300 A 192.0.2.10
//! }
//! dns.apply(&plan).await?;
//! process.close().await;
//! # Ok(())
//! # }
//! ```

pub mod authoritative;
#[cfg(feature = "testing")]
pub mod testing;

mod client;
mod error;
mod name;
mod plan;
mod process;
mod protocol;
mod provider;
mod record;
mod value;
mod venv;

pub use client::OctoDns;
pub use error::{Effect, Error, VenvError};
pub use name::{InvalidName, RecordName, ZoneName};
pub use plan::{Applied, Change, Conflict, DnsPlan, Limits, Obstacle, PlanToken};
pub use process::{Interpreter, Process};
pub use provider::{Provider, Secret, TtlBounds};
pub use record::{RecordKey, RecordSet, RecordType};
pub use value::InvalidValue;
pub use venv::{Venv, VenvSpec};
