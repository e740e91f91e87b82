//! A conversation with `fedi-guest serve`: JSON lines both ways.

use std::collections::{BTreeMap, VecDeque};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::drivers::{
    Activation, BackupConfig, BackupStatus, Capture, Captured, Confirm, DriverError, DriverErrorKind, Facts,
    GuestSession, HookOutcome, NoStep, Paused, Place, RepositoryAccess, Restore, Restored, SecretValue, StepContext,
    UnitHealth,
};
use fedi_guest::protocol::{
    self, Call, ClientLine, ErrorKind, ErrorReply, Event, GuestLine, Hello, Op, Phase, Reason, Request,
};
use fedi_model::name::{AppName, SecretName};
use fedi_model::resource::{Delivery, Lease};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::refusal::refusal;
use super::ssh::{SshTarget, missing_program};
use super::state;

/// How long an answer to something quick may take.
pub(super) const QUICK: Duration = Duration::from_secs(60);

/// How long answers of an activation may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// To something quick.
    quick: Duration,
    /// One run of `switch-to-configuration`: a switch, making it permanent (which
    /// `confirm` waits for), or going back.
    switch: Duration,
}

const LIMITS: Limits = Limits { quick: QUICK, switch: Duration::from_secs(900) };

/// How long a guest may take to call off a capture or a restore.
const CALLED_OFF: Duration = Duration::from_secs(300);

/// Lines of stderr that are kept to tell what went wrong.
const STDERR_LINES: usize = 20;

/// An open conversation.
pub(crate) struct AgentSession {
    target: SshTarget,
    child: Child,
    /// `None` once the guest was told to call off what it does.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What has come of the next line so far.
    partial: Vec<u8>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    next: u64,
    limits: Limits,
}

