//! `fedi secret`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read};

use clap::{Args, Subcommand};
use fedi_drivers::secrets::generate;
use fedi_engine::drivers::{SecretEntry, SecretKey, SecretStore, SecretValue};
use fedi_model::inventory::Deployment;
use fedi_model::manifest::{Generator, SecretClass};
use fedi_model::name::{DeploymentName, RepositoryName, SecretName};
use fedi_model::resource::{Secret, reserved_for_repositories};
use serde::Serialize;

use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::ui::{Table, Ui, json_line, local, write_out};

/// List, show, set and rotate the secrets of deployments
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Secrets {
    /// List the secrets, without their values
    List(List),
    /// Print a secret's value
    Show(Show),
    /// Set a secret from standard input
    Set(Set),
    /// Make a new value of a secret; `fedi deploy` brings it to the guest
    Rotate(Rotate),
}

/// Options of `secret list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// The deployment; all of them if none is named
    deployment: Option<String>,
}

/// Options of `secret show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The deployment
    deployment: String,
    /// The secret
    name: SecretName,
}

/// Options of `secret set`.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The deployment; `backups` for the password of a repository
    deployment: String,
    /// The secret, or the repository; its value is read from standard input, without a
    /// final line feed
    name: SecretName,
}

/// Options of `secret rotate`.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The deployment
    deployment: String,
    /// The secret
    name: SecretName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Also make a new value of a secret that the application's identity hangs on
    #[arg(long)]
    new_identity: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    deployment: String,
    app: String,
    name: String,
    class: SecretClass,
    version: u32,
    stored: jiff::Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Stored {
    deployment: String,
    name: String,
    version: u32,
}

pub(crate) async fn run(command: &Secrets, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let store = context.secrets()?;
    match command {
        Secrets::List(args) => list(args, &context, store.as_ref()).await,
        Secrets::Show(args) => show(args, &context, store.as_ref()).await,
        Secrets::Set(args) => set(args, &context, store.as_ref()).await,
        Secrets::Rotate(args) => rotate(args, &context, store.as_ref()).await,
    }
}

async fn list(args: &List, context: &Context, store: &dyn SecretStore) -> Result<Exit, CommandError> {
    let only = match &args.deployment {
        // A deployment that is not in the inventory any more may still have secrets.
        Some(name) => match DeploymentName::new(&**name) {
            Ok(name) => Some(name),
            Err(_) => Some(context.deployment(name)?.name.clone()),
        },
        None => None,
    };
    let entries = store.list(only.as_ref()).await?;
    if entries.is_empty()
        && let Some(name) = &only
    {
        context.deployment(name.as_str())?;
    }
    let mut table = Table::new(&["deployment", "secret", "class", "version", "stored"]);
    let mut rows = Vec::new();
    for entry in entries {
        let row = Row {
            deployment: entry.key.deployment.to_string(),
            app: entry.key.app.to_string(),
            name: entry.key.name.to_string(),
            class: entry.class,
            version: entry.version,
            stored: entry.at,
        };
        table.row(vec![
            row.deployment.clone(),
            row.name.clone(),
            class_word(row.class).to_owned(),
            row.version.to_string(),
            local(row.stored),
        ]);
        rows.push(row);
    }
    let text = match (rows.is_empty(), &only) {
        (true, Some(name)) => format!("`{name}` has no secrets yet; its first deploy makes them\n"),
        (true, None) => "No secrets are stored yet; a deployment's first deploy makes them\n".to_owned(),
        (false, _) => table.render(),
    };
    context.ui.report(&BTreeMap::from([("secrets", rows)]), &text)?;
    Ok(Exit::Done)
}

async fn show(args: &Show, context: &Context, store: &dyn SecretStore) -> Result<Exit, CommandError> {
    let entry = find(context, store, &args.deployment, &args.name).await?;
    let Some((value, _)) = store.get(&entry.key).await? else {
        return Err(CommandError::failed(format!("The secret `{}` is gone", entry.key)));
    };
    if context.ui.json {
        let Ok(text) = std::str::from_utf8(value.expose()) else {
            return Err(CommandError::refused(format!("The secret `{}` is no text", entry.key))
                .hint("Leave out `--json` to get its bytes"));
        };
        json_line(&BTreeMap::from([("value", text)]))?;
    } else {
        write_out(value.expose())?;
        if context.ui.is_terminal() && !value.expose().ends_with(b"\n") {
            write_out(b"\n")?;
        }
    }
    Ok(Exit::Done)
}

async fn set(args: &Set, context: &Context, store: &dyn SecretStore) -> Result<Exit, CommandError> {
    if args.deployment == reserved_for_repositories().as_str() {
        return set_password(args, context, store).await;
    }
    let deployment = context.deployment(&args.deployment)?;
    let value = typed(args, context)?;
    let key = key(deployment, &args.name);
    let (class, generator, version) = match store.entry(&key).await? {
        Some(entry) => (entry.class, entry.generator, entry.version),
        None => declared(context, deployment, &args.name).await?,
    };
    let version = store.put(&key, class, &generator, &value, version).await?;
    stored(context, deployment, &args.name, version)
}

