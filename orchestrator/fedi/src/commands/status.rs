//! `fedi status`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use fedi_engine::drivers::{Check, CheckState, HealthReport};
use fedi_model::inventory::Deployment;
use fedi_model::name::DeploymentName;
use fedi_model::resource::ResourceId;
use fedi_model::run::RunId;
use fedi_workflow::{BackupHistory, Done, Failed, GuestState, Prepared};
use jiff::Timestamp;
use serde::Serialize;

use crate::carry_out::interrupted;
use crate::cli::Global;
use crate::context::{Context, Workshop};
use crate::error::{CommandError, Exit};
use crate::ui::{Table, Ui, count, local};

/// Say how deployments are: as planned, healthy, or not
///
/// Looks from inside (units, probe) and from outside (DNS at the authoritative servers,
/// TLS, the application's endpoints). Exits with 6 when one that was
/// deployed is not healthy, with 4 when a run is not finished.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The deployments; all of them if none is named
    deployments: Vec<String>,
    /// Look again and again until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// Seconds between two looks
    #[arg(long, default_value_t = 5, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

/// How one deployment is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DeploymentStatus {
    deployment: String,
    app: String,
    host: String,
    domain: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_run: Option<RunId>,
    /// How many steps a deploy would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<BackupState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<CommandError>,
}

/// What is known of backups: from runs, and from the guest's own.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct BackupState {
    #[serde(flatten)]
    history: BackupHistory,
    /// Whether one that is scheduled did not come.
    overdue: bool,
    /// Whether the rehearsal of a restore that is due did not come.
    drill_overdue: bool,
    /// When the guest makes the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Timestamp>,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Runs and answers.
    Healthy,
    /// Runs, something does not answer as it should.
    Unhealthy,
    /// There is no VM, and none was made.
    NotDeployed,
    /// Its VM was made and is not there any more.
    Gone,
    /// A run is not finished.
    Unfinished,
    /// Its VM is stopped.
    Stopped,
    /// It could not be looked at.
    Unknown,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::NotDeployed => "not deployed",
            Self::Gone => "gone",
            Self::Unfinished => "unfinished",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Healthy => "32",
            Self::Unhealthy | Self::Stopped | Self::Gone => "31",
            Self::NotDeployed => "2",
            Self::Unfinished | Self::Unknown => "33",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    deployments: Vec<DeploymentStatus>,
}

pub(crate) async fn run(args: &Status, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    if !args.watch {
        let report = look(args, &Context::open(global, ui)?).await?;
        ui.report(&report, &text(ui, &report, !args.deployments.is_empty()))?;
        if report.deployments.is_empty() {
            ui.say(super::plan::MAKE_ONE);
        }
        return Ok(exit(&report));
    }
    tokio::select! {
        ended = watch(args, global, ui) => ended,
        () = interrupted() => Ok(Exit::Done),
    }
}

async fn watch(args: &Status, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    loop {
        // The inventory may change meanwhile.
        let report = look(args, &Context::open(global, ui)?).await?;
        let text = text(ui, &report, !args.deployments.is_empty());
        // Clear the screen and go home (ECMA-48, ED and CUP).
        let before = if ui.is_terminal() { "\x1b[2J\x1b[H" } else { "" };
        ui.report(&report, &format!("{before}{text}"))?;
        tokio::time::sleep(Duration::from_secs(args.interval)).await;
    }
}

async fn look(args: &Status, context: &Context) -> Result<Report, CommandError> {
    let wanted = context.deployments(&args.deployments)?;
    let store = context.store()?;
    let mut begun: BTreeSet<&DeploymentName> = BTreeSet::new();
    let open: Vec<DeploymentName> = store.open_runs().await?.into_iter().map(|run| run.deployment).collect();
    for deployment in &wanted {
        if open.contains(&deployment.name) || !store.ledger(Some(&deployment.name)).await?.is_empty() {
            begun.insert(&deployment.name);
        }
    }
    drop(store);
    let of_begun = wanted.iter().filter(|it| begun.contains(&it.name)).map(|it| &it.host);
    let workshop = context.workshop_of(of_begun)?;
    let statuses = wanted.iter().map(|deployment| status(&workshop, deployment, begun.contains(&deployment.name)));
    Ok(Report { deployments: futures::future::join_all(statuses).await })
}

