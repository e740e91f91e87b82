//! The `model` backend: guests that exist only as state, with delays and defects that a test chooses.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{BackendError, ExecOutput, GuestBackend, GuestSpec, Interface};
use crate::clock::Clock;

/// How modelled guests behave.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// From power-on until the guest agent answers.
    pub agent_delay: Duration,
    /// The agent never answers.
    pub agent_dead: bool,
    /// From the request to power off until it is off; `None` = the guest ignores the request.
    pub shutdown_delay: Option<Duration>,
    /// Starting fails with this text.
    pub start_error: Option<String>,
    /// Files each guest has from its image, by absolute path.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            agent_delay: Duration::from_secs(2),
            agent_dead: false,
            shutdown_delay: Some(Duration::from_secs(1)),
            start_error: None,
            files: BTreeMap::new(),
        }
    }
}

struct Guest {
    spec: GuestSpec,
    since: Option<Duration>,
    files: BTreeMap<String, Vec<u8>>,
}

/// Guests without a process.
pub struct ModelBackend {
    clock: Clock,
    settings: Mutex<ModelSettings>,
    guests: Mutex<HashMap<Uuid, Guest>>,
}

impl ModelBackend {
    /// A backend whose guests all behave as `settings` says.
    pub fn new(settings: ModelSettings) -> Self {
        let (settings, guests) = (Mutex::new(settings), Mutex::new(HashMap::new()));
        Self { clock: Clock::real(), settings, guests }
    }

