//! What people and programs see of the command: exit code, stdout and stderr of the real
//! binary, as snapshots.

mod broken;
mod host;
mod init;
mod machine;
mod names;
mod run;
mod secret;
mod state;
mod support;
