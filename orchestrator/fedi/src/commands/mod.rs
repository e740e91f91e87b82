//! One file a command: its doc comment is the help text, its arguments a struct, and
//! one function that does it.

pub(crate) mod backup;
pub(crate) mod clone;
pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod destroy;
pub(crate) mod doctor;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod reference;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod schema;
pub(crate) mod secret;
pub(crate) mod status;
