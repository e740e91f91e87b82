//! `fedi schema`.

use clap::{Args, ValueEnum};
use fedi_inventory::FileKind;

use crate::error::{CommandError, Exit};

/// Print the JSON Schema of one of the inventory's files, for editors
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Which file
    file: File,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum File {
    /// fedi.toml
    Fedi,
    /// hosts/<host>/host.toml
    Host,
    /// hosts/<host>/deployments/<name>.toml
    Deployment,
}

pub(crate) fn run(args: &Schema) -> Result<Exit, CommandError> {
    let kind = match args.file {
        File::Fedi => FileKind::Fedi,
        File::Host => FileKind::Host,
        File::Deployment => FileKind::Deployment,
    };
    std::io::Write::write_all(&mut std::io::stdout(), kind.json_schema().as_bytes())?;
    Ok(Exit::Done)
}
