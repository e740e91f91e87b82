//! Makes the octoDNS environment below a folder, or finds it there, and prints its
//! interpreter: for setting up a machine that later has no way to a package index.
//!
//!     cargo run -p octodns-client --example environment -- ~/.cache/fedi/venvs

use std::path::Path;

use anyhow::{Context as _, Result};
use octodns_client::{Venv, VenvSpec};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("Name the folder, as in ~/.cache/fedi/venvs")?;
    let venv = Venv::ensure(Path::new(&folder), &VenvSpec::default()).await?;
    println!("{}", venv.python().display());
    Ok(())
}
