//! `fedi image`.

use clap::{Args, Subcommand};
use fedi_engine::drivers::DriverErrorKind;
use fedi_model::resource::Image as GuestImage;
use serde::Serialize;

use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::{OneStep, Table, Ui};

/// List, bring and prune the guest images on hosts
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Image {
    /// List the images that fedi put on a host
    List(One),
    /// Bring the image that new guests start from to a host, ahead of a deploy
    Push(One),
    /// Delete the images that new guests do not start from any more
    Prune(Prune),
}

/// One host.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The host
    host: String,
}

/// Options of `image prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The host
    host: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    file: String,
    bytes: u64,
    current: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Images {
    images: Vec<Row>,
}

pub(crate) async fn run(command: &Image, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    match command {
        Image::List(args) => list(args, &context).await,
        Image::Push(args) => push(args, &context).await,
        Image::Prune(args) => prune(args, &context).await,
    }
}

async fn list(args: &One, context: &Context) -> Result<Exit, CommandError> {
    let (name, host) = context.folder.host(&args.host)?;
    let store = context.store()?;
    let stored = context.hypervisor(name, host, &store)?.images().await?;
    let current = fedi_workflow::image(&context.folder, name, store.as_ref()).await.ok();
    let mut table = Table::new(&["image", "size", ""]);
    let mut images = Vec::new();
    for image in stored {
        let is_current = current.as_ref().is_some_and(|current| current.file == image.file);
        let mark = if is_current { "new guests start from it" } else { "" };
        table.row(vec![image.file.clone(), mib(image.bytes), mark.to_owned()]);
        images.push(Row { file: image.file, bytes: image.bytes, current: is_current });
    }
    let text = if images.is_empty() { format!("fedi has put no images on host `{name}`\n") } else { table.render() };
    context.ui.report(&Images { images }, &text)?;
    Ok(Exit::Done)
}

async fn push(args: &One, context: &Context) -> Result<Exit, CommandError> {
    let (name, host) = context.folder.host(&args.host)?;
    let store = context.store()?;
    let image = fedi_workflow::image(&context.folder, name, store.as_ref()).await?;
    let made = context.hypervisor(name, host, &store)?.ensure_image(&image, &OneStep::new(context.ui)).await?;
    let row = Row { file: made.file.clone(), bytes: made.bytes.unwrap_or(0), current: true };
    context.ui.report(&row, &format!("`{}` is on host `{name}`\n", made.file))?;
    Ok(Exit::Done)
}

async fn prune(args: &Prune, context: &Context) -> Result<Exit, CommandError> {
    let (name, host) = context.folder.host(&args.host)?;
    let store = context.store()?;
    let current = fedi_workflow::image(&context.folder, name, store.as_ref()).await?;
    let hypervisor = context.hypervisor(name, host, &store)?;
    let mut old = hypervisor.images().await?;
    old.retain(|image| image.file != current.file);
    let files: Vec<String> = old.iter().map(|image| format!("`{}`", image.file)).collect();
    if old.is_empty() {
        context.ui.report(&Images { images: Vec::new() }, &format!("No image on host `{name}` is out of use\n"))?;
        return Ok(Exit::Done);
    }
    let question = format!("Delete {} from host `{name}`?", files.join(", "));
    if !args.yes && !context.ui.confirm(&question, "--yes").await? {
        context.ui.say("Nothing was changed");
        return Ok(Exit::Done);
    }
    for image in &old {
        let image = GuestImage {
            host: name.clone(),
            file: image.file.clone(),
            sha256: String::new(),
            source: String::new(),
            bytes: Some(image.bytes),
        };
        if let Err(error) = hypervisor.remove_image(&image, &OneStep::new(context.ui)).await {
            let storage = &host.hypervisor.image_storage;
            return Err(match error.kind {
                // More than fedi asks for: with it the token could delete all that lies there.
                DriverErrorKind::Denied => CommandError::from(error).hint(format!(
                    "Delete it on the host: `pvesm free {storage}:import/{}`\nOr let the token delete whatever lies on \
                     the storage: `Datastore.Allocate` on `/storage/{storage}`",
                    image.file
                )),
                _ => error.into(),
            });
        }
    }
    let text = format!("Deleted {}\n", files.join(", "));
    let images = old.iter().map(|it| Row { file: it.file.clone(), bytes: it.bytes, current: false }).collect();
    context.ui.report(&Images { images }, &text)?;
    Ok(Exit::Done)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
