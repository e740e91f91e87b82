//! What takes its time: waiting for a guest, pinning its key, switching its system,
//! proving that the application is healthy.

use std::future::Future;
use std::time::Duration;

use fedi_engine::drivers::{Activation, DriverError, DriverErrorKind, Facts, GuestSession, StepContext};
use fedi_model::inventory::HostKeyPin;
use fedi_model::manifest::Admin;
use fedi_model::name::AppName;
use fedi_model::resource::{GuestRef, HostKey, Resource, System, Vm};
use tokio::time::{Instant, sleep};

use super::Site;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A new guest, until it answers.
    pub boot: Duration,
    /// The word that a guest waits for after it switched, before it goes back.
    pub confirm: Duration,
    /// An application, from its start until it is healthy.
    pub healthy: Duration,
    /// What stays as it is until somebody mends it (a full disk, a unit that systemd has
    /// given up), until it is believed.
    pub lasting: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(300),
            confirm: Duration::from_secs(120),
            healthy: Duration::from_secs(180),
            lasting: Duration::from_secs(15),
        }
    }
}

/// Where OpenSSH keeps the public half of the key that fedi pins.
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key.pub";

pub(super) fn unit_timeout() -> Duration {
    Duration::from_secs(300)
}

impl Site {
    pub(super) async fn pin(&self, wanted: &HostKey, cx: &dyn StepContext) -> Result<HostKey, DriverError> {
        if wanted.key.is_some() {
            return Ok(wanted.clone());
        }
        if let Some(key) = self.guests.pinned(&wanted.guest).await? {
            return Ok(HostKey { key: Some(key), ..wanted.clone() });
        }
        let guest = &wanted.guest;
        let host = self.host(&guest.host)?;
        let failed = || {
            DriverError::new(
                DriverErrorKind::Unavailable,
                format!("Failed to learn the SSH host key of the guest `{}`", guest.deployment),
            )
        };
        let vm = match host.host_key_pin {
            HostKeyPin::Agent => Some(self.made_vm(guest).await?),
            HostKeyPin::FirstContact => {
                cx.notice(&format!(
                    "The SSH host key of `{}` is taken from its first connection, unverified",
                    guest.deployment
                ));
                None
            }
        };
        cx.progress("waiting for the guest to boot", None, None);
        let key = patiently(self.patience.boot, cx, || async {
            Ok(match &vm {
                Some(vm) => match host.hypervisor.read_guest_file(vm, HOST_KEY, cx).await? {
                    Some(bytes) => public_key(&bytes),
                    None => None,
                },
                None => self.guests.access().shown_host_key(guest).await?.filter(|key| is_public_key(key)),
            })
        })
        .await?
        .ok_or_else(|| {
            failed()
                .cause(format!("It did not show one within {} s", self.patience.boot.as_secs()))
                .hint("Look at the VM's console on the hypervisor; `host-key-pin = \"agent\"` needs the guest agent in the image")
                .left(format!("The VM of `{}` is running", guest.deployment))
        })?;
        Ok(HostKey { key: Some(key), ..wanted.clone() })
    }

    /// The VM of the guest as the journal knows it.
    async fn made_vm(&self, guest: &GuestRef) -> Result<Vm, DriverError> {
        let id = format!("vm/{}", guest.deployment);
        let id = serde_json::from_value(serde_json::Value::String(id))
            .map_err(|error| DriverError::new(DriverErrorKind::Failed, "Failed to name the VM").because(&error))?;
        match self.ledger.made(&id).await? {
            Some(Resource::Vm(vm)) if vm.uuid == guest.uuid => Ok(vm),
            _ => Err(DriverError::new(
                DriverErrorKind::Drift,
                format!("The journal knows no VM of `{}` with the UUID {}", guest.deployment, guest.uuid),
            )),
        }
    }