/// The password of a repository that is there already, made by another inventory say.
async fn set_password(args: &Set, context: &Context, store: &dyn SecretStore) -> Result<Exit, CommandError> {
    let known = &context.folder.fedi().backups;
    let Some(repository) = known.keys().find(|it| it.as_str() == args.name.as_str()) else {
        let mut error = CommandError::refused(format!("No repository is called `{}`", args.name));
        error.hint = fedi_inventory::suggestion(args.name.as_str(), known.keys().map(RepositoryName::as_str))
            .or_else(|| Some(format!("Add `[backups.{}]` to fedi.toml", args.name)));
        return Err(error);
    };
    if context.seal()?.recipients().await? < 2 {
        return Err(CommandError::refused(format!(
            "The password of repository `{repository}` would be for one key only"
        ))
        .cause("Who loses that key loses every backup")
        .hint("Add the public half of a second key, kept elsewhere, to `secrets.recipients` in fedi.toml"));
    }
    let value = typed(args, context)?;
    let Secret { deployment, app, name, class, generator, .. } = Secret::password_of(repository);
    let key = SecretKey { deployment, app, name };
    let version = store.entry(&key).await?.map_or(0, |entry| entry.version);
    let version = store.put(&key, class, &generator, &value, version).await?;
    let report = Stored { deployment: key.deployment.to_string(), name: key.name.to_string(), version };
    context.ui.report(&report, &format!("The password of repository `{repository}` has version {version} now\n"))?;
    context.ui.say("Run `fedi backup list` to see whether it opens it");
    Ok(Exit::Done)
}

/// What standard input has.
fn typed(args: &Set, context: &Context) -> Result<SecretValue, CommandError> {
    if io::stdin().is_terminal() {
        context.ui.say(&format!("Type the value of `{}`, then Ctrl-D", args.name));
    }
    let mut bytes = Vec::new();
    io::stdin().lock().take(1 << 20).read_to_end(&mut bytes)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Err(CommandError::refused("The value is empty; nothing was stored"));
    }
    Ok(SecretValue::new(bytes))
}

async fn rotate(args: &Rotate, context: &Context, store: &dyn SecretStore) -> Result<Exit, CommandError> {
    let deployment = context.deployment(&args.deployment)?;
    let entry = find(context, store, &args.deployment, &args.name).await?;
    if let Generator::Operator { describe, .. } = &entry.generator {
        return Err(CommandError::refused(format!("Only you can make a new value of `{}`: {describe}", args.name))
            .hint(format!("Set it with `fedi secret set {} {}`", args.deployment, args.name)));
    }
    if entry.class == SecretClass::Identity && !args.new_identity {
        return Err(CommandError::refused(format!("`{}` belongs to the identity of `{}`", args.name, args.deployment))
            .cause("With another value it is another server to its peers, or cannot read its own data")
            .hint("Add `--new-identity` if that is what you want"));
    }
    let question = format!("Make a new value of `{}`?", args.name);
    if !args.yes && !context.ui.confirm(&question, "--yes").await? {
        context.ui.say("Nothing was changed");
        return Ok(Exit::Done);
    }
    let other = match &entry.generator {
        Generator::RsaPublicKey { of } => store.get(&key(deployment, of)).await?.map(|(value, _)| value),
        _ => None,
    };
    let value = generate(&entry.generator, |_| other).map_err(|error| {
        CommandError::failed(format!("Failed to make a new value of `{}`", args.name)).because(&error)
    })?;
    let version = store.put(&entry.key, entry.class, &entry.generator, &value, entry.version).await?;
    stored(context, deployment, &args.name, version)
}

fn stored(context: &Context, deployment: &Deployment, name: &SecretName, version: u32) -> Result<Exit, CommandError> {
    let report = Stored { deployment: deployment.name.to_string(), name: name.to_string(), version };
    context.ui.report(&report, &format!("`{name}` has version {version} now\n"))?;
    context.ui.say(&format!("Run `fedi deploy {}` to bring it to the guest", deployment.name));
    Ok(Exit::Done)
}

/// What the application's manifest says of a secret that is not stored yet.
async fn declared(
    context: &Context,
    deployment: &Deployment,
    name: &SecretName,
) -> Result<(SecretClass, Generator, u32), CommandError> {
    let (_, host) = context.folder.host(deployment.host.as_str())?;
    let manifest = context.systems(host)?.resolve(deployment).await?.manifest;
    let secrets = manifest.apps.get(deployment.app()).map(|app| &app.secrets);
    if let Some(secret) = secrets.and_then(|secrets| secrets.get(name)) {
        return Ok((secret.class, secret.generator.clone(), 0));
    }
    let known = secrets.into_iter().flat_map(BTreeMap::keys).map(SecretName::as_str);
    let mut error = CommandError::refused(format!("`{}` has no secret called `{name}`", deployment.app()));
    error.hint = fedi_inventory::suggestion(name.as_str(), known);
    Err(error)
}

async fn find(
    context: &Context,
    store: &dyn SecretStore,
    deployment: &str,
    name: &SecretName,
) -> Result<SecretEntry, CommandError> {
    let deployment_name = DeploymentName::new(deployment).map_err(|error| CommandError::refused(error.to_string()))?;
    let entries = store.list(Some(&deployment_name)).await?;
    if let Some(entry) = entries.iter().find(|entry| entry.key.name == *name) {
        return Ok(entry.clone());
    }
    context.deployment(deployment)?;
    let mut error = CommandError::refused(format!("`{deployment}` has no secret called `{name}`"));
    error.hint = fedi_inventory::suggestion(name.as_str(), entries.iter().map(|entry| entry.key.name.as_str()))
        .or_else(|| Some(format!("See `fedi secret list {deployment}`")));
    Err(error)
}

fn key(deployment: &Deployment, name: &SecretName) -> SecretKey {
    SecretKey { deployment: deployment.name.clone(), app: deployment.app().clone(), name: name.clone() }
}

fn class_word(class: SecretClass) -> &'static str {
    match class {
        SecretClass::Identity => "identity",
        SecretClass::Session => "session",
        SecretClass::Rotatable => "rotatable",
        SecretClass::Provider => "provider",
    }
}