impl AgentSession {
    pub(crate) async fn open(target: SshTarget) -> Result<Self, DriverError> {
        let mut child = target
            .command("fedi-guest serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| missing_program("ssh", &error))?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(DriverError::new(DriverErrorKind::Failed, "Failed to talk to `ssh`"));
        };
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&stderr);
        tokio::spawn(async move {
            let mut lines = BufReader::new(errors).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == STDERR_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        let mut session = Self {
            target,
            child,
            input: Some(input),
            output: BufReader::new(output),
            partial: Vec::new(),
            stderr,
            next: 1,
            limits: LIMITS,
        };
        session.greet().await?;
        Ok(session)
    }

    /// Says hello, and hears whether the two understand each other.
    async fn greet(&mut self) -> Result<(), DriverError> {
        self.send(&ClientLine::Hello { hello: Hello::ours() }).await?;
        match self.receive(QUICK).await? {
            GuestLine::Hello(hello) => hello.check().map_err(|error| {
                DriverError::new(
                    DriverErrorKind::Invalid,
                    format!("Failed to talk to the agent on the guest `{}`", self.target.deployment()),
                )
                .because(&error)
                .hint("Update fedi here, or deploy the guest's system anew")
            }),
            _ => Err(self.babble("it did not say hello")),
        }
    }

    fn babble(&self, what: &str) -> DriverError {
        DriverError::new(
            DriverErrorKind::Failed,
            format!("Failed to understand the agent on the guest `{}`", self.target.deployment()),
        )
        .cause(what)
        .hint("Update fedi here, or deploy the guest's system anew: the two may be of different versions")
    }

    async fn send(&mut self, line: &ClientLine) -> Result<(), DriverError> {
        let mut text =
            Zeroizing::new(serde_json::to_vec(line).map_err(|_| self.babble("a request does not serialise"))?);
        text.push(b'\n');
        let Some(input) = &mut self.input else { return Err(self.babble("the conversation was called off")) };
        let sent = async {
            input.write_all(&text).await?;
            input.flush().await
        };
        match sent.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended().await),
        }
    }

    /// The next line. Can be dropped and called again: nothing of the line is lost.
    async fn receive(&mut self, patience: Duration) -> Result<GuestLine, DriverError> {
        let limit = protocol::MAX_LINE.saturating_sub(self.partial.len());
        let mut reader = (&mut self.output).take(u64::try_from(limit).unwrap_or(u64::MAX));
        let read = tokio::time::timeout(patience, reader.read_until(b'\n', &mut self.partial)).await;
        match read {
            Err(_) => Err(DriverError::new(
                DriverErrorKind::Unavailable,
                format!("The guest `{}` does not answer", self.target.deployment()),
            )
            .cause(format!("Nothing came within {} s", patience.as_secs()))),
            Ok(Err(_)) => Err(self.ended().await),
            Ok(Ok(_)) if self.partial.last() != Some(&b'\n') => Err(self.ended().await),
            Ok(Ok(_)) => {
                let mut line = std::mem::take(&mut self.partial);
                line.pop();
                GuestLine::parse(&line).map_err(|error| self.babble(&error.to_string()))
            }
        }
    }

    /// Why the connection is over, once `ssh` has said all it has to say.
    async fn ended(&mut self) -> DriverError {
        // The child's end closes stderr; without it the last words may still be under way.
        let status = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await;
        tokio::task::yield_now().await;
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = stderr.iter().cloned().collect::<Vec<_>>().join("\n");
        if let (Ok(Ok(status)), true) = (status, text.is_empty()) {
            text = format!("ssh ended with {status}");
        }
        self.target.failure(&text)
    }

    /// One request and its answer.
    pub(crate) async fn call<C: Call>(
        &mut self,
        call: C,
        patience: Duration,
        cx: &dyn StepContext,
    ) -> Result<C::Reply, DriverError> {
        self.attempt(call, patience, cx).await?.map_err(|error| self.refused(error))
    }

    /// Like [`Self::call`], with the guest's own error as a value.
    async fn attempt<C: Call>(
        &mut self,
        call: C,
        patience: Duration,
        cx: &dyn StepContext,
    ) -> Result<Result<C::Reply, ErrorReply>, DriverError> {
        let id = self.next;
        self.next += 1;
        let op: Op = call.into();
        let gives_up = op.is_state();
        self.send(&ClientLine::Request(Request { id, op })).await?;
        let mut patience = patience;
        loop {
            let calling_off = gives_up && self.input.is_some();
            let line = tokio::select! {
                line = self.receive(patience) => line?,
                // The agent calls the operation off when it is hung up on, and says so.
                () = cx.interrupted(), if calling_off => {
                    self.input = None;
                    patience = patience.min(CALLED_OFF);
                    cx.progress("calling off", None, None);
                    continue;
                }
            };
            match line {
                GuestLine::Event { id: about, event } if about == id => match event {
                    Event::Output { line } => cx.progress(&line, None, None),
                    Event::Phase { phase } => cx.progress(phase_word(&phase), None, None),
                    Event::Progress { what, bytes, of_bytes, count, rate } => {
                        cx.progress(&state::progress_line(&what, count, rate), Some(bytes), of_bytes);
                    }
                    Event::Notice { message } => cx.notice(&message),
                    Event::Other => {}
                },
                GuestLine::Response { id: Some(about), result } if about == id => {
                    return Ok(match result {
                        Ok(value) => Ok(serde_json::from_value(value)
                            .map_err(|_| self.babble("an answer does not have the expected form"))?),
                        Err(error) => Err(error),
                    });
                }
                GuestLine::Response { id: None, result: Err(error) } => return Ok(Err(error)),
                _ => return Err(self.babble("an answer to another question came")),
            }
        }
    }

    /// Fails if units are not as the gate is.
    pub(super) fn gated(
        &self,
        verb: &str,
        app: &AppName,
        gated: &protocol::Gated,
        action: protocol::GateAction,
    ) -> Result<(), DriverError> {
        let troubles = gated.troubles(action);
        if troubles.is_empty() {
            return Ok(());
        }
        let message = format!("Failed to {verb} `{app}` on the guest `{}`", self.target.deployment());
        let mut error = DriverError::new(DriverErrorKind::Failed, message);
        error.causes.extend(troubles);
        Err(error.hint("Look at the units' journal on the guest"))
    }

    fn refused(&self, error: ErrorReply) -> DriverError {
        refusal(self.target.deployment(), error)
    }
}

