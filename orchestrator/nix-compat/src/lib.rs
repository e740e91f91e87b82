//! Nix, through its own commands: evaluate an attribute of a flake, build it, copy
//! its closure to another machine over SSH, and set a profile there.
//!
//! Layer: a plain client; it knows Nix and nothing of fedi. Works with Nix 2.8
//! (Debian 12) to the current 2.3x, with Lix and Determinate Nix: features are
//! switched on by flag, and the forms of JSON that changed are read in all of
//! them. **Invariant: no secret passes through here.** What Nix evaluates ends up
//! in a store that every user of the machine can read; values travel elsewhere.
//!
//! A call that is dropped ends the whole process group it started (asked at once,
//! killed after five seconds), so that a caller cancels by `select!` and limits by
//! `timeout`; [`Watch::limit`] does the latter with an error of its own.

mod command;
mod error;
mod eval;
mod log;
mod nix;
mod path_info;
mod profile;
mod ssh;
mod store_path;
mod transfer;

pub use error::{NixError, SshError};
pub use eval::{Built, Installable};
pub use log::Event;
pub use nix::{Nix, Version, Watch};
pub use path_info::PathInfo;
pub use profile::{Generation, Profile, Runner};
pub use ssh::{SshHost, SshTarget};
pub use store_path::{StorePath, StorePathError};
pub use transfer::{Protocol, Transfer, Trust};
