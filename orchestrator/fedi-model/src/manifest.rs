//! The manifest: what an application on a guest consists of and needs, as its
//! system declares it in `/etc/fedi/manifest.json`.
//!
//! The NixOS modules write it (`fedi.manifest`), a prebuilt system carries it as
//! `manifest.json`; fedi reads it before it plans. Unknown fields are refused, so
//! that a module and this file cannot drift apart unseen. Reserved for what
//! `modules/contracts` declares; what was *observed* in a snapshot is another
//! document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{AppName, SecretName};

/// The version of the manifest that this fedi reads.
pub const SCHEMA: u32 = 1;

/// `/etc/fedi/manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Always [`SCHEMA`]; a newer one is refused before anything else is read.
    pub schema: u32,
    /// One entry an application; today exactly one a guest.
    pub apps: BTreeMap<AppName, App>,
}

/// One application as its system declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct App {
    /// Version of the application, as its package has it.
    pub version: String,
    /// The oldest version whose state this one can take over.
    pub upgrades_from: String,
    /// The target that every unit of the application belongs to; it starts only
    /// under the current lease.
    pub gate: String,
    /// Every unit, timer and init oneshot that the gate holds.
    #[serde(default)]
    pub units: Vec<String>,
    /// The state, by item name.
    #[serde(default)]
    pub items: BTreeMap<String, Item>,
    /// Every item once, in the order of restoring.
    #[serde(default)]
    pub order: Vec<String>,
    /// The secrets, by name; fedi makes and delivers them.
    #[serde(default)]
    pub secrets: BTreeMap<SecretName, Secret>,
    /// Units that fedi starts at given moments.
    #[serde(default)]
    pub hooks: Hooks,
    /// DNS records that the application needs.
    #[serde(default)]
    pub records: Vec<Record>,
    /// What must answer from outside for the application to be healthy.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// The first administrator's account, where the application has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// What keeps a second deployment with this one's state from passing for it, where
    /// the application has such a thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

/// A piece of state. Exactly one kind; the JSON is `{"postgres": {...}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Item {
    /// A PostgreSQL database.
    Postgres(Postgres),
    /// A MariaDB or MySQL database.
    Mysql(Mysql),
    /// A Redis instance.
    Redis(Redis),
    /// An S3 bucket.
    Bucket(Bucket),
    /// A folder of files.
    Directory(Directory),
    /// Something that is made again from the rest.
    Derived(Derived),
}

/// A PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Postgres {
    /// Database name.
    pub database: String,
    /// Owning role.
    pub owner: String,
    /// Major version of the server.
    pub major: u32,
    /// Encoding, `UTF8` for all that fedi knows.
    #[serde(default = "utf8")]
    pub encoding: String,
    /// LC_COLLATE and LC_CTYPE; Synapse needs `C`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Extensions to create before the data comes.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Tables whose rows are left out (the table itself is kept).
    #[serde(default)]
    pub skip_rows: Vec<String>,
}

fn utf8() -> String {
    "UTF8".to_owned()
}

/// A MariaDB or MySQL database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mysql {
    /// Database name.
    pub database: String,
    /// User that owns it.
    pub owner: String,
}

/// A Redis instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redis {
    /// Instance: `services.redis.servers.<instance>`, unit `redis-<instance>`.
    pub instance: String,
    /// Whether losing it loses anything.
    pub holds: Holds,
    /// Key prefixes whose entries are counted as queued work.
    #[serde(default)]
    pub queues: Vec<String>,
}

/// What a Redis instance is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Holds {
    /// Nothing worth keeping.
    Cache,
    /// Work that must not be lost.
    Queue,
    /// Both.
    Mixed,
}

/// An S3 bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bucket {
    /// Bucket name.
    pub bucket: String,
    /// URL of the S3 endpoint.
    pub endpoint: String,
    /// S3 region name.
    pub region: String,
    /// The secrets that hold the access key's id and its secret half.
    pub access_key: SecretName,
    /// See `access_key`.
    pub secret_key: SecretName,
    /// URL that the public reads the objects at; a name the deployment owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_base: Option<String>,
    /// Prefixes that the application can fetch or make again.
    #[serde(default)]
    pub rebuildable: Vec<String>,
    /// Whether the bucket serves a web site (Garage's website access).
    #[serde(default)]
    pub website: bool,
}

/// A folder of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directory {
    /// Absolute path; a symbolic link at its end is followed.
    pub path: String,
    /// Owner of the folder itself.
    pub owner: String,
    /// Group of the folder itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Patterns, relative to `path`, that are left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Fewer files than this means that something is wrong, not that the folder is small.
    #[serde(default)]
    pub at_least_files: u64,
    /// The same in bytes.
    #[serde(default)]
    pub at_least_bytes: u64,
}

/// Something that is made again from the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Derived {
    /// Where it lies, for the coverage lint.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The unit that makes it, or `None` where the application does so by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<String>,
}