fn phase_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Starting | Phase::Switching => "switching",
        Phase::Waiting { .. } => "waiting for the confirmation",
        Phase::Committing => "making it permanent",
        Phase::Confirmed { .. } => "confirmed",
        Phase::RollingBack { .. } => "going back",
        Phase::RolledBack { .. } => "went back",
        Phase::RollbackFailed { .. } => "failed to go back",
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[async_trait]
impl GuestSession for AgentSession {
    async fn facts(&mut self) -> Result<Facts, DriverError> {
        let facts = self.call(protocol::FactsRequest::default(), QUICK, &NoStep::default()).await?;
        let held = |lease: &protocol::Lease| lease.state == protocol::LeaseState::Held;
        let leases = facts.leases.iter();
        Ok(Facts {
            uuid: facts.uuid,
            agent_version: facts.agent,
            hostname: facts.hostname,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an uptime is a small positive number"
            )]
            uptime_s: facts.uptime_s as u64,
            system: facts.system.generation_system.map(|path| path.display().to_string()),
            leases: leases.clone().filter(|(_, it)| held(it)).map(|(app, it)| (app.to_string(), it.epoch)).collect(),
            seen_epochs: leases.map(|(app, it)| (app.to_string(), it.epoch)).collect(),
            secrets: facts.secrets.into_iter().map(|(app, secrets)| (app.to_string(), intact(secrets))).collect(),
            free_bytes: facts
                .filesystems
                .into_iter()
                .map(|it| (it.mount.display().to_string(), it.bytes_available))
                .collect(),
        })
    }

    async fn grant_lease(&mut self, lease: &Lease) -> Result<(), DriverError> {
        let call = protocol::LeaseGrant { app: lease.app.clone(), epoch: lease.epoch, holder: lease.guest.uuid };
        self.call(call, QUICK, &NoStep::default()).await.map(|_| ())
    }

    async fn revoke_lease(&mut self, app: &AppName) -> Result<u64, DriverError> {
        let quiet = NoStep::default();
        let shown = self.call(protocol::LeaseShow { app: Some(app.clone()) }, QUICK, &quiet).await?;
        let epoch = shown.leases.get(app).map_or(0, |lease| lease.epoch);
        let stop = protocol::Gate { app: app.clone(), action: protocol::GateAction::Stop, timeout_s: 300 };
        match self.attempt(stop, Duration::from_secs(330), &quiet).await? {
            Ok(_) => {}
            // A guest that never got its system has no manifest and no gate to stop.
            Err(error) if error.kind == ErrorKind::Missing => {}
            Err(error) => return Err(self.refused(error)),
        }
        if epoch > 0 {
            self.call(protocol::LeaseRevoke { app: app.clone(), epoch }, QUICK, &quiet).await?;
        }
        Ok(epoch)
    }

    async fn deliver(
        &mut self,
        delivery: &Delivery,
        values: &BTreeMap<SecretName, (SecretValue, u32)>,
    ) -> Result<(), DriverError> {
        let mut secrets = Vec::new();
        for (name, file) in &delivery.files {
            let Some((value, version)) = values.get(name) else { continue };
            let expected = format!("/var/lib/fedi/secrets/{}/{name}", delivery.app);
            if file.path != expected {
                return Err(self
                    .babble("a secret's path is not the agent's")
                    .cause(format!("The manifest wants `{name}` at `{}`, fedi delivers to `{expected}`", file.path)));
            }
            secrets.push(protocol::Secret {
                name: name.clone(),
                version: u64::from(*version),
                // Says nothing of the value: whoever reads the guest's facts learns the version only.
                fingerprint: format!("v{version}"),
                value: protocol::SecretValue::new(value.expose()),
                owner: file.owner.clone(),
                group: file.group.clone(),
                mode: file.mode.clone(),
            });
        }
        let call = protocol::SecretsDeliver { app: delivery.app.clone(), secrets };
        self.call(call, QUICK, &NoStep::default()).await.map(|_| ())
    }

    async fn run_unit(
        &mut self,
        unit: &str,
        timeout: Duration,
        cx: &dyn StepContext,
    ) -> Result<HookOutcome, DriverError> {
        let call = protocol::RunHook { unit: unit.to_owned(), timeout_s: seconds(timeout) };
        let result = self.call(call, timeout + QUICK, cx).await?;
        let word = match (result.succeeded, result.timed_out) {
            (true, _) => "success".to_owned(),
            (false, true) => "timeout".to_owned(),
            (false, false) => result.unit.result.unwrap_or(result.unit.active),
        };
        Ok(HookOutcome { result: word, log: result.journal })
    }

    async fn restart(&mut self, app: &AppName, timeout: Duration, cx: &dyn StepContext) -> Result<(), DriverError> {
        use protocol::GateAction::{Start, Stop};
        for (action, word) in [(Stop, "stopping"), (Start, "starting")] {
            cx.progress(&format!("{word} {app}"), None, None);
            let call = protocol::Gate { app: app.clone(), action, timeout_s: seconds(timeout) };
            let gated = self.call(call, timeout + QUICK, cx).await?;
            self.gated("restart", app, &gated, action)?;
        }
        Ok(())
    }

    async fn health(&mut self, app: &AppName) -> Result<Vec<UnitHealth>, DriverError> {
        let call = protocol::HealthRequest { app: Some(app.clone()), probe: false };
        let health = self.call(call, QUICK, &NoStep::default()).await?;
        let mut found: Vec<UnitHealth> = health
            .units
            .into_iter()
            .map(|unit| UnitHealth {
                healthy: !health.problems.iter().any(|problem| problem.subject == unit.name),
                state: format!("{} ({})", unit.active, unit.sub),
                unit: unit.name,
                lasting: false,
            })
            .collect();
        for problem in health.problems {
            match found.iter_mut().find(|unit| unit.unit == problem.subject) {
                Some(unit) => (unit.state, unit.lasting) = (problem.message, unit.lasting || problem.lasting),
                None => found.push(UnitHealth {
                    unit: problem.subject,
                    healthy: false,
                    state: problem.message,
                    lasting: problem.lasting,
                }),
            }
        }
        Ok(found)
    }

    async fn activate(&mut self, activation: &Activation, cx: &dyn StepContext) -> Result<Confirm, DriverError> {
        // The token is durable before the guest hears of it: a run that is taken up
        // again joins the activation that it began.
        let token = match cx.recall("activation").await.and_then(|text| Uuid::parse_str(&text).ok()) {
            Some(token) if self.may_join(token, activation).await? => token,
            _ => {
                let token = Uuid::new_v4();
                cx.note("activation", &token.to_string()).await?;
                token
            }
        };
        let call = protocol::Activate {
            token,
            system: activation.toplevel.clone().into(),
            profile: activation.profile.clone().into(),
            confirm_within_s: seconds(activation.confirm_within),
            timeout_s: seconds(self.limits.switch),
        };
        let made = self.call(call, self.limits.switch + self.limits.quick, cx).await?;
        match made.phase {
            Phase::RolledBack { reason } => Err(self.went_back(&reason)),
            Phase::RollbackFailed { reason, error } => Err(self.went_back(&reason).cause(error).left(format!(
                "The guest `{}` runs neither system properly; its next boot has the earlier one",
                self.target.deployment()
            ))),
            _ => Ok(Confirm { token: token.to_string() }),
        }
    }

    async fn confirm(&mut self, confirm: &Confirm) -> Result<(), DriverError> {
        let token = Uuid::parse_str(&confirm.token).map_err(|_| self.babble("an activation has no token"))?;
        let made =
            self.call(protocol::Confirm { token }, self.limits.switch + self.limits.quick, &NoStep::default()).await?;
        match made.phase {
            Phase::Confirmed { .. } => Ok(()),
            Phase::RolledBack { reason } | Phase::RollingBack { reason } | Phase::RollbackFailed { reason, .. } => {
                Err(self.went_back(&reason))
            }
            _ => Err(self.babble("a confirmed activation is not confirmed")),
        }
    }

    async fn pause_state(&mut self, app: &AppName, drain: bool, cx: &dyn StepContext) -> Result<Paused, DriverError> {
        self.pause(app, drain, cx).await
    }

    async fn resume_state(&mut self, app: &AppName, cx: &dyn StepContext) -> Result<(), DriverError> {
        self.resume(app, cx).await
    }

    async fn capture_state(&mut self, capture: &Capture, cx: &dyn StepContext) -> Result<Captured, DriverError> {
        self.capture(capture, cx).await
    }

    async fn state_places(&mut self, app: &AppName) -> Result<Vec<Place>, DriverError> {
        self.places(app, &NoStep::default()).await
    }

    async fn restore_state(&mut self, restore: &Restore, cx: &dyn StepContext) -> Result<Restored, DriverError> {
        self.restore(restore, cx).await
    }

    async fn verify_state(&mut self, restore: &Restore, cx: &dyn StepContext) -> Result<Restored, DriverError> {
        self.compare(restore, cx).await
    }

    async fn clear_state(
        &mut self,
        app: &AppName,
        repository: &RepositoryAccess,
        fail_safe: &str,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        self.clear(app, repository, fail_safe, cx).await
    }

    async fn configure_backup(&mut self, app: &AppName, config: Option<&BackupConfig>) -> Result<(), DriverError> {
        self.set_backup(app, config, &NoStep::default()).await
    }

    async fn backup_status(&mut self, app: &AppName) -> Result<BackupStatus, DriverError> {
        self.backups(app, &NoStep::default()).await
    }
}

