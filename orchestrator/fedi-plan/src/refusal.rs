//! Why there can be no plan: conditions that must hold before anything is touched.

use std::fmt;

use fedi_model::name::{AppName, DeploymentName, Domain, HostName, RepositoryName, SecretName};
use serde::Serialize;

/// All the reasons why there can be no plan; at least one. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("Cannot {verb} `{deployment}`")]
pub struct PlanError {
    /// `deploy`, `destroy`, `back up`, ...
    pub verb: &'static str,
    /// Which.
    pub deployment: DeploymentName,
    /// Why.
    pub refusals: Vec<Refusal>,
}

/// A condition that does not hold. Its text is the cause of a [`PlanError`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "refusal")]
pub enum Refusal {
    /// The system's manifest does not have the application.
    UnknownApp {
        /// The application that the file names.
        app: AppName,
        /// Those that the manifest has.
        known: Vec<AppName>,
    },
    /// A name lies in no zone of the host.
    OutsideZones {
        /// The name.
        name: String,
        /// Whose zones.
        host: HostName,
        /// The zones that it has.
        zones: Vec<Domain>,
    },
    /// Another deployment has the domain.
    DomainTaken {
        /// The domain.
        domain: Domain,
        /// Who has it.
        by: DeploymentName,
    },
    /// The domain was another one when the application was first started.
    DomainChanged {
        /// As the file has it.
        domain: Domain,
        /// Names that it was deployed under.
        before: Vec<String>,
    },
    /// The host has no pool, so that the guest would have no address.
    NoAddress {
        /// Which host.
        host: HostName,
    },
    /// The guest was made with other addresses than it holds now.
    AddressesChanged {
        /// Those it was made with.
        made: Vec<String>,
        /// Those held for it.
        held: Vec<String>,
    },
    /// Its VM runs on another host.
    OtherHost {
        /// Where it runs.
        runs_on: HostName,
        /// Where its file lies.
        file_under: HostName,
    },
    /// The state disk would shrink.
    Shrink {
        /// GiB now.
        from: u32,
        /// GiB wanted.
        to: u32,
    },
    /// Secrets that only the operator can give are not in the store.
    MissingSecrets {
        /// Whose.
        deployment: DeploymentName,
        /// Name, and what it is.
        secrets: Vec<(SecretName, String)>,
    },
    /// DNS has a record that fedi did not write.
    ForeignRecord {
        /// Fully qualified name.
        name: String,
        /// Its type.
        kind: String,
        /// The zone.
        zone: Domain,
        /// What it says.
        values: Vec<String>,
    },
    /// An alias stands beside other records of its name, or at the top of a zone.
    AliasInTheWay {
        /// Fully qualified name.
        name: String,
    },
    /// The file asks for a CAA record, but the host does not say for whom.
    NoCaaIssuer {
        /// Which host.
        host: HostName,
    },
    /// It was never deployed, or is gone.
    NothingToCapture {
        /// Which.
        deployment: DeploymentName,
    },
    /// Its guest does not answer.
    GuestSilent {
        /// Which.
        deployment: DeploymentName,
    },
    /// Secrets are encrypted to one key only.
    OneRecipient {
        /// The repository whose password could be lost.
        repository: RepositoryName,
    },
    /// The snapshot cannot go there.
    Misfit {
        /// Its id, shortened.
        snapshot: String,
        /// In words.
        why: String,
    },
    /// The state disk is too small for the snapshot.
    NoRoom {
        /// GiB that it has.
        has: u32,
        /// GiB that it needs.
        needs: u32,
    },
    /// A rehearsal would write into the deployment's own bucket.
    SharedBucket {
        /// The item.
        item: String,
    },
    /// An earlier rehearsal is still there.
    DrillLeft {
        /// Its deployment.
        deployment: DeploymentName,
    },
    /// There is one already.
    TargetExists {
        /// Which.
        deployment: DeploymentName,
    },
    /// Its system would let the clone pass for the first.
    NotFenced {
        /// Whose state it would be.
        from: DeploymentName,
        /// The clone's file, relative to the inventory.
        file: String,
        /// What it has to say below `[settings]`, a line of TOML each.
        set: Vec<String>,
        /// What it must not have there.
        unset: Vec<String>,
    },
    /// A clone would answer at a name of the first.
    NameOfFirst {
        /// The name.
        name: String,
        /// Whose it is.
        from: DeploymentName,
    },
    /// A clone would write into the bucket of the first.
    BucketOfFirst {
        /// The item.
        item: String,
        /// Whose it is.
        from: DeploymentName,
    },
    /// The application keeps its name in its data and knows no fence for a copy.
    NotClonable {
        /// The application.
        app: AppName,
        /// Whose state it would be.
        from: DeploymentName,
        /// Identity secrets that the state cannot be read without.
        carried: Vec<SecretName>,
    },
    /// The VM is not one that the journal knows.
    NotMade {
        /// What it is.
        what: String,
    },
}