    /// The same on another clock.
    #[must_use]
    pub fn on(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Changes the behaviour of all guests from now on.
    pub fn set(&self, change: impl FnOnce(&mut ModelSettings)) {
        change(&mut lock(&self.settings));
    }

    /// Cuts the power of a guest behind the simulator's back, as a crash of its process would.
    pub fn kill(&self, uuid: Uuid) {
        if let Some(guest) = lock(&self.guests).get_mut(&uuid) {
            guest.since = None;
        }
    }

    fn settings(&self) -> ModelSettings {
        lock(&self.settings).clone()
    }

    fn with_agent<T>(
        &self,
        uuid: Uuid,
        act: impl FnOnce(&mut Guest) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let settings = self.settings();
        let mut guests = lock(&self.guests);
        let guest = guests.get_mut(&uuid).ok_or(BackendError::NotRunning(uuid))?;
        let since = guest.since.ok_or(BackendError::NotRunning(uuid))?;
        if settings.agent_dead || self.clock.now().saturating_sub(since) < settings.agent_delay {
            return Err(BackendError::NoAgent);
        }
        act(guest)
    }
}

impl Default for ModelBackend {
    fn default() -> Self {
        Self::new(ModelSettings::default())
    }
}

/// The few words of shell that tests use: `echo`, `>&2`, `exit`.
fn run_script(script: &str) -> ExecOutput {
    let mut output = ExecOutput { status: 0, stdout: Vec::new(), stderr: Vec::new() };
    for command in script.split(';').map(str::trim) {
        if let Some(words) = command.strip_prefix("echo ") {
            let (words, stream) = match words.strip_suffix(">&2") {
                Some(words) => (words.trim_end(), &mut output.stderr),
                None => (words, &mut output.stdout),
            };
            stream.extend(format!("{words}\n").into_bytes());
        } else if let Some(status) = command.strip_prefix("exit ") {
            output.status = status.trim().parse().unwrap_or(2);
            break;
        }
    }
    output
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl GuestBackend for ModelBackend {
    async fn create(&self, spec: &GuestSpec) -> Result<(), BackendError> {
        let files = self.settings().files;
        lock(&self.guests).entry(spec.uuid).or_insert_with(|| Guest { spec: spec.clone(), since: None, files });
        Ok(())
    }

    async fn start(&self, spec: &GuestSpec) -> Result<(), BackendError> {
        if let Some(text) = self.settings().start_error {
            return Err(BackendError::Failed(text));
        }
        self.create(spec).await?;
        if let Some(guest) = lock(&self.guests).get_mut(&spec.uuid) {
            guest.spec = spec.clone();
            guest.since.get_or_insert_with(|| self.clock.now());
        }
        Ok(())
    }

    async fn shutdown(&self, uuid: Uuid, timeout: Duration) -> Result<bool, BackendError> {
        if !self.is_running(uuid).await {
            return Ok(true);
        }
        match self.settings().shutdown_delay {
            Some(delay) if delay <= timeout => {
                self.clock.sleep(delay).await;
                self.stop(uuid).await?;
                Ok(true)
            }
            _ => {
                self.clock.sleep(timeout).await;
                Ok(false)
            }
        }
    }

    async fn stop(&self, uuid: Uuid) -> Result<(), BackendError> {
        self.kill(uuid);
        Ok(())
    }

    async fn destroy(&self, uuid: Uuid) -> Result<(), BackendError> {
        lock(&self.guests).remove(&uuid);
        Ok(())
    }

    async fn is_running(&self, uuid: Uuid) -> bool {
        lock(&self.guests).get(&uuid).is_some_and(|guest| guest.since.is_some())
    }

    async fn agent_ping(&self, uuid: Uuid) -> Result<(), BackendError> {
        self.with_agent(uuid, |_| Ok(()))
    }

    async fn read_file(&self, uuid: Uuid, path: &str, max_bytes: usize) -> Result<Vec<u8>, BackendError> {
        self.with_agent(uuid, |guest| {
            let bytes = guest.files.get(path).ok_or_else(|| {
                BackendError::Guest(format!("failed to open file '{path}' (mode: 'r'): No such file or directory"))
            })?;
            Ok(bytes[..bytes.len().min(max_bytes)].to_vec())
        })
    }

    async fn write_file(&self, uuid: Uuid, path: &str, content: &[u8]) -> Result<(), BackendError> {
        self.with_agent(uuid, |guest| {
            guest.files.insert(path.to_owned(), content.to_vec());
            Ok(())
        })
    }

    async fn exec(&self, uuid: Uuid, argv: &[String], stdin: &[u8]) -> Result<ExecOutput, BackendError> {
        if let [program, seconds] = argv
            && program.rsplit('/').next() == Some("sleep")
        {
            self.with_agent(uuid, |_| Ok(()))?;
            let seconds = seconds.parse().map_err(|_| BackendError::Guest("invalid time".to_owned()))?;
            self.clock.sleep(Duration::from_secs(seconds)).await;
            return Ok(ExecOutput { status: 0, stdout: Vec::new(), stderr: Vec::new() });
        }
        self.with_agent(uuid, |guest| {
            let out = |stdout: Vec<u8>| ExecOutput { status: 0, stdout, stderr: Vec::new() };
            match argv.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["hostname" | "/bin/hostname"] => Ok(out(format!("{}\n", guest.spec.name).into_bytes())),
                ["cat" | "/bin/cat"] => Ok(out(stdin.to_vec())),
                ["true" | "/bin/true"] => Ok(out(Vec::new())),
                ["echo" | "/bin/echo", words @ ..] => Ok(out(format!("{}\n", words.join(" ")).into_bytes())),
                ["sh" | "/bin/sh", "-c", script] => Ok(run_script(script)),
                [program, ..] => Err(BackendError::Guest(format!(
                    "Guest agent command failed, error was 'Failed to execute child process \
                     \u{201c}{program}\u{201d} (No such file or directory)'"
                ))),
                [] => Err(BackendError::Guest("no command".to_owned())),
            }
        })
    }

    async fn interfaces(&self, uuid: Uuid) -> Result<Vec<Interface>, BackendError> {
        self.with_agent(uuid, |guest| {
            Ok(guest
                .spec
                .nics
                .iter()
                .map(|nic| Interface {
                    name: format!("eth{}", nic.index),
                    mac: nic.mac.to_lowercase(),
                    addresses: nic.addresses.clone(),
                })
                .collect())
        })
    }
}
