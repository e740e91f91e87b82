//! The lines exchanged with the worker: one JSON request, one JSON answer.
//!
//! The other end is `python/fedi_octodns.py`. Whatever comes back is checked
//! on the way into plain types; nothing here trusts the worker to be right.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Effect, Error};
use crate::name::{RecordName, ZoneName};
use crate::plan::{Change, Conflict, Limits, Obstacle, PlanToken};
use crate::provider::Provider;
use crate::record::{RecordKey, RecordSet, RecordType};

/// What is asked of the worker.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation<'a> {
    Read,
    Plan(&'a Scope<'a>),
    Apply(&'a Scope<'a>, &'a PlanToken),
}

/// What a plan may touch and what it should reach.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) owned: &'a [RecordKey],
    pub(crate) desired: &'a [RecordSet],
    pub(crate) limits: Limits,
}

#[derive(Serialize)]
struct WireRequest<'a> {
    id: u64,
    op: &'static str,
    zone: String,
    provider: WireProvider<'a>,
    owned: Vec<(&'a str, &'a str)>,
    desired: Vec<WireRecord<'a>>,
    max_deletes: u32,
    checksum: Option<&'a str>,
    timeout: f64,
}

#[derive(Serialize)]
struct WireProvider<'a> {
    class: &'a str,
    settings: &'a BTreeMap<String, serde_json::Value>,
    secrets: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct WireRecord<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    ttl: u32,
    values: &'a [String],
}

/// One request line, wiped when dropped as it carries the provider's secrets.
///
/// # Errors
/// A record outside the zone, or one that is never written.
pub(crate) fn request(
    id: u64,
    zone: &ZoneName,
    provider: &Provider,
    operation: Operation<'_>,
    timeout: std::time::Duration,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (op, scope, checksum) = match operation {
        Operation::Read => ("read", None, None),
        Operation::Plan(scope) => ("plan", Some(scope), None),
        Operation::Apply(scope, token) => ("apply", Some(scope), Some(token.0.as_str())),
    };
    let mut owned = Vec::new();
    let mut desired = Vec::new();
    for key in scope.map_or(&[][..], |s| s.owned) {
        owned.push((inside(zone, &key.name)?, key.kind.as_str()));
    }
    for set in scope.map_or(&[][..], |s| s.desired) {
        desired.push(WireRecord {
            name: inside(zone, &set.name)?,
            kind: set.kind.as_str(),
            ttl: set.ttl,
            values: &set.values,
        });
    }
    let message = WireRequest {
        id,
        op,
        zone: zone.fqdn(),
        provider: WireProvider {
            class: &provider.class,
            settings: &provider.settings,
            secrets: provider.secrets.iter().map(|(name, secret)| (name.as_str(), secret.expose())).collect(),
        },
        owned,
        desired,
        max_deletes: scope.map_or(0, |s| s.limits.deletes),
        checksum,
        timeout: timeout.as_secs_f64(),
    };
    let mut line =
        Zeroizing::new(serde_json::to_vec(&message).map_err(|error| Error::Validation { message: error.to_string() })?);
    line.push(b'\n');
    Ok(line)
}

fn inside<'a>(zone: &ZoneName, name: &'a RecordName) -> Result<&'a str, Error> {
    zone.relative(name).ok_or_else(|| Error::Validation { message: format!("`{name}` is not in zone `{zone}`") })
}

/// The first line of a worker.
#[derive(Debug, Deserialize)]
pub(crate) struct Hello {
    pub(crate) hello: Option<HelloVersion>,
    pub(crate) error: Option<ReplyError>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct HelloVersion {
    pub(crate) octodns: String,
}

/// One answer line.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    pub(crate) id: Option<u64>,
    ok: bool,
    #[serde(default)]
    records: Vec<ReplyRecord>,
    #[serde(default)]
    changes: Vec<ReplyChange>,
    #[serde(default)]
    conflicts: Vec<ReplyConflict>,
    checksum: Option<String>,
    error: Option<ReplyError>,
}

#[derive(Debug, Deserialize)]
struct ReplyRecord {
    name: String,
    #[serde(rename = "type")]
    kind: RecordType,
    ttl: u32,
    values: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct ReplyChange {
    before: Option<ReplyRecord>,
    after: Option<ReplyRecord>,
}

#[derive(Debug, Deserialize)]
struct ReplyConflict {
    wanted: (String, RecordType),
    reason: Obstacle,
    existing: ReplyRecord,
    identical: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ReplyError {
    class: String,
    pub(crate) msg: String,
    exception: Option<String>,
    effect: Option<ReplyEffect>,
    #[serde(default)]
    conflicts: Vec<ReplyConflict>,
    #[serde(default)]
    changes: Vec<ReplyChange>,
    #[serde(default)]
    records: Vec<(String, RecordType)>,
    #[serde(default)]
    limit: u64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ReplyEffect {
    Known {
        applied: Vec<(String, RecordType)>,
        pending: Vec<(String, RecordType)>,
    },
    /// The word `unknown`.
    Unknown(#[expect(dead_code, reason = "only its shape tells")] String),
}

/// A plan as the worker answered it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) changes: Vec<Change>,
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) token: Option<PlanToken>,
}

/// Reads one answer line.
///
/// # Errors
/// A text saying how the line is not an answer.
pub(crate) fn parse(line: &[u8]) -> Result<Reply, String> {
    serde_json::from_slice(line).map_err(|error| format!("not an answer: {error}"))
}

impl Reply {
    /// The answer's error, if it is one.
    fn check(mut self, zone: &ZoneName) -> Result<Self, Error> {
        match (self.ok, self.error.take()) {
            (true, _) => Ok(self),
            (false, Some(error)) => Err(error.into_error(zone)),
            (false, None) => Err(nonsense("a failure without an error")),
        }
    }

