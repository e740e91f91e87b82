//! Copies: a second deployment with the state of another, and which secrets it gets.
//!
//! What the captured state cannot be read without comes along, and so does the password
//! of the administrator, whose account is in the state. Everything else is made anew; an
//! identity that is the first's in spite of that is refused.

use std::collections::BTreeMap;

use fedi_model::inventory::Deployment;
use fedi_model::manifest::{App, SecretClass};
use fedi_model::name::SecretName;
use fedi_model::resource::{Secret, SnapshotRef};
use fedi_state::fingerprint::{FingerprintKey, check_secrets};
use zeroize::Zeroizing;

use crate::desk::app_of;
use crate::restore::{Goal, Secrets, Snapshot};
use crate::{Desk, PreparedRestore, WorkflowError};

impl Desk {
    /// What the system of a deployment declares, for [`Desk::clone_to`]. The system is that
    /// of its files; nothing is asked of its guest.
    pub async fn declared(&self, deployment: &Deployment) -> Result<App, WorkflowError> {
        let resolved = self.system(&deployment.host)?.resolve(deployment).await?;
        app_of(&resolved.manifest, deployment)
    }

    /// Plans a second deployment with the state of another, whose system declares `first`.
    pub async fn clone_to(
        &self,
        deployment: &Deployment,
        first: App,
        at: &SnapshotRef,
    ) -> Result<PreparedRestore, WorkflowError> {
        self.bring(deployment, deployment, at, &Goal::Clone(Box::new(first))).await
    }

    pub(crate) async fn secrets_for_clone(
        &self,
        deployment: &Deployment,
        app: &App,
        snapshot: &Snapshot,
    ) -> Result<Secrets, WorkflowError> {
        let (manifest, at) = (&snapshot.manifest, &snapshot.facts.at);
        let mut found = Secrets::unless_unfit(manifest, deployment, app);
        let bundle = self.bundle(at).await?;
        let in_bundle = |app, name: &SecretName| Some(bundle.as_ref()?.find(app, name)?.value.clone());
        let mut carried: BTreeMap<SecretName, Zeroizing<Vec<u8>>> = BTreeMap::new();
        for (name, secret) in &app.secrets {
            let stored = self.stored(&deployment.name, deployment.app(), name).await?;
            let captured = in_bundle(&manifest.app, name);
            let is_login = app.admin.as_ref().is_some_and(|admin| admin.password == *name);
            if !protects(snapshot, app, name) && !is_login {
                let theirs = self.stored(&at.deployment, &manifest.app, name).await?;
                let same = |value: &fedi_engine::drivers::SecretValue| {
                    [&captured, &theirs].into_iter().flatten().any(|first| first.expose() == value.expose())
                };
                if secret.class == SecretClass::Identity && stored.as_ref().is_some_and(same) {
                    found.misfits.push(format!(
                        "The secret `{name}` of `{}` is that of `{}`; with it the copy would be the same server to others",
                        deployment.name, at.deployment
                    ));
                }
                continue;
            }
            if stored.is_none() && captured.is_some() {
                found.recovered.insert(name.clone(), at.clone());
            }
            if let Some(value) = stored.or(captured) {
                carried.insert(name.clone(), Zeroizing::new(value.expose().to_vec()));
            }
        }
        let mut needed = manifest.clone();
        needed.secrets.retain(|name, secret| secret.class == SecretClass::Identity && protects(snapshot, app, name));
        if needed.secrets.is_empty() {
            return Ok(found);
        }
        let own = Secret::fingerprint_key_of(&at.deployment);
        let key = match in_bundle(&own.app, &own.name) {
            Some(key) => Some(key),
            None => self.stored(&at.deployment, &own.app, &own.name).await?,
        };
        let Some(key) = key else {
            let names: Vec<&str> = needed.secrets.keys().map(SecretName::as_str).collect();
            found.misfits.push(format!(
                "It has no `secrets.age` that this inventory can open; its identity secrets `{}`, without which its \
                 state cannot be read, are missing",
                names.join("`, `")
            ));
            return Ok(found);
        };
        let text = Zeroizing::new(String::from_utf8_lossy(key.expose()).into_owned());
        let checked = FingerprintKey::from_base64(&text)
            .and_then(|key| check_secrets(&needed, &key, &|name| carried.get(name).cloned()));
        if let Err(error) = checked {
            found.misfits.push(error.to_string());
        }
        Ok(found)
    }
}

/// Whether captured items cannot be read without it, now or when they were captured.
fn protects(snapshot: &Snapshot, app: &App, name: &SecretName) -> bool {
    app.secrets.get(name).is_some_and(|secret| !secret.protects.is_empty())
        || snapshot.manifest.secrets.get(name).is_some_and(|secret| !secret.protects.is_empty())
}
