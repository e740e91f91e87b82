//! `fedi deploy`.

use std::fmt::Write as _;

use clap::Args;
use fedi_engine::drivers::SecretKey;
use fedi_engine::{EngineError, Outcome};
use fedi_inventory::{Environment, Folder, LoadError};
use fedi_model::inventory::Deployment;
use fedi_model::manifest::Admin;
use fedi_model::name::{AppName, DeploymentName, Domain};
use fedi_model::plan::{Action, Plan, Task};
use fedi_model::resource::Family;
use fedi_plan::render;
use fedi_workflow::Prepared;
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude, interrupted};
use crate::cli::Global;
use crate::context::{Context, Workshop};
use crate::error::{CommandError, Exit};
use crate::new_file::NewFile;
use crate::refuse::refused_settings;
use crate::ui::{Ui, json_line};

/// Bring an application up, or to what its files say
///
/// Shows the plan, asks, and carries it out. A deployment that has no file yet gets one,
/// from `--host` and `--domain`. A second deploy of an unchanged deployment does nothing.
#[derive(Debug, Args)]
pub(crate) struct Deploy {
    /// The deployment; for a new one also the application, unless `--app` says it
    deployment: String,
    /// The host that it runs on
    #[arg(long)]
    host: Option<String>,
    /// The domain that people will see
    #[arg(long)]
    domain: Option<String>,
    /// The application of a new deployment
    #[arg(long)]
    app: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) async fn run(args: &Deploy, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let (context, written) = with_file(args, context, global)?;
    match deploy(args, &context, written.as_ref()).await {
        Ended::Begun(end) => end,
        Ended::NotBegun(end) => {
            if let Some(file) = written {
                file.take_back()?;
            }
            match end {
                Ok(Exit::Interrupted) => ui.say("\nNothing was changed"),
                Ok(_) => ui.say("Nothing was changed"),
                Err(_) => {}
            }
            end
        }
    }
}

/// How far a deploy came before it ended.
enum Ended {
    /// It was refused, declined or interrupted before anything was done.
    NotBegun(Result<Exit, CommandError>),
    /// A run was begun, or there was nothing to do.
    Begun(Result<Exit, CommandError>),
}

async fn deploy(args: &Deploy, context: &Context, written: Option<&NewFile>) -> Ended {
    let (workshop, deployment) = match open(args, context) {
        Ok(opened) => opened,
        Err(error) => return Ended::NotBegun(Err(error)),
    };
    let agreed = tokio::select! {
        agreed = agree(args, context.ui, &workshop, deployment) => agreed,
        () = interrupted() => {
            let released = release_unmade(&workshop, deployment).await;
            return Ended::NotBegun(released.map(|()| Exit::Interrupted));
        }
    };
    let prepared = match agreed {
        Ok(Agreed::GoOn(prepared)) => prepared,
        Ok(Agreed::No) => return Ended::NotBegun(Ok(Exit::Done)),
        Ok(Agreed::NothingToDo) => return Ended::Begun(Ok(Exit::Done)),
        Err(error) => return Ended::NotBegun(Err(error)),
    };
    if let Some(file) = written {
        context.ui.say(&format!("Wrote {}", file.path.display()));
    }
    match carry_out(&workshop, context.ui, Work::Start(prepared.plan.clone())).await {
        Ok(outcome) => Ended::Begun(conclude_deploy(context.ui, &workshop, deployment, &prepared, &outcome).await),
        Err(error @ EngineError::Cut { .. }) => Ended::Begun(Err(error.into())),
        Err(error) => {
            let given_up = workshop.desk.give_up(&prepared).await;
            Ended::NotBegun(given_up.map_err(CommandError::from).and(Err(error.into())))
        }
    }
}

fn open<'a>(args: &Deploy, context: &'a Context) -> Result<(Workshop, &'a Deployment), CommandError> {
    let deployment = context.folder.deployment(&args.deployment)?;
    Ok((context.workshop(&deployment.host)?, deployment))
}