impl Refusal {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownApp { known, .. } => match known.as_slice() {
                [] => return None,
                known => format!("The system has {}; set `app` in the deployment's file to one of them", list(known)),
            },
            Self::OutsideZones { host, zones, .. } => match zones.as_slice() {
                [] => format!("Add the zone to `hosts/{host}/host.toml`"),
                zones => format!("`{host}` has {}; take a name in one, or add a zone to `host.toml`", list(zones)),
            },
            Self::DomainTaken { by, .. } => format!("Take another domain, or run `fedi destroy {by}` first"),
            Self::DomainChanged { .. } => {
                "An application's domain is part of its identity: put the old one back, or deploy under another name"
                    .to_owned()
            }
            Self::NoAddress { host } => format!("Add `[[addresses]]` to `hosts/{host}/host.toml`"),
            Self::AddressesChanged { .. } => {
                "A guest keeps the addresses it was made with: put their pool back into `host.toml`".to_owned()
            }
            Self::OtherHost { runs_on, .. } => format!("Move its file back to `hosts/{runs_on}/deployments/`"),
            Self::Shrink { from, .. } => format!("Set `state-gib` to {from} or more; a disk can grow, never shrink"),
            Self::MissingSecrets { deployment, secrets } => {
                let commands = secrets.iter().map(|(name, _)| format!("`fedi secret set {deployment} {name}`"));
                format!("Run {}", commands.collect::<Vec<_>>().join(" and "))
            }
            Self::ForeignRecord { .. } => {
                "Delete it where the zone is kept if nobody needs it, or take another domain".to_owned()
            }
            Self::AliasInTheWay { .. } => {
                "Take a name of its own for the application (RFC 1034, section 3.6.2)".to_owned()
            }
            Self::NoCaaIssuer { host } => {
                format!("Set `dns.caa-issuer` in `hosts/{host}/host.toml`, as in `letsencrypt.org`")
            }
            Self::NothingToCapture { deployment } => format!("Run `fedi deploy {deployment}`, or `fedi backup restore {deployment}`"),
            Self::GuestSilent { deployment } => {
                format!("Look at it with `fedi status {deployment}`; a stopped VM is started by `fedi deploy {deployment}`")
            }
            Self::OneRecipient { .. } => {
                "Make a second key (`age-keygen`), keep it elsewhere, and add its public half to `secrets.recipients` in fedi.toml"
                    .to_owned()
            }
            Self::Misfit { .. } => "`fedi backup list` shows the others; nothing was touched".to_owned(),
            Self::NoRoom { needs, .. } => format!("Set `resources.state-gib` to {needs} or more"),
            Self::SharedBucket { .. } => {
                "`fedi backup check --read 100` reads all that is stored; docs/backups.md tells what proves more".to_owned()
            }
            Self::DrillLeft { deployment } => format!("Run `fedi destroy {deployment}`"),
            Self::TargetExists { .. } => "Take another name for the clone".to_owned(),
            Self::NotFenced { file, set, unset, .. } => {
                let out = if unset.is_empty() { String::new() } else { format!("; and leave out {}", list(unset)) };
                format!(
                    "In `{file}`, set in `[settings]`: {}{out}. A `.nix` file beside it must not connect it to others \
                     either. Or remove the file: `fedi clone` writes one",
                    set.join(", ")
                )
            }
            Self::NameOfFirst { .. } => "Take a domain that the first does not use".to_owned(),
            Self::BucketOfFirst { .. } => {
                "Write the clone's file by hand, with a bucket of its own in `[settings.media]`".to_owned()
            }
            Self::NotClonable { app, .. } => format!("Deploy a new {app} under the other domain; people move with its own means"),
            Self::NotMade { .. } => "fedi destroys only what it can prove it made; remove it by hand".to_owned(),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownApp { app, .. } => write!(f, "The system does not have the application `{app}`"),
            Self::OutsideZones { name, host, .. } => write!(f, "`{name}` lies in no zone of host `{host}`"),
            Self::DomainTaken { domain, by } => write!(f, "The domain `{domain}` belongs to deployment `{by}`"),
            Self::DomainChanged { domain, before } => {
                write!(f, "It was deployed under {}, not under `{domain}`", list(before))
            }
            Self::NoAddress { host } => write!(f, "Host `{host}` has no addresses to give"),
            Self::AddressesChanged { made, held } => {
                write!(f, "Its guest was made with {}, but it holds {} now", list(made), list(held))
            }
            Self::OtherHost { runs_on, file_under } => {
                write!(f, "It runs on host `{runs_on}`, but its file lies under `{file_under}`")
            }
            Self::Shrink { from, to } => write!(f, "The state disk has {from} GiB and would shrink to {to} GiB"),
            Self::MissingSecrets { secrets, .. } => {
                f.write_str("Secrets are missing that only you can give: ")?;
                for (number, (name, description)) in secrets.iter().enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    write!(f, "{comma}`{name}` ({description})")?;
                }
                Ok(())
            }
            Self::ForeignRecord { name, kind, zone, values } => {
                write!(f, "Zone `{zone}` has the record `{name}` {kind} {}, which fedi did not write", list(values))
            }
            Self::AliasInTheWay { name } => write!(f, "`{name}` cannot be an alias beside other records"),
            Self::NoCaaIssuer { host } => {
                write!(f, "It asks for a CAA record, but host `{host}` names no certificate authority")
            }
            Self::NothingToCapture { deployment } => write!(f, "`{deployment}` is not deployed"),
            Self::GuestSilent { deployment } => write!(f, "The guest of `{deployment}` does not answer"),
            Self::OneRecipient { repository } => write!(
                f,
                "The password of repository `{repository}` would be encrypted to one key only; with that key all backups would be lost"
            ),
            Self::Misfit { snapshot, why } => write!(f, "Snapshot `{snapshot}` cannot be restored: {why}"),
            Self::NoRoom { has, needs } => {
                write!(f, "The state disk of {has} GiB is too small: fetching and restoring take {needs} GiB")
            }
            Self::SharedBucket { item } => {
                write!(f, "`{item}` lies in a bucket, and a rehearsal would write into that bucket")
            }
            Self::DrillLeft { deployment } => write!(f, "An earlier rehearsal, `{deployment}`, is still there"),
            Self::TargetExists { deployment } => write!(f, "`{deployment}` is there already"),
            Self::NotFenced { from, .. } => {
                write!(
                    f,
                    "With its settings it could pass for `{from}`: its system declares no `hooks.rehome`, or is a copy of another server"
                )
            }
            Self::NameOfFirst { name, from } => write!(f, "`{name}` is a name of `{from}`"),
            Self::BucketOfFirst { item, from } => {
                write!(f, "`{item}` lies in the bucket of `{from}`, and the copy would write into it")
            }
            Self::NotClonable { app, from, carried } => {
                write!(
                    f,
                    "The state of {app} says everywhere that it is `{from}`'s, and {app} knows no settings that would fence a copy in (`fence` of its manifest); a copy would federate as `{from}`"
                )?;
                if carried.is_empty() { Ok(()) } else { write!(f, ", with its identity ({})", list(carried)) }
            }
            Self::NotMade { what } => write!(f, "The journal does not know {what}"),
        }
    }
}

/// `` `a`, `b` and `c` ``.
fn list<T: fmt::Display>(things: &[T]) -> String {
    let things: Vec<String> = things.iter().map(|thing| format!("`{thing}`")).collect();
    match things.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
