//! The operator's folder on disk: `fedi.toml`, `hosts/<host>/host.toml` and
//! `hosts/<host>/deployments/<name>.toml`, read into the types of `fedi_model`.
//!
//! Beside `fedi-model`, below the command line. **Invariant: it is read whole or not
//! at all**: an inventory with one mistake is refused with all its mistakes, each with
//! file, line and hint. No message ever quotes what may be a secret.

mod check;
mod credential;
mod document;
mod edit;
mod environment;
mod folder;
mod init;
mod problem;
mod read;
mod reference;
mod schema;
mod suggest;
mod template;
mod validate;
mod write;

pub use credential::{CredentialError, CredentialText};
pub use edit::{
    EditError, add_clone, add_deployment, add_host, move_deployment, remove_deployment, remove_host, set_in_deployment,
    set_in_fedi, set_in_host,
};
pub use environment::{Environment, PathError};
pub use folder::{Folder, ImageSource, LoadError, ROOT_FILE, Unknown};
pub use init::{FLAKE_PLACEHOLDER, InitError, InitOptions, InitReport, init};
pub use problem::{Problem, Problems};
pub use reference::reference;
pub use schema::FileKind;
pub use suggest::{suggest, suggestion};
pub use template::NewHost;
pub use toml_edit;