/// What the operator says to a plan.
enum Agreed {
    GoOn(Box<Prepared>),
    No,
    NothingToDo,
}

async fn agree(args: &Deploy, ui: Ui, workshop: &Workshop, deployment: &Deployment) -> Result<Agreed, CommandError> {
    workshop.no_open_run(&deployment.name).await?;
    let prepared = workshop.desk.deploy(deployment).await?;
    if prepared.plan.is_empty() {
        ui.report(&PlanReport { plan: &prepared.plan, outcome: "no-changes" }, &render::plan(&prepared.plan))?;
        return Ok(Agreed::NothingToDo);
    }
    show(ui, &prepared.plan)?;
    let answer = if args.yes { Ok(true) } else { ui.confirm("Carry it out?", "--yes").await };
    if let Ok(true) = answer {
        return Ok(Agreed::GoOn(Box::new(prepared)));
    }
    workshop.desk.give_up(&prepared).await?;
    answer.map(|_| Agreed::No)
}

/// Lets go of the addresses of a deployment that was never made.
pub(crate) async fn release_unmade(workshop: &Workshop, deployment: &Deployment) -> Result<(), CommandError> {
    let desk = &workshop.desk;
    if !desk.ledger(&deployment.name).await?.is_empty() {
        return Ok(());
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        if let Some(address) = desk.addresses.find(&deployment.name, &deployment.host, family).await? {
            desk.addresses.release(&address).await?;
        }
    }
    Ok(())
}

/// Shows a plan before it is carried out. In JSON it is an object of its own, before
/// the events.
pub(crate) fn show(ui: Ui, plan: &Plan) -> Result<(), CommandError> {
    if ui.json {
        return json_line(&PlanReport { plan, outcome: "planned" });
    }
    ui.say(&ui.paint_plan(&render::plan(plan)));
    Ok(())
}

/// A plan, and what becomes of it: `planned` or `no-changes`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PlanReport<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) outcome: &'static str,
}

/// A deployment that is up, for programs.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Deployed {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_login: Option<FirstLogin>,
}

/// Where the first administrator logs in. Programs ask `fedi secret show` for the
/// password.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FirstLogin {
    at: String,
    login: String,
    secret: String,
}

async fn conclude_deploy(
    ui: Ui,
    workshop: &Workshop,
    deployment: &Deployment,
    prepared: &Prepared,
    outcome: &Outcome,
) -> Result<Exit, CommandError> {
    if matches!(outcome, Outcome::Unwound { .. }) {
        workshop.desk.forget(&deployment.name).await?;
    }
    let admin = admin_made(&prepared.plan).filter(|_| matches!(outcome, Outcome::Completed { .. }));
    let (report, text) = deployed(workshop, deployment, admin).await?;
    conclude(ui, outcome, &report, &text)
}

/// The administrator whose account a plan makes.
pub(crate) fn admin_made(plan: &Plan) -> Option<&Admin> {
    plan.steps().find_map(|step| match &step.action {
        Action::Run { task } => match &**task {
            Task::CreateAdmin { admin, .. } => Some(admin),
            _ => None,
        },
        _ => None,
    })
}

/// The last words of a deploy: where it is, and the first login once.
pub(crate) async fn deployed(
    workshop: &Workshop,
    deployment: &Deployment,
    admin: Option<&Admin>,
) -> Result<(Deployed, String), CommandError> {
    let (name, url) = (&deployment.name, format!("https://{}", deployment.domain()));
    let mut text = format!("`{name}` is deployed: {url}\n");
    let Some(admin) = admin else { return Ok((Deployed { url, first_login: None }, text)) };
    let key = SecretKey { deployment: name.clone(), app: deployment.app().clone(), name: admin.password.clone() };
    if let Some((password, _)) = workshop.secrets.get(&key).await? {
        let password = String::from_utf8_lossy(password.expose());
        let _ = write!(
            text,
            "\nFirst login (shown once; later: `fedi secret show {name} {}`)\n  at        {}\n  login     {}\n  \
             password  {}\n",
            admin.password, admin.url, admin.login, password
        );
    }
    let first_login =
        FirstLogin { at: admin.url.clone(), login: admin.login.clone(), secret: admin.password.to_string() };
    Ok((Deployed { url, first_login: Some(first_login) }, text))
}