/// A secret as the application declares it; the value lives in the secret store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// What may happen to it.
    pub class: SecretClass,
    /// How fedi makes it when there is none.
    pub generator: Generator,
    /// Absolute path on the guest that fedi writes it to.
    pub path: String,
    /// Owner of the file.
    #[serde(default = "root")]
    pub owner: String,
    /// Group of the file.
    #[serde(default = "root")]
    pub group: String,
    /// Mode of the file, octal digits: `0400`.
    #[serde(default = "mode_0400")]
    pub mode: String,
    /// Items that cannot be read without it.
    #[serde(default)]
    pub protects: Vec<String>,
    /// Units to restart when it changes.
    #[serde(default)]
    pub restart_units: Vec<String>,
}

fn root() -> String {
    "root".to_owned()
}

fn mode_0400() -> String {
    "0400".to_owned()
}

/// What may happen to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecretClass {
    /// The application is another one without it: never made anew on a restore.
    Identity,
    /// Kept by default; losing it logs people out.
    Session,
    /// Made anew on a new guest.
    Rotatable,
    /// Belongs to an outside provider; never carried to another.
    Provider,
}

/// How a secret is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Generator {
    /// `bytes` random bytes as lower-case hexadecimal digits.
    Hex {
        /// Number of random bytes.
        bytes: u16,
    },
    /// `bytes` random bytes in base 64 (RFC 4648, section 4), with padding.
    Base64 {
        /// Number of random bytes.
        bytes: u16,
    },
    /// `bytes` random bytes in URL-safe base 64 (RFC 4648, section 5), without padding.
    Base64Url {
        /// Number of random bytes.
        bytes: u16,
    },
    /// A password for people: `length` letters and digits without look-alikes.
    Password {
        /// Number of characters.
        length: u16,
    },
    /// Laravel's `APP_KEY`: `base64:` and 32 random bytes in base 64.
    LaravelKey,
    /// A Synapse signing key line: `ed25519 a_<4> <unpadded base 64 seed>`.
    SynapseSigningKey,
    /// A pair for web push (VAPID, RFC 8292): URL-safe base 64 of the P-256 private
    /// scalar and the uncompressed public point, as `private:public`.
    Vapid,
    /// An RSA private key in PKCS #8 PEM.
    RsaPrivateKey {
        /// Modulus size in bits.
        bits: u16,
    },
    /// The public half (PEM, SPKI) of another secret that is an RSA private key.
    RsaPublicKey {
        /// The private key's name.
        of: SecretName,
    },
    /// A Garage access key id: `GK` and 24 hexadecimal digits.
    GarageKeyId,
    /// Nothing fedi can make: the operator sets it with `fedi secret set`.
    Operator {
        /// What it is and where to get it, for the message that asks for it.
        describe: String,
        /// Whether the deployment can go on without it.
        #[serde(default)]
        optional: bool,
    },
}

/// Units that fedi starts at given moments of a workflow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hooks {
    /// Stops taking requests, shows a maintenance page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Hook>,
    /// Lets queued work run out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Hook>,
    /// Makes restored state that of a fenced copy, before its first start: what waits to go
    /// out to people and servers is gone from it, and so are people's sessions. Declared only
    /// by a system that cannot pass for the first (see [`Fence`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehome: Option<Hook>,
    /// Migrates the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Hook>,
    /// Makes state reachable that only the application itself can read and write, such as an
    /// object store's: started while the application is stopped and its state is captured or
    /// restored, stopped again afterwards. It neither seeds nor serves anybody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<Hook>,
    /// Tests the application on the loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Hook>,
}

/// A oneshot unit and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// Name of the systemd unit.
    pub unit: String,
    /// Longest time: digits and `s`, `m` or `h`.
    #[serde(default = "fifteen_minutes")]
    pub timeout: String,
}

fn fifteen_minutes() -> String {
    "15m".to_owned()
}

/// A DNS record that the application needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Fully qualified name, without the final dot.
    pub name: String,
    /// What it says.
    pub value: RecordValue,
}

/// What a record says. `Address` becomes an A and an AAAA of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RecordValue {
    /// The guest's own addresses.
    Address,
    /// An alias.
    Cname(String),
    /// A service (RFC 2782): priority, weight, port, target.
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// TCP or UDP port.
        port: u16,
        /// Fully qualified host, without the final dot.
        target: String,
    },
    /// A text.
    Txt(String),
    /// Who may issue certificates (RFC 8659).
    Caa {
        /// 0, or 128 for critical.
        flags: u8,
        /// `issue`, `issuewild` or `iodef`.
        tag: String,
        /// The certificate authority, or a URL.
        value: String,
    },
    /// A mail exchanger.
    Mx {
        /// Lower is tried first.
        preference: u16,
        /// Fully qualified host, without the final dot.
        exchange: String,
    },
}