async fn status(workshop: &Workshop, deployment: &Deployment, begun: bool) -> DeploymentStatus {
    let mut status = DeploymentStatus {
        deployment: deployment.name.to_string(),
        app: deployment.app().to_string(),
        host: deployment.host.to_string(),
        domain: deployment.domain().to_string(),
        state: State::NotDeployed,
        open_run: None,
        changes: None,
        checks: Vec::new(),
        backup: None,
        error: None,
    };
    if begun && let Err(error) = fill(workshop, deployment, &mut status).await {
        status.state = State::Unknown;
        status.error = Some(error);
    }
    status
}

async fn fill(workshop: &Workshop, deployment: &Deployment, status: &mut DeploymentStatus) -> Result<(), CommandError> {
    let desk = &workshop.desk;
    status.open_run = desk.open_run(&deployment.name).await?.map(|run| run.id);
    if status.open_run.is_some() {
        // What is half made is neither healthy nor not.
        status.state = State::Unfinished;
        return Ok(());
    }
    let history = desk.backup_history(&deployment.name).await?;
    let mut backup = BackupState { history, ..BackupState::default() };
    if let Some(days) = deployment.file.backup.drill_days {
        let proved = backup.history.proved.as_ref().map(|proved| proved.at);
        backup.drill_overdue = fedi_workflow::is_drill_due(days, proved, Timestamp::now());
    }
    workshop.usable(&deployment.host)?;
    let prepared = desk.preview(deployment).await?;
    status.changes = Some(prepared.plan.steps().count());
    match prepared.guest {
        GuestState::Absent if prepared.known.ledger.contains_key(&ResourceId::vm(&deployment.name)) => {
            status.state = State::Gone;
        }
        GuestState::Absent => {}
        GuestState::Stopped => status.state = State::Stopped,
        GuestState::Answers | GuestState::Silent(_) => {
            let report: HealthReport = workshop.site.health(&prepared.probe).await;
            status.state = if report.is_healthy() { State::Healthy } else { State::Unhealthy };
            status.checks = report.checks;
            own_backups(workshop, deployment, &prepared, &mut backup).await;
        }
    }
    status.backup = Some(backup);
    Ok(())
}

/// Adds what the guest's own backups have done. A guest that does not say is told by
/// the checks.
async fn own_backups(workshop: &Workshop, deployment: &Deployment, prepared: &Prepared, backup: &mut BackupState) {
    let Some(schedule) = &deployment.file.backup.schedule else { return };
    let Ok(Some(own)) = workshop.site.backup_status(&prepared.probe.guest, deployment.app()).await else { return };
    if !own.configured {
        return;
    }
    backup.next = own.next;
    if let Some(made) = own.last_success
        && backup.history.last.as_ref().is_none_or(|last| last.at < made.at)
    {
        backup.history.last = Some(Done {
            at: made.at,
            snapshot: made.snapshot.unwrap_or_default(),
            bytes: Some(made.bytes),
            new_bytes: Some(made.new_bytes),
        });
    }
    if let Some(failed) = own.last_failure
        && backup.history.failed.as_ref().is_none_or(|known| known.at < failed.at)
    {
        let why = failed.error.unwrap_or_else(|| "The guest does not say why".to_owned());
        backup.history.failed = Some(Failed { at: failed.at, why });
    }
    // Whoever made a backup since then, the guest or a run, has seen to it.
    if let (Some(failed), Some(last)) = (&backup.history.failed, &backup.history.last)
        && failed.at < last.at
    {
        backup.history.failed = None;
    }
    let configured = workshop.store.ledger_entry(&ResourceId::backups(&deployment.name)).await.ok().flatten();
    let since = backup.history.last.as_ref().map(|last| last.at).or(configured.map(|entry| entry.at));
    backup.overdue = since.is_some_and(|since| fedi_workflow::is_overdue(schedule, since, Timestamp::now()));
}

