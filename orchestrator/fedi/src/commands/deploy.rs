//! `fedi deploy`.

use std::fmt::Write as _;

use clap::Args;
use fedi_engine::Outcome;
use fedi_engine::drivers::SecretKey;
use fedi_model::inventory::Deployment;
use fedi_model::name::{AppName, DeploymentName, Domain};
use fedi_model::plan::{Action, Plan, Task};
use fedi_plan::render;
use fedi_workflow::Prepared;
use serde::Serialize;

use crate::carry_out::{Work, carry_out, conclude};
use crate::cli::Global;
use crate::context::{Context, Workshop};
use crate::error::{CommandError, Exit};
use crate::ui::Ui;

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
    let outcome = deploy(args, &context).await;
    if let Some(file) = written.filter(|_| matches!(outcome, Ok(Ended::Declined) | Err(_)) && !is_begun(&outcome)) {
        // Nothing was begun: the file that this command wrote goes with it.
        std::fs::remove_file(&file)?;
    }
    match outcome? {
        Ended::Declined => {
            ui.say("Nothing was changed");
            Ok(Exit::Done)
        }
        Ended::With(exit) => Ok(exit),
    }
}

enum Ended {
    Declined,
    With(Exit),
}

/// Whether a run was begun: its end is then the run's, and its file stays.
fn is_begun(outcome: &Result<Ended, CommandError>) -> bool {
    matches!(outcome, Err(error) if matches!(error.exit, Exit::Failed | Exit::Resumable | Exit::Unhealthy))
}

async fn deploy(args: &Deploy, context: &Context) -> Result<Ended, CommandError> {
    let ui = context.ui;
    let deployment = context.folder.deployment(&args.deployment)?;
    let workshop = context.workshop(&[&deployment.host])?;
    if let Some(run) = workshop.desk.open_run(&deployment.name).await? {
        return Err(CommandError::refused(format!("Run {} of `{}` is not finished", run.id, deployment.name))
            .hint(format!("Go on with `fedi run resume {0}`, or take it back with `fedi run undo {0}`", run.id)));
    }
    let prepared = workshop.desk.deploy(deployment).await?;
    if prepared.plan.is_empty() {
        ui.report(&PlanReport { plan: &prepared.plan, outcome: "no-changes" }, &render::plan(&prepared.plan))?;
        return Ok(Ended::With(Exit::Done));
    }
    show(ui, &prepared.plan)?;
    if !args.yes {
        match ui.confirm("Carry it out?", "--yes") {
            Ok(true) => {}
            Ok(false) => {
                workshop.desk.give_up(&prepared).await?;
                return Ok(Ended::Declined);
            }
            Err(error) => {
                workshop.desk.give_up(&prepared).await?;
                return Err(error);
            }
        }
    }
    let outcome = carry_out(&workshop, ui, Work::Start(prepared.plan.clone())).await?;
    if matches!(outcome, Outcome::Unwound { .. }) {
        workshop.desk.forget(&deployment.name).await?;
    }
    let done = finished(&workshop, deployment, &prepared, &outcome).await?;
    conclude(ui, &outcome, &done).map(Ended::With)
}

/// Shows a plan before it is carried out. In JSON it is an object of its own, before
/// the events.
pub(crate) fn show(ui: Ui, plan: &Plan) -> Result<(), CommandError> {
    if ui.json {
        return ui.json_line(&PlanReport { plan, outcome: "planned" });
    }
    ui.say(&ui.paint_plan(&render::plan(plan)));
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PlanReport<'a> {
    plan: &'a Plan,
    outcome: &'static str,
}

/// The last words of a deploy: where it is, and the first login once.
async fn finished(
    workshop: &Workshop,
    deployment: &Deployment,
    prepared: &Prepared,
    outcome: &Outcome,
) -> Result<String, CommandError> {
    let mut text = format!("`{}` is deployed: https://{}\n", deployment.name, deployment.domain());
    let made_admin = prepared
        .plan
        .steps()
        .any(|step| matches!(&step.action, Action::Run { task } if matches!(**task, Task::CreateAdmin { .. })));
    if let (Outcome::Completed { .. }, true, Some(admin)) = (outcome, made_admin, &prepared.app.admin) {
        text.push_str(&first_login(workshop, deployment, admin).await?);
    }
    Ok(text)
}

pub(crate) async fn first_login(
    workshop: &Workshop,
    deployment: &Deployment,
    admin: &fedi_model::manifest::Admin,
) -> Result<String, CommandError> {
    let key =
        SecretKey { deployment: deployment.name.clone(), app: deployment.app().clone(), name: admin.password.clone() };
    let mut text = String::new();
    if let Some((password, _)) = workshop.secrets.get(&key).await? {
        let password = String::from_utf8_lossy(password.expose());
        let _ = write!(
            text,
            "\nFirst login (shown once; later: `fedi secret show {} {}`)\n  at        {}\n  login     {}\n  password  {}\n",
            deployment.name, admin.password, admin.url, admin.login, password
        );
    }
    Ok(text)
}

/// The inventory with a file for the deployment: the one that is there, or a new one.
fn with_file(
    args: &Deploy,
    context: Context,
    global: &Global,
) -> Result<(Context, Option<std::path::PathBuf>), CommandError> {
    if let Ok(deployment) = context.folder.deployment(&args.deployment) {
        agrees(args, deployment)?;
        return Ok((context, None));
    }
    let unknown = || match context.folder.deployment(&args.deployment) {
        Err(unknown) => CommandError::from(unknown),
        Ok(_) => CommandError::refused("The deployment exists"),
    };
    let (Some(host), Some(domain)) = (&args.host, &args.domain) else { return Err(unknown()) };
    let (host, _) = context.folder.host(host)?;
    let name = DeploymentName::new(&*args.deployment).map_err(|error| CommandError::refused(error.to_string()))?;
    let domain = Domain::new(&**domain).map_err(|error| CommandError::refused(error.to_string()))?;
    let app = args.app.as_deref().unwrap_or(&args.deployment);
    let app = AppName::new(app).map_err(|error| CommandError::refused(error.to_string()))?;
    let file = fedi_inventory::add_deployment(context.folder.root(), host, &name, &app, &domain)?;
    context.ui.say(&format!("Wrote {}", file.display()));
    match Context::open(global, context.ui) {
        Ok(context) => Ok((context, Some(file))),
        Err(error) => {
            std::fs::remove_file(&file)?;
            Err(error)
        }
    }
}

/// Refuses flags that say something else than the file.
fn agrees(args: &Deploy, deployment: &Deployment) -> Result<(), CommandError> {
    let file = format!("hosts/{}/deployments/{}.toml", deployment.host, deployment.name);
    let differs = |what: &str, has: &str, wants: &str| {
        CommandError::refused(format!("`{}` has the {what} `{has}`, not `{wants}`", deployment.name))
    };
    if let Some(host) = args.host.as_deref().filter(|host| *host != deployment.host.as_str()) {
        return Err(differs("host", deployment.host.as_str(), host)
            .hint("Deploy another one under another name; a deployment is not moved by deploying it"));
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
