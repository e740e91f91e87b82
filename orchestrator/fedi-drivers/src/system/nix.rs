//! NixOS systems out of the inventory's flake: `nixosConfigurations.<deployment>`,
//! evaluated and built here, copied to the guest with all that they need.
//!
//! Nothing secret is in a system: what Nix evaluates every user of a store can read.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use fedi_engine::drivers::{DriverError, DriverErrorKind, Resolved, StepContext, SystemSource};
use fedi_model::inventory::Deployment;
use fedi_model::manifest::Manifest;
use fedi_model::name::DeploymentName;
use fedi_model::resource::System;
use nix_compat::{Event, Installable, Nix, NixError, SshError, SshHost, SshTarget, StorePath, Transfer, Watch};
use serde::Deserialize;
use serde_json::Value;

use crate::guest::SshAccess;

/// Where NixOS keeps the generations of its system.
const PROFILE: &str = "/nix/var/nix/profiles";

/// Both answers in one evaluation, which for a NixOS system takes seconds.
const DESCRIBE: &str =
    "it: { toplevel = it.config.system.build.toplevel.outPath; manifest = it.config.fedi.manifest; }";

const EVALUATION: Duration = Duration::from_secs(15 * 60);
const BUILD: Duration = Duration::from_secs(6 * 60 * 60);
const COPY: Duration = Duration::from_secs(3 * 60 * 60);
const QUICK: Duration = Duration::from_secs(60);

/// Lines of Nix's words, and of a builder's, that an error carries.
const LINES: usize = 20;

/// The systems of an inventory.
#[derive(Debug, Clone)]
pub struct NixSystems {
    flake: PathBuf,
    nix: Nix,
    ssh: SshAccess,
}

/// What [`DESCRIBE`] answers.
#[derive(Deserialize)]
struct Described {
    toplevel: String,
    manifest: Value,
}

impl NixSystems {
    /// Systems out of the flake in the folder `flake`, made with the `nix` of the
    /// search path and copied with `ssh`.
    pub fn new(flake: PathBuf, ssh: SshAccess) -> Self {
        Self { flake, nix: Nix::new(), ssh }
    }

    /// Another `nix`, or one with settings of its own.
    #[must_use]
    pub fn with_nix(mut self, nix: Nix) -> Self {
        self.nix = nix;
        self
    }

    /// Version of the `nix` that is used, for `fedi doctor`.
    pub async fn version(&self) -> Result<String, DriverError> {
        let version = self.nix.version().await.map_err(|error| {
            let failed = DriverError::new(DriverErrorKind::Invalid, "Failed to use Nix").because(&error);
            failed.hint(error.hint().unwrap_or("Install Nix 2.8 or newer"))
        })?;
        Ok(version.to_string())
    }

    fn attribute(&self, deployment: &DeploymentName, below: &[&str]) -> Result<Installable, DriverError> {
        let flake = self.flake.to_string_lossy().into_owned();
        let names = ["nixosConfigurations", deployment.as_str()].into_iter().chain(below.iter().copied());
        Installable::new(flake, names).map_err(|error| failure("Failed to name", deployment, error))
    }

    async fn path_is_here(&self, path: &StorePath) -> bool {
        // Not being able to tell is as good as "no": then it is built, which tells more.
        let watch = Watch { emit: &mut |_| {}, limit: QUICK };
        matches!(self.nix.path_info(path, watch).await, Ok(Some(_)))
    }

    /// Builds the system that was planned, unless it is here.
    async fn build(&self, system: &System, planned: &StorePath, cx: &dyn StepContext) -> Result<(), DriverError> {
        if self.path_is_here(planned).await {
            return Ok(());
        }
        let deployment = &system.guest.deployment;
        let attribute = self.attribute(deployment, &["config", "system", "build", "toplevel"])?;
        cx.progress("building the system", None, None);
        let mut emit = |event| match event {
            Event::Builds { done, expected } => cx.progress("building the system", Some(done), Some(expected)),
            Event::Copied { done, expected } => cx.progress("fetching what others built", Some(done), Some(expected)),
            _ => {}
        };
        let built = self
            .nix
            .build(&attribute, Watch { emit: &mut emit, limit: BUILD })
            .await
            .map_err(|error| failure("Failed to build", deployment, error))?;
        if built.output == *planned {
            return Ok(());
        }
        Err(DriverError::new(DriverErrorKind::Drift, format!("The system of `{deployment}` is not the planned one"))
            .cause(format!("The inventory gives {} now, the plan says {planned}", built.output))
            .hint(format!("Run `fedi deploy {deployment}` to plan again")))
    }