/// The inventory with a file for the deployment: the one that is there, or a new one,
/// which comes with it.
fn with_file(args: &Deploy, context: Context, global: &Global) -> Result<(Context, Option<NewFile>), CommandError> {
    if let Ok(deployment) = context.folder.deployment(&args.deployment) {
        agrees(args, deployment)?;
        return Ok((context, None));
    }
    let (Some(host), Some(domain)) = (&args.host, &args.domain) else { return Err(incomplete(args, &context)) };
    let (host, settings) = context.folder.host(host)?;
    let name = DeploymentName::new(&*args.deployment).map_err(|error| CommandError::refused(error.to_string()))?;
    let domain = Domain::new(&**domain).map_err(|error| CommandError::refused(error.to_string()))?;
    let app = args.app.as_deref().unwrap_or(&args.deployment);
    let app = AppName::new(app).map_err(|error| CommandError::refused(error.to_string()))?;
    let root = context.folder.root();
    let path = fedi_inventory::add_deployment(root, host, &name, &app, &domain)?;
    if let Err(error) = Folder::load(root, Environment::of_process()) {
        std::fs::remove_file(&path)?;
        let LoadError::Problems(problems) = &error else { return Err(error.into()) };
        let what = format!("Cannot deploy `{name}` on host `{host}`");
        return Err(
            refused_settings(&what, &Folder::deployment_path(host, &name), problems).unwrap_or_else(|| error.into())
        );
    }
    let written = NewFile::written(path, settings)?;
    Ok((Context::open(global, context.ui)?, Some(written)))
}

/// A deployment that has no file, and not enough to write one.
fn incomplete(args: &Deploy, context: &Context) -> CommandError {
    let name = &args.deployment;
    let known = context.folder.inventory().deployments.keys().map(DeploymentName::as_str);
    let meant = fedi_inventory::suggest(name, known).map(|near| format!("Did you mean `{near}`?"));
    let host = args.host.as_deref().unwrap_or("<host>");
    let domain = args.domain.as_deref().unwrap_or("<domain>");
    let make = format!("A new one is made by `fedi deploy --host {host} {name} --domain {domain}`");
    CommandError::refused(format!("No deployment is called `{name}`"))
        .hint(meant.into_iter().chain([make]).collect::<Vec<_>>().join("\n"))
}

/// Refuses flags that say something else than the file.
fn agrees(args: &Deploy, deployment: &Deployment) -> Result<(), CommandError> {
    let file = format!("hosts/{}/deployments/{}.toml", deployment.host, deployment.name);
    let differs = |what: &str, has: &str, wants: &str| {
        CommandError::refused(format!("`{}` has the {what} `{has}`, not `{wants}`", deployment.name))
    };
    if let Some(host) = args.host.as_deref().filter(|host| *host != deployment.host.as_str()) {
        return Err(differs("host", deployment.host.as_str(), host)
            .hint("A deployment is not moved by deploying it; a second one needs a name of its own"));
    }
    if let Some(domain) = args.domain.as_deref().filter(|domain| *domain != deployment.domain().as_str()) {
        return Err(
            differs("domain", deployment.domain().as_str(), domain).hint(format!("Change `domain` in `{file}`"))
        );
    }
    if let Some(app) = args.app.as_deref().filter(|app| *app != deployment.app().as_str()) {
        return Err(differs("application", deployment.app().as_str(), app).hint(format!("Change `app` in `{file}`")));
    }
    Ok(())
}
