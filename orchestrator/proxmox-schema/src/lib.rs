//! Tables of the Proxmox VE endpoints that fedi uses, and the parameter check over them.
//!
//! Layer: plain knowledge of an outside system; no I/O, nothing of fedi. The client's tests and the simulator
//! read the same tables, so neither can drift from the other. What the tables say is in `tables/`, one file per
//! area, in a small language of their own (`tables/README.md`).
//!
//! ```
//! use proxmox_schema::{Method, PveVersion, Schema};
//! use serde_json::json;
//!
//! let schema = Schema::for_version(PveVersion::new(9, 2));
//! let found = schema.find(Method::Post, "/nodes/pve/qemu").expect("creates a VM");
//! let body = json!({"vmid": 100, "cores": 0}).as_object().cloned().unwrap_or_default();
//! let parameters = found.merge(body).expect("no parameter contradicts the path");
//! let errors = found.endpoint.validate(&parameters).expect_err("a VM has at least one core");
//! assert_eq!(errors["cores"], "value must have a minimum value of 1");
//! ```

mod check;
mod endpoint;
pub mod format;
mod normalised;
mod parameter;
mod path;
mod permission;
mod property_format;
mod property_string;
mod schema;
mod syntax;
mod table;
mod token;
mod upid;
mod version;
mod words;

pub use check::Errors;
pub use endpoint::{Endpoint, Method, NotAMethod, Returns};
pub use normalised::Normalised;
pub use parameter::{Alias, Format, Kind, Parameter, Pattern, Series};
pub use permission::{Allow, Check};
pub use property_format::{Properties, PropertyFormat};
pub use property_string::{NotAPropertyString, PropertyString};
pub use schema::{Match, Schema};
pub use table::TableError;
pub use upid::{NotAUpid, Upid};
pub use version::{NotAVersion, PveVersion};