    async fn copy(
        &self,
        system: &System,
        path: &StorePath,
        host_key: &str,
        cx: &dyn StepContext,
    ) -> Result<(), DriverError> {
        let deployment = &system.guest.deployment;
        let failed = |error| failure("Failed to copy", deployment, error);
        let target = self.ssh.target(&system.guest, host_key).await?;
        let host = SshHost {
            address: target.address(),
            port: 22,
            user: "root".to_owned(),
            identity: target.key().to_owned(),
            host_keys: vec![host_key.to_owned()],
        };
        let target = SshTarget::new(host).map_err(failed)?;
        cx.progress("copying the system", None, None);
        let mut emit = |event| {
            if let Event::Copied { done, expected } = event {
                cx.progress("copying the system", Some(done), Some(expected));
            }
        };
        self.nix.copy(path, &target, Transfer::default(), Watch { emit: &mut emit, limit: COPY }).await.map_err(failed)
    }
}

#[async_trait]
impl SystemSource for NixSystems {
    async fn resolve(&self, deployment: &Deployment) -> Result<Resolved, DriverError> {
        let name = &deployment.name;
        let attribute = self.attribute(name, &[])?;
        let watch = Watch { emit: &mut |_| {}, limit: EVALUATION };
        let described: Described = self
            .nix
            .eval_through(&attribute, Some(DESCRIBE), watch)
            .await
            .map_err(|error| failure("Failed to evaluate", name, error))?;
        let invalid = || DriverError::new(DriverErrorKind::Invalid, format!("The system of `{name}` cannot be used"));
        let toplevel = StorePath::parse(&described.toplevel).map_err(|error| invalid().because(&error))?;
        let manifest = Manifest::from_json(described.manifest.to_string().as_bytes())
            .map_err(|error| invalid().because(&error))?;
        let app = deployment.app();
        if !manifest.apps.contains_key(app) {
            return Err(invalid().cause(format!("Its manifest does not declare `{app}`")));
        }
        Ok(Resolved { source: attribute.to_string(), toplevel: toplevel.to_string(), manifest })
    }

    async fn transfer(&self, system: &System, host_key: &str, cx: &dyn StepContext) -> Result<(), DriverError> {
        let planned = StorePath::parse(&system.toplevel).map_err(|error| {
            let what = format!("The system of `{}` cannot be used", system.guest.deployment);
            DriverError::new(DriverErrorKind::Invalid, what).because(&error)
        })?;
        let work = async {
            self.build(system, &planned, cx).await?;
            self.copy(system, &planned, host_key, cx).await
        };
        // What is dropped ends the commands that it started.
        tokio::select! {
            done = work => done,
            () = cx.interrupted() => Err(DriverError::new(
                DriverErrorKind::Interrupted,
                format!("Stopped while bringing the system of `{}` to its guest", system.guest.deployment),
            )
            .left("what was built and copied so far; it is not done twice")),
        }
    }

    fn profile(&self) -> &str {
        PROFILE
    }
}

/// Nix's error as a driver's.
fn failure(doing: &str, deployment: &DeploymentName, error: NixError) -> DriverError {
    let kind = match &error {
        NixError::Missing { .. } | NixError::Invalid { .. } | NixError::Evaluation { .. } => DriverErrorKind::Invalid,
        NixError::Ssh { source: SshError::HostKeyChanged, .. } => DriverErrorKind::Foreign,
        NixError::Ssh { source: SshError::Denied, .. } => DriverErrorKind::Denied,
        NixError::Ssh { source: SshError::Unreachable(_), .. } | NixError::Timeout { .. } => {
            DriverErrorKind::Unavailable
        }
        NixError::Copy { message, .. } if message.contains("No space left") => DriverErrorKind::Unavailable,
        _ => DriverErrorKind::Failed,
    };
    let hint = match &error {
        NixError::Evaluation { message, .. } if message.contains("does not provide attribute") => {
            Some("A flake sees only files that git knows: `git add` the deployment's files".to_owned())
        }
        NixError::Build { derivation: Some(derivation), .. } => Some(format!("Run `nix log {derivation}`")),
        other => other.hint().map(str::to_owned),
    };
    let mut failed = DriverError::new(kind, format!("{doing} the system of `{deployment}`"));
    match error {
        NixError::Evaluation { message, .. } => failed.causes.extend(last(message.lines())),
        NixError::Build { message, log, .. } => {
            failed.causes.extend(last(message.lines()));
            failed.causes.extend(last(log.iter().map(String::as_str)));
        }
        other => failed = failed.because(&other),
    }
    failed.hint = hint;
    failed
}

/// The last lines that say something.
fn last<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines: Vec<&str> = lines.map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect()
}