impl AgentSession {
    /// Whether the activation of an earlier try is still the one that is wanted.
    async fn may_join(&mut self, token: Uuid, activation: &Activation) -> Result<bool, DriverError> {
        let show = protocol::ActivationShow { token: Some(token) };
        match self.attempt(show, QUICK, &NoStep::default()).await? {
            Ok(found) => {
                let over = matches!(found.phase, Phase::RolledBack { .. } | Phase::RollbackFailed { .. });
                Ok(!over && found.system.as_os_str() == activation.toplevel.as_str())
            }
            Err(error) if error.kind == ErrorKind::UnknownActivation => Ok(false),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn went_back(&self, reason: &Reason) -> DriverError {
        let deployment = self.target.deployment();
        let error = DriverError::new(
            DriverErrorKind::Failed,
            format!("Failed to activate the system on the guest `{deployment}`"),
        )
        .left(format!("The guest `{deployment}` runs its former system"))
        .hint("Look at the units' journal on the guest, mend the system, then deploy it or go on with the run");
        match reason {
            Reason::ActivationFailed { status, output } => {
                let mut error = error.cause(format!("`switch-to-configuration` {status}"));
                error.causes.extend(output.iter().rev().take(5).rev().cloned());
                error
            }
            Reason::ActivationTimeout { seconds } => error.cause(format!("It took longer than {seconds} s")),
            Reason::NotConfirmed { seconds } => error.cause(format!("Nobody confirmed it within {seconds} s")),
            Reason::Cancelled => error.cause("It was cancelled"),
            Reason::CommitFailed { error: why } => error.cause(format!("It could not be made permanent: {why}")),
            Reason::SupervisorDied => error.cause("Its supervisor on the guest died"),
        }
    }
}

/// Versions of the secrets whose files still are what was delivered.
fn intact(secrets: BTreeMap<SecretName, protocol::SecretFacts>) -> BTreeMap<String, u32> {
    use protocol::SecretState::{Held, Intact};
    secrets
        .into_iter()
        .filter(|(_, facts)| matches!(facts.state, Intact | Held))
        .filter_map(|(name, facts)| Some((name.to_string(), u32::try_from(facts.version).ok()?)))
        .collect()
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
