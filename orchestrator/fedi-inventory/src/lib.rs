//! The operator's folder on disk: `fedi.toml`, `hosts/<host>/host.toml` and
//! `hosts/<host>/deployments/<name>.toml`, read into the types of `fedi_model`.
//!
//! Beside `fedi-model`, below the command line. **Invariant: it is read whole or not
//! at all**: an inventory with one mistake is refused with all its mistakes, each with
//! file, line and hint. No message ever quotes what may be a secret.

mod check;
mod credential;
mod document;
mod environment;
mod folder;
mod problem;
mod read;
mod schema;
mod suggest;
mod validate;

pub use credential::{CredentialError, CredentialText};
pub use environment::{Environment, PathError};
pub use folder::{Folder, ImageSource, LoadError, ROOT_FILE, Unknown};
pub use problem::{Problem, Problems};
pub use schema::FileKind;
pub use suggest::{suggest, suggestion};
