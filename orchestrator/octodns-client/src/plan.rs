//! A plan as data: what would change in a zone, what stands in the way, and
//! the token that ties an apply to exactly this plan.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::ZoneName;
use crate::record::{RecordKey, RecordSet};

/// One change to one record set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Change {
    Create { after: RecordSet },
    Update { before: RecordSet, after: RecordSet },
    Delete { before: RecordSet },
}

impl Change {
    /// What the change is about.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Create { after } | Self::Update { after, .. } => after.key(),
            Self::Delete { before } => before.key(),
        }
    }

    /// What was there before, as the provider had it when the plan was made.
    pub fn before(&self) -> Option<&RecordSet> {
        match self {
            Self::Create { .. } => None,
            Self::Update { before, .. } | Self::Delete { before } => Some(before),
        }
    }

    /// What will be there.
    pub fn after(&self) -> Option<&RecordSet> {
        match self {
            Self::Create { after } | Self::Update { after, .. } => Some(after),
            Self::Delete { .. } => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { after } => write!(f, "+ {after}"),
            Self::Update { before, after } if before.values == after.values => {
                write!(f, "~ {after} (ttl was {})", before.ttl)
            }
            Self::Update { before, after } => {
                write!(f, "~ {after} (was {})", before.values.join(", "))
            }
            Self::Delete { before } => write!(f, "- {before}"),
        }
    }
}

/// Why a record of somebody else's stands in the way of a wanted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Obstacle {
    /// The same name and type exist and are not owned.
    Exists,
    /// Another type at the same name does not go together with the wanted
    /// one (CNAME beside anything, ALIAS or LUA beside an address).
    Coexists,
    /// The name is delegated to other servers (NS) or redirected (DNAME), so
    /// that the wanted record would not be seen.
    Delegated,
}

/// A wanted record that cannot be written without touching what is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    pub wanted: RecordKey,
    pub obstacle: Obstacle,
    /// The record in the way.
    pub existing: RecordSet,
    /// Whether it already says what is wanted (the time to live aside).
    pub identical: bool,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, existing, .. } = self;
        let values = existing.values.join(", ");
        match self.obstacle {
            Obstacle::Exists if self.identical => {
                write!(f, "`{wanted}` exists with the wanted value `{values}` and is not owned")
            }
            Obstacle::Exists => write!(f, "`{wanted}` exists with `{values}` and is not owned"),
            Obstacle::Coexists => {
                write!(f, "`{wanted}` cannot stand beside `{}` with `{values}`", existing.key())
            }
            Obstacle::Delegated => {
                write!(f, "`{wanted}` would be hidden by `{}` to `{values}`", existing.key())
            }
        }
    }
}

/// How much one apply may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Record sets that may be deleted. Only owned and no longer wanted ones
    /// ever are; this bounds their number.
    pub deletes: u32,
}

impl Limits {
    /// No delete at all.
    pub const KEEP: Self = Self { deletes: 0 };

    /// Any number of owned record sets may go: for taking a deployment down.
    pub const REMOVE_ALL: Self = Self { deletes: u32::MAX };
}

impl Default for Limits {
    /// Eight: more than one application's leftovers, less than an accident.
    fn default() -> Self {
        Self { deletes: 8 }
    }
}

/// The name of one state of a plan: octoDNS's checksum over its changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanToken(pub(crate) String);

impl fmt::Display for PlanToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What would be done to a zone, complete enough to be kept and applied later
/// by another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsPlan {
    pub zone: ZoneName,
    /// What the plan may touch besides what it creates.
    pub owned: Vec<RecordKey>,
    /// What is wanted, after time-to-live clamping.
    pub desired: Vec<RecordSet>,
    pub limits: Limits,
    pub changes: Vec<Change>,
    /// Not empty: the plan cannot be applied.
    pub conflicts: Vec<Conflict>,
    /// For people: what was adjusted on the way.
    pub notes: Vec<String>,
    /// Absent when there is nothing to do or a conflict.
    pub token: Option<PlanToken>,
}

impl DnsPlan {
    /// Whether the zone already is as wanted.
    pub fn is_noop(&self) -> bool {
        self.changes.is_empty() && self.conflicts.is_empty()
    }
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The changes made now. Empty when the zone already was as planned, as
    /// after an apply whose answer was lost.
    pub changes: Vec<Change>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RecordName;
    use crate::record::RecordType;

    fn set(ttl: u32, value: &str) -> RecordSet {
        let name = RecordName::new("m.example.org").unwrap();
        RecordSet::new(name, RecordType::A, ttl, [value]).unwrap()
    }

    #[test]
    fn changes_read_as_plan_lines() {
        let create = Change::Create { after: set(300, "192.0.2.1") };
        assert_eq!(create.to_string(), "+ m.example.org 300 A 192.0.2.1");
        let value = Change::Update { before: set(300, "192.0.2.1"), after: set(300, "192.0.2.2") };
        assert_eq!(value.to_string(), "~ m.example.org 300 A 192.0.2.2 (was 192.0.2.1)");
        let ttl = Change::Update { before: set(300, "192.0.2.1"), after: set(60, "192.0.2.1") };
        assert_eq!(ttl.to_string(), "~ m.example.org 60 A 192.0.2.1 (ttl was 300)");
    }

    #[test]
    fn a_conflict_names_the_record_and_its_values() {
        let conflict = Conflict {
            wanted: set(300, "192.0.2.1").key(),
            obstacle: Obstacle::Exists,
            existing: set(300, "192.0.2.77"),
            identical: false,
        };
        assert_eq!(conflict.to_string(), "`m.example.org A` exists with `192.0.2.77` and is not owned");
    }

    #[test]
    fn a_plan_survives_being_stored() {
        let plan = DnsPlan {
            zone: ZoneName::new("example.org").unwrap(),
            owned: vec![set(1, "192.0.2.1").key()],
            desired: vec![set(300, "192.0.2.2")],
            limits: Limits::default(),
            changes: vec![Change::Delete { before: set(300, "192.0.2.1") }],
            conflicts: Vec::new(),
            notes: Vec::new(),
            token: Some(PlanToken("ab".into())),
        };
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<DnsPlan>(&text).unwrap(), plan);
    }
}
