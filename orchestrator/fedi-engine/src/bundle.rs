//! The secrets that travel with a snapshot: those without which the application would
//! be another one, or would log everybody out. The operator's machine puts them
//! together and encrypts them; the guest carries what it cannot read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fedi_model::manifest::{Generator, SecretClass};
use fedi_model::name::{AppName, DeploymentName, SecretName};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::drivers::{DriverError, DriverErrorKind, SecretKey, SecretStore, SecretValue};

/// The version of the bundle that this fedi reads and writes.
const SCHEMA: u32 = 1;

/// What is in `secrets.age`, decrypted.
#[derive(Debug, Clone)]
pub struct SecretBundle {
    /// Whose they were.
    pub deployment: DeploymentName,
    /// The secrets.
    pub secrets: Vec<BundledSecret>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct BundledSecret {
    /// The application it serves; `fedi` for fedi's own.
    pub app: AppName,
    /// Its name.
    pub name: SecretName,
    /// What may happen to it.
    pub class: SecretClass,
    /// How it was made.
    pub generator: Generator,
    /// Its value.
    pub value: SecretValue,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    schema: u32,
    deployment: DeploymentName,
    secrets: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    app: AppName,
    name: SecretName,
    class: SecretClass,
    generator: Generator,
    value: Base64,
}

/// A value in base 64, wiped when dropped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Base64(String);

impl Drop for Base64 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SecretBundle {
    /// Those of a deployment that travel: identity and session. What belongs to an outside
    /// provider never does; what can be made anew need not.
    pub async fn gather(store: &dyn SecretStore, deployment: &DeploymentName) -> Result<Self, DriverError> {
        let mut secrets = Vec::new();
        for entry in store.list(Some(deployment)).await? {
            if !matches!(entry.class, SecretClass::Identity | SecretClass::Session) {
                continue;
            }
            if let Some((value, _)) = store.get(&entry.key).await? {
                let SecretKey { app, name, .. } = entry.key;
                secrets.push(BundledSecret { app, name, class: entry.class, generator: entry.generator, value });
            }
        }
        Ok(Self { deployment: deployment.clone(), secrets })
    }

    /// The secret of that application and name.
    pub fn find(&self, app: &AppName, name: &SecretName) -> Option<&BundledSecret> {
        self.secrets.iter().find(|secret| secret.app == *app && secret.name == *name)
    }

    /// As text, to be encrypted.
    pub fn to_plain(&self) -> Result<SecretValue, DriverError> {
        let entries = self.secrets.iter().map(|secret| Entry {
            app: secret.app.clone(),
            name: secret.name.clone(),
            class: secret.class,
            generator: secret.generator.clone(),
            value: Base64(STANDARD.encode(secret.value.expose())),
        });
        let file = File { schema: SCHEMA, deployment: self.deployment.clone(), secrets: entries.collect() };
        serde_json::to_vec(&file).map(SecretValue::new).map_err(|_| unusable("It cannot be written"))
    }

    /// Reads what [`SecretBundle::to_plain`] wrote.
    pub fn from_plain(plain: &SecretValue) -> Result<Self, DriverError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        // What the reader says of a mistake may quote a value.
        let Version { schema } = serde_json::from_slice(plain.expose()).map_err(|_| unusable("It does not read"))?;
        if schema != SCHEMA {
            return Err(unusable(format!("It has version {schema}; this fedi reads version {SCHEMA}")));
        }
        let file: File = serde_json::from_slice(plain.expose()).map_err(|_| unusable("It does not read"))?;
        let mut secrets = Vec::new();
        for entry in file.secrets {
            let value = STANDARD.decode(entry.value.0.as_bytes()).map_err(|_| unusable("It does not read"))?;
            secrets.push(BundledSecret {
                app: entry.app,
                name: entry.name,
                class: entry.class,
                generator: entry.generator,
                value: SecretValue::new(value),
            });
        }
        Ok(Self { deployment: file.deployment, secrets })
    }
}

fn unusable(why: impl Into<String>) -> DriverError {
    DriverError::new(DriverErrorKind::Invalid, "Failed to use the secrets of the snapshot (`secrets.age`)").cause(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_as_it_was_written() {
        let bundle = SecretBundle {
            deployment: DeploymentName::new("matrix").unwrap(),
            secrets: vec![BundledSecret {
                app: AppName::new("matrix").unwrap(),
                name: SecretName::new("signing-key").unwrap(),
                class: SecretClass::Identity,
                generator: Generator::SynapseSigningKey,
                value: SecretValue::new(b"\0not text\xff".to_vec()),
            }],
        };
        let again = SecretBundle::from_plain(&bundle.to_plain().unwrap()).unwrap();
        let found = again.find(&bundle.secrets[0].app, &bundle.secrets[0].name).unwrap();
        assert_eq!((found.class, found.value.expose()), (SecretClass::Identity, &b"\0not text\xff"[..]));
        assert!(!format!("{again:?}").contains("not text"));
    }

    #[test]
    fn a_newer_or_a_damaged_one_is_refused_without_being_quoted() {
        for (text, cause) in [
            (r#"{ "schema": 2, "new": "hidden" }"#, "It has version 2; this fedi reads version 1"),
            (r#"{ "schema": 1, "deployment": "m", "secrets": ["hidden"] }"#, "It does not read"),
            ("hidden", "It does not read"),
        ] {
            let error = SecretBundle::from_plain(&SecretValue::new(text.as_bytes().to_vec())).unwrap_err();
            assert_eq!(error.causes, [cause], "{text}");
        }
    }
}