impl BackupState {
    /// What is wrong, a line each; with `closely` also what is fine.
    fn lines(&self, closely: bool) -> Vec<String> {
        let history = &self.history;
        let short = |done: &Done| done.snapshot.get(..8).unwrap_or(&done.snapshot).to_owned();
        let mut lines = Vec::new();
        if let Some(failed) = &history.failed {
            lines.push(format!("FAILED   backup of {}: {}", local(failed.at), failed.why));
        }
        if self.overdue {
            let last = history.last.as_ref().map_or("none yet".to_owned(), |last| local(last.at));
            lines.push(format!("FAILED   backup is overdue; the last one: {last}"));
        }
        if let Some(failed) = &history.drill_failed {
            lines.push(format!("FAILED   rehearsal of a restore, {}: {}", local(failed.at), failed.why));
        }
        if self.drill_overdue {
            let last = history.proved.as_ref().map_or("none yet".to_owned(), |proved| local(proved.at));
            lines.push(format!(
                "FAILED   rehearsal of a restore is due (`fedi backup drill --due`); the last one: {last}"
            ));
        }
        if closely {
            match &history.last {
                Some(last) => lines.push(format!("ok       last backup: {}, snapshot {}", local(last.at), short(last))),
                None => lines.push("unknown  last backup: none yet".to_owned()),
            }
            match &history.proved {
                Some(it) => lines.push(format!("ok       restore proved: {}, snapshot {}", local(it.at), short(it))),
                None => lines.push("unknown  restore proved: never; `fedi backup drill` does".to_owned()),
            }
            if let Some(next) = self.next {
                lines.push(format!("ok       next backup by the guest: {}", local(next)));
            }
        }
        lines
    }
}

fn exit(report: &Report) -> Exit {
    let is_bad = |state| matches!(state, State::Unhealthy | State::Stopped | State::Gone | State::Unknown);
    if report.deployments.iter().any(|status| is_bad(status.state)) {
        Exit::Unhealthy
    } else if report.deployments.iter().any(|status| status.state == State::Unfinished) {
        Exit::Resumable
    } else {
        Exit::Done
    }
}

fn text(ui: Ui, report: &Report, closely: bool) -> String {
    if report.deployments.is_empty() {
        return "The inventory has no deployments\n".to_owned();
    }
    let mut table = Table::new(&["deployment", "app", "host", "domain", "state"]);
    for status in &report.deployments {
        let mut state = ui.paint(status.state.colour(), status.state.word());
        if let Some(changes) = status.changes.filter(|changes| *changes > 0) {
            let _ = write!(state, "; a deploy would take {}", count(changes, "step", "steps"));
        }
        table.row(vec![
            status.deployment.clone(),
            status.app.clone(),
            status.host.clone(),
            status.domain.clone(),
            state,
        ]);
    }
    let mut text = table.render();
    for status in &report.deployments {
        detail(&mut text, status, closely);
    }
    text
}

/// What is wrong; with `closely` also what is fine.
fn detail(text: &mut String, status: &DeploymentStatus, closely: bool) {
    let shown = |check: &&Check| closely || check.state != CheckState::Fine;
    if let Some(run) = status.open_run {
        let _ =
            writeln!(text, "\n{}\n  run {run} is not finished; go on with `fedi run resume {run}`", status.deployment);
    }
    if status.checks.iter().any(|check| shown(&check)) {
        let _ = writeln!(text, "\n{}", status.deployment);
    }
    for check in status.checks.iter().filter(shown) {
        let word = match check.state {
            CheckState::Fine => "ok     ",
            CheckState::Failed => "FAILED ",
            CheckState::Unknown => "unknown",
        };
        let _ = writeln!(text, "  {word}  {}: {}", check.what, check.detail);
    }
    if let Some(backup) = &status.backup {
        let lines = backup.lines(closely);
        if !lines.is_empty() && !status.checks.iter().any(|check| shown(&check)) {
            let _ = writeln!(text, "\n{}", status.deployment);
        }
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
    if let Some(error) = &status.error {
        let _ = write!(text, "\n{}\n{}", status.deployment, error.render_below());
    }
}
