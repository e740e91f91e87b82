//! DNS zones: written through octoDNS, or by the operator's own hands.
//!
//! Both drivers look at zones by asking their authoritative servers, which takes
//! milliseconds; Python is started only when there is something to write.

mod convert;
mod manual;
mod octodns;
mod servers;

pub use manual::ManualDns;
pub use octodns::OctodnsDns;
