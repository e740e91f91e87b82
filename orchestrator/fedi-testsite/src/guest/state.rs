//! What is on a guest that is a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keeping::BackupSettings;
use crate::files::Files;

/// A guest: gone with its VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestState {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its host name.
    pub name: String,
    /// Its SSH host key, `ssh-ed25519 AAAA...`, made at its first boot.
    pub host_key: String,
    /// When it answers, in milliseconds since 1970; `None` while it is off.
    pub answers_from: Option<u64>,
    /// Systems that were copied to it.
    pub copied: BTreeSet<String>,
    /// The system that it runs.
    pub system: Option<String>,
    /// An activation that nobody has confirmed yet: its token, its system, the one before.
    pub unconfirmed: Option<(Uuid, String, Option<String>)>,
    /// By application.
    pub apps: BTreeMap<String, AppState>,
    /// What it does wrong.
    pub fault: Option<GuestFault>,
}

/// An application on a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppState {
    /// The highest epoch that was seen.
    pub epoch: u64,
    /// Whether the right to run is held.
    pub held: bool,
    /// Delivered secrets: version and SHA-256 of the value.
    pub secrets: BTreeMap<String, (u32, String)>,
    /// While it runs: the versions of its secrets when it was started.
    pub runs_with: Option<BTreeMap<String, u32>>,
    /// Administrator's accounts.
    pub admins: u32,
    /// Delivered secrets in base 64, by name.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// The items of state that its system declares.
    #[serde(default)]
    pub items: BTreeSet<String>,
    /// What is in the items' places; one that is not named is empty.
    #[serde(default)]
    pub state: BTreeMap<String, String>,
    /// The guest's own backups.
    #[serde(default)]
    pub backup: Option<BackupSettings>,
}

/// What a guest does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuestFault {
    /// It boots and never answers, neither over the network nor through its agent.
    NeverUp,
    /// Switching its system fails.
    ActivationFails,
    /// Its system is switched, and the applications in it do not stay up.
    ApplicationDies,
    /// There is no room for another file.
    DiskFull,
    /// It switches, and its network is gone afterwards.
    LostAfterSwitch,
    /// A capture fails midway.
    CaptureFails,
    /// What is restored is not what was captured.
    RestoreDiffers,
    /// Its state cannot be made that of a copy.
    RehomeFails,
    /// A unit of the application has failed, and systemd has given it up.
    UnitFailed,
    /// It says that it is another machine.
    OtherMachine,
    /// It shows another host key than it did.
    OtherHostKey,
}

impl GuestState {
    /// Whether it answers now.
    pub fn answers(&self) -> bool {
        self.fault != Some(GuestFault::NeverUp) && self.answers_from.is_some_and(|from| from <= now_ms())
    }

    /// The key that it shows.
    pub(super) fn shown_key(&self) -> String {
        match self.fault {
            Some(GuestFault::OtherHostKey) => key_of("somebody else"),
            _ => self.host_key.clone(),
        }
    }

    /// The application of that name.
    pub(super) fn app(&mut self, name: &str) -> &mut AppState {
        self.apps.entry(name.to_owned()).or_default()
    }
}

/// A host key that only this text has; a real one is made at the first boot.
pub(super) fn key_of(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = hex::encode(Sha256::digest(text));
    format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{digest}")
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The guests of a site.
#[derive(Debug, Clone)]
pub(crate) struct States(Files);

impl States {
    pub(crate) fn in_folder(root: &Path) -> Self {
        Self(Files::new(root.join("guests")))
    }

    pub(crate) fn get(&self, uuid: Uuid) -> Option<GuestState> {
        self.0.read(&uuid.to_string())
    }

    pub(crate) fn change<R>(&self, uuid: Uuid, change: impl FnOnce(&mut Option<GuestState>) -> R) -> R {
        self.0.change(&uuid.to_string(), change)
    }

    pub(crate) fn all(&self) -> Vec<GuestState> {
        self.0.names().iter().filter_map(|name| self.0.read(name)).collect()
    }
}