    /// The answer to [`Operation::Read`]. A name that is not one a record of
    /// ours could have (`a/b` in a reverse zone) is left out.
    pub(crate) fn into_records(self, zone: &ZoneName) -> Result<Vec<RecordSet>, Error> {
        let reply = self.check(zone)?;
        let mut records = Vec::new();
        for record in reply.records {
            match zone.name(&record.name) {
                Ok(_) => records.push(record.into_set(zone)?),
                Err(error) => tracing::debug!(%zone, %error, "a record is left out"),
            }
        }
        Ok(records)
    }

    /// The answer to [`Operation::Plan`].
    pub(crate) fn into_plan(self, zone: &ZoneName) -> Result<Planned, Error> {
        let reply = self.check(zone)?;
        let changes = changes(reply.changes, zone)?;
        let conflicts = conflicts(reply.conflicts, zone)?;
        let token = match (changes.is_empty(), conflicts.is_empty(), reply.checksum) {
            (false, true, Some(checksum)) if !checksum.is_empty() => Some(PlanToken(checksum)),
            (false, true, _) => return Err(nonsense("changes without a checksum")),
            _ => None,
        };
        Ok(Planned { changes, conflicts, token })
    }

    /// The answer to [`Operation::Apply`].
    pub(crate) fn into_applied(self, zone: &ZoneName) -> Result<Vec<Change>, Error> {
        let reply = self.check(zone)?;
        changes(reply.changes, zone)
    }
}

impl ReplyRecord {
    fn into_set(self, zone: &ZoneName) -> Result<RecordSet, Error> {
        let name = zone.name(&self.name).map_err(|error| nonsense(&error.to_string()))?;
        Ok(RecordSet::observed(name, self.kind, self.ttl, self.values))
    }
}

fn changes(from: Vec<ReplyChange>, zone: &ZoneName) -> Result<Vec<Change>, Error> {
    from.into_iter()
        .map(|change| {
            let before = change.before.map(|r| r.into_set(zone)).transpose()?;
            let after = change.after.map(|r| r.into_set(zone)).transpose()?;
            match (before, after) {
                (None, Some(after)) => Ok(Change::Create { after }),
                (Some(before), None) => Ok(Change::Delete { before }),
                (Some(before), Some(after)) if before.key() == after.key() => Ok(Change::Update { before, after }),
                _ => Err(nonsense("a change of nothing, or of two records")),
            }
        })
        .collect()
}

fn conflicts(from: Vec<ReplyConflict>, zone: &ZoneName) -> Result<Vec<Conflict>, Error> {
    from.into_iter()
        .map(|conflict| {
            Ok(Conflict {
                wanted: key(conflict.wanted, zone)?,
                obstacle: conflict.reason,
                existing: conflict.existing.into_set(zone)?,
                identical: conflict.identical,
            })
        })
        .collect()
}

fn key((name, kind): (String, RecordType), zone: &ZoneName) -> Result<RecordKey, Error> {
    let name = zone.name(&name).map_err(|error| nonsense(&error.to_string()))?;
    Ok(RecordKey::new(name, kind))
}

fn keys(from: Vec<(String, RecordType)>, zone: &ZoneName) -> Result<Vec<RecordKey>, Error> {
    from.into_iter().map(|pair| key(pair, zone)).collect()
}

fn nonsense(what: &str) -> Error {
    Error::Protocol { message: format!("It answered {what}"), effect: Effect::Nothing }
}

impl ReplyError {
    fn into_error(self, zone: &ZoneName) -> Error {
        self.try_into_error(zone).unwrap_or_else(|error| error)
    }

    fn try_into_error(self, zone: &ZoneName) -> Result<Error, Error> {
        let zone = zone.clone();
        let message = self.msg;
        let effect = match self.effect {
            None => Effect::Nothing,
            Some(ReplyEffect::Unknown(_)) => Effect::Unknown,
            Some(ReplyEffect::Known { applied, pending }) => {
                Effect::Known { applied: keys(applied, &zone)?, pending: keys(pending, &zone)? }
            }
        };
        Ok(match self.class.as_str() {
            "conflict" => Error::Conflict { conflicts: conflicts(self.conflicts, &zone)?, zone },
            "drift" => Error::Drift { now: changes(self.changes, &zone)?, zone },
            "too_much_change" => Error::TooMuchChange { records: keys(self.records, &zone)?, zone, limit: self.limit },
            "validation" => Error::Validation { message },
            "config" => Error::Config { message },
            "auth" => Error::Auth { message, effect },
            "unavailable" => Error::Unavailable { message, effect },
            "timeout" => Error::Timeout { message, effect },
            "not_found" => Error::NotFound { zone, message },
            "provider" => Error::Provider { exception: self.exception.unwrap_or_default(), message, effect },
            _ => Error::Protocol { message, effect },
        })
    }
}

#[cfg(test)]
mod tests;