/// Something that must answer from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Short name for reports: `client API`.
    pub name: String,
    /// An https URL on a name that the deployment owns.
    pub url: String,
    /// The wanted HTTP status.
    #[serde(default = "ok_200")]
    pub status: u16,
    /// A JSON pointer (RFC 6901) that the answer must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// The value at `json`, where it is known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<serde_json::Value>,
}

fn ok_200() -> u16 {
    200
}

/// The first administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admin {
    /// The oneshot unit that makes the account, and does nothing when it exists.
    pub unit: String,
    /// The login name.
    pub login: String,
    /// The secret that holds the first password.
    pub password: SecretName,
    /// Where to log in.
    pub url: String,
}

/// The settings that a copy of an application needs so that it cannot pass for the first.
/// Only a system with them declares [`Hooks::rehome`], and its own fence is the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fence {
    /// Keys below `[settings]`, dotted, and what they have to say.
    #[serde(default)]
    pub set: BTreeMap<String, serde_json::Value>,
    /// Keys below `[settings]`, dotted, that must not be there.
    #[serde(default)]
    pub unset: Vec<String>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It does not read as a manifest of this version.
    #[error("Failed to read the manifest")]
    Parse(#[source] serde_json::Error),
    /// A newer fedi wrote it.
    #[error("The manifest has version {found}; this fedi reads version {SCHEMA}")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It contradicts itself.
    #[error("The manifest of `{app}` is inconsistent: {what}")]
    Inconsistent {
        /// The application.
        app: AppName,
        /// In words.
        what: String,
    },
}

impl Manifest {
    /// Reads and checks a manifest.
    pub fn from_json(text: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let version: Version = serde_json::from_slice(text).map_err(ManifestError::Parse)?;
        if version.schema != SCHEMA {
            return Err(ManifestError::Newer { found: version.schema });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(ManifestError::Parse)?;
        for (name, app) in &manifest.apps {
            app.check().map_err(|what| ManifestError::Inconsistent { app: name.clone(), what })?;
        }
        Ok(manifest)
    }
}

impl App {
    fn check(&self) -> Result<(), String> {
        let mut ordered: Vec<&String> = self.order.iter().collect();
        ordered.sort();
        let items: Vec<&String> = self.items.keys().collect();
        if ordered != items {
            return Err("`order` must name every item exactly once".to_owned());
        }
        for (name, secret) in &self.secrets {
            if let Some(unknown) = secret.protects.iter().find(|item| !self.items.contains_key(*item)) {
                return Err(format!("secret `{name}` protects the unknown item `{unknown}`"));
            }
            if !secret.path.starts_with('/') {
                return Err(format!("secret `{name}` has the relative path `{}`", secret.path));
            }
            if u32::from_str_radix(&secret.mode, 8).is_err() {
                return Err(format!("secret `{name}` has the mode `{}`, which is not octal", secret.mode));
            }
            if let Generator::RsaPublicKey { of } = &secret.generator
                && !self.secrets.contains_key(of)
            {
                return Err(format!("secret `{name}` is the public half of the unknown secret `{of}`"));
            }
        }
        for item in self.items.values() {
            if let Item::Bucket(bucket) = item {
                for key in [&bucket.access_key, &bucket.secret_key] {
                    if !self.secrets.contains_key(key) {
                        return Err(format!("bucket `{}` names the unknown secret `{key}`", bucket.bucket));
                    }
                }
            }
        }
        if let Some(admin) = &self.admin
            && !self.secrets.contains_key(&admin.password)
        {
            return Err(format!("the admin's password is the unknown secret `{}`", admin.password));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{ "schema": 1, "apps": { "matrix": {
        "version": "1.2", "upgradesFrom": "1.0", "gate": "fedi-matrix.target",
        "items": { "db": { "postgres": { "database": "synapse", "owner": "synapse", "major": 15, "locale": "C" } } },
        "order": ["db"],
        "secrets": { "signing-key": { "class": "identity", "generator": "synapseSigningKey",
                     "path": "/var/lib/fedi/secrets/matrix/signing-key" } } } } }"#;

    #[test]
    fn reads_a_small_one() {
        let manifest = Manifest::from_json(SMALL.as_bytes()).unwrap();
        let app = manifest.apps.values().next().unwrap();
        assert!(matches!(app.items["db"], Item::Postgres(_)));
        let again = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(Manifest::from_json(&again).unwrap(), manifest);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let misspelt = SMALL.replace("\"order\"", "\"ordre\"");
        assert!(matches!(Manifest::from_json(misspelt.as_bytes()), Err(ManifestError::Parse(_))));
        let newer = SMALL.replace("\"schema\": 1", "\"schema\": 2");
        assert!(matches!(Manifest::from_json(newer.as_bytes()), Err(ManifestError::Newer { found: 2 })));
    }

    #[test]
    fn refuses_an_order_that_misses_an_item() {
        let text = SMALL.replace("[\"db\"]", "[]");
        assert!(matches!(Manifest::from_json(text.as_bytes()), Err(ManifestError::Inconsistent { .. })));
    }
}