    pub(super) async fn await_guest(&self, guest: &GuestRef, cx: &dyn StepContext) -> Result<(), DriverError> {
        let last: std::sync::Mutex<Option<DriverError>> = std::sync::Mutex::default();
        let found: Option<Facts> = patiently(self.patience.boot, cx, || async {
            match self.guests.facts(guest).await {
                Ok(facts) => Ok(facts),
                Err(error) if error.kind == DriverErrorKind::Unavailable => {
                    cx.progress(error.causes.last().unwrap_or(&error.message), None, None);
                    *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
        .await?;
        let Some(facts) = found else {
            let mut error = DriverError::new(
                DriverErrorKind::Unavailable,
                format!("The guest `{}` did not come up within {} s", guest.deployment, self.patience.boot.as_secs()),
            )
            .hint("Look at the VM's console on the hypervisor: has it an address, does sshd run?")
            .left(format!("The VM of `{}` is running", guest.deployment));
            if let Some(last) = last.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
                error.causes = std::iter::once(last.message).chain(last.causes).collect();
            }
            return Err(error);
        };
        match facts.uuid {
            Some(uuid) if uuid != guest.uuid => Err(DriverError::new(
                DriverErrorKind::Foreign,
                format!("The machine that answers for `{}` is another one", guest.deployment),
            )
            .cause(format!("Its UUID is {uuid}, expected {}", guest.uuid))
            .hint("Does another machine use the same address?")),
            _ => Ok(()),
        }
    }

    pub(super) async fn activate(&self, system: &System, cx: &dyn StepContext) -> Result<(), DriverError> {
        let guest = &system.guest;
        let source = &self.host(&guest.host)?.systems;
        let Some(key) = self.guests.pinned(guest).await? else {
            return Err(DriverError::new(
                DriverErrorKind::Drift,
                format!("No SSH host key is pinned for the guest `{}`", guest.deployment),
            ));
        };
        cx.progress("copying the system", None, None);
        source.transfer(system, &key, cx).await?;
        cx.progress("switching", None, None);
        let activation = Activation {
            toplevel: system.toplevel.clone(),
            profile: source.profile().to_owned(),
            confirm_within: self.patience.confirm,
        };
        let confirm = self.guests.session(guest).await?.activate(&activation, cx).await?;
        // A new connection proves that the new system can still be reached.
        self.guests.forget(&guest.uuid).await;
        let confirmed = patiently(self.patience.confirm, cx, || async {
            let mut session: Box<dyn GuestSession> = match self.guests.open(guest).await {
                Ok(session) => session,
                Err(error) if error.kind == DriverErrorKind::Unavailable => return Ok(None),
                Err(error) => return Err(error),
            };
            match session.confirm(&confirm).await {
                // The answer is lost; asked again, the guest says what became of it.
                Err(error) if error.kind == DriverErrorKind::Unavailable => Ok(None),
                result => result.map(Some),
            }
        })
        .await?;
        confirmed.ok_or_else(|| {
            DriverError::new(
                DriverErrorKind::Failed,
                format!("The guest `{}` could not be reached after it switched its system", guest.deployment),
            )
            .left(format!("It went back to its former system after {} s", self.patience.confirm.as_secs()))
            .hint("Does the new system keep the guest's network, its sshd and fedi's key?")
        })
    }

    pub(super) async fn create_admin(
        &self,
        guest: &GuestRef,
        app: &AppName,
        admin: &Admin,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let what = format!("Failed to make the administrator's account of `{app}` on `{}`", guest.deployment);
        self.unit_succeeds(guest, &admin.unit, unit_timeout(), what, cx).await
    }

    /// Starts a oneshot unit and waits for its end; `failure` says what it means when the
    /// unit fails.
    pub(super) async fn unit_succeeds(
        &self,
        guest: &GuestRef,
        unit: &str,
        limit: Duration,
        failure: String,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let mut session = self.guests.session(guest).await?;
        let outcome = session.run_unit(unit, limit, cx).await?;
        self.guests.keep(guest, session).await;
        if outcome.result == "success" {
            return Ok(());
        }
        let mut error = DriverError::new(DriverErrorKind::Failed, failure)
            .cause(format!("`{unit}` ended with `{}`", outcome.result));
        error.causes.extend(outcome.log.into_iter().rev().take(5).rev());
        Err(error)
    }
}

/// Tries until there is an answer, at first often, then every two seconds. `None`
/// when the time is over; an error at once when `attempt` fails or the operator wants
/// to stop.
pub(super) async fn patiently<T, F: Future<Output = Result<Option<T>, DriverError>>>(
    limit: Duration,
    cx: &dyn StepContext,
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>, DriverError> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(100);
    loop {
        if let Some(answer) = attempt().await? {
            return Ok(Some(answer));
        }
        if Instant::now() + pause >= deadline {
            return Ok(None);
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = cx.interrupted() => {
                return Err(DriverError::new(DriverErrorKind::Interrupted, "Stopped while waiting"));
            }
        }
        pause = (pause * 8 / 5).min(Duration::from_secs(2));
    }
}

fn public_key(file: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(file).ok()?.lines().next()?;
    let key = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    is_public_key(&key).then_some(key)
}

fn is_public_key(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.next().is_some_and(|kind| kind.starts_with("ssh-") || kind.starts_with("ecdsa-"))
        && words.next().is_some_and(|key| key.starts_with("AAAA"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_file_is_read_without_its_comment() {
        assert_eq!(public_key(b"ssh-ed25519 AAAAC3Nz root@guest\n").as_deref(), Some("ssh-ed25519 AAAAC3Nz"));
        assert_eq!(public_key(b""), None);
        assert_eq!(public_key(b"cat: no such file"), None);
    }
}
