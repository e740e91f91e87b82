//! A DNS zone that is a file, with servers that always say what is in it.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use fedi_engine::drivers::{Dns, DriverError, DriverErrorKind, StepContext};
use fedi_model::resource::{RecordSet, Records};
use serde::{Deserialize, Serialize};

use crate::files::Files;

/// The note that says which sets a try was about to create.
const CREATING: &str = "creating";

/// What the zone's provider does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZoneFault {
    /// It does not answer at all.
    Down,
    /// It says what is there, and does not answer when it is to write.
    DownForWrites,
    /// It writes, and its answer is lost.
    LosesAnswers,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// By name and type.
    sets: BTreeMap<String, RecordSet>,
    fault: Option<ZoneFault>,
}

/// Zones in a folder, a file each.
#[derive(Debug, Clone)]
pub struct StandInZone(Files);

fn pair(set: &RecordSet) -> String {
    format!("{} {}", set.name, set.kind)
}

impl StandInZone {
    /// The zones in that folder.
    pub fn new(root: &Path) -> Self {
        Self(Files::new(root.join("zones")))
    }

    fn change<R>(&self, zone: &str, change: impl FnOnce(&mut Content) -> R) -> R {
        self.0.change(zone, |content| change(content.get_or_insert_with(Content::default)))
    }

    /// All record sets of a zone, by name and type.
    pub fn sets(&self, zone: &str) -> BTreeMap<String, RecordSet> {
        self.0.read::<Content>(zone).unwrap_or_default().sets
    }

    /// The zones that there is anything in.
    pub fn zones(&self) -> Vec<String> {
        self.0.names()
    }

    /// Writes a set by hand, as its owner would.
    pub fn put(&self, zone: &str, set: RecordSet) {
        self.change(zone, |content| content.sets.insert(pair(&set), set));
    }

    /// From now on it does this wrong, or nothing.
    pub fn set_fault(&self, zone: &str, fault: Option<ZoneFault>) {
        self.change(zone, |content| content.fault = fault);
    }

    fn fault(&self, zone: &str) -> Option<ZoneFault> {
        self.0.read::<Content>(zone).unwrap_or_default().fault
    }

    fn write<R>(
        &self,
        zone: &str,
        write: impl FnOnce(&mut BTreeMap<String, RecordSet>) -> Result<R, DriverError>,
    ) -> Result<R, DriverError> {
        let (result, fault) = self.change(zone, |content| {
            if matches!(content.fault, Some(ZoneFault::Down | ZoneFault::DownForWrites)) {
                return (Err(down(zone)), None);
            }
            (write(&mut content.sets), content.fault)
        });
        match fault {
            Some(ZoneFault::LosesAnswers) => {
                self.set_fault(zone, None);
                Err(unavailable(zone).cause("The connection was reset"))
            }
            _ => result,
        }
    }
}

fn unavailable(zone: &str) -> DriverError {
    DriverError::new(DriverErrorKind::Unavailable, format!("Failed to write records into the DNS zone `{zone}`"))
        .hint("Try again when the provider answers")
}

fn down(zone: &str) -> DriverError {
    unavailable(zone).cause("Connection refused")
}

#[async_trait]
impl Dns for StandInZone {
    async fn observe(&self, records: &Records) -> Result<Option<Records>, DriverError> {
        let sets = self.sets(records.zone.as_str());
        let found: Vec<RecordSet> = records.sets.iter().filter_map(|set| sets.get(&pair(set)).cloned()).collect();
        Ok((!found.is_empty()).then(|| Records { sets: found, ..records.clone() }))
    }

    async fn ensure(
        &self,
        records: &Records,
        owned: Option<&Records>,
        cx: &dyn StepContext,
    ) -> Result<Records, DriverError> {
        let zone = records.zone.as_str();
        if self.fault(zone) == Some(ZoneFault::Down) {
            return Err(down(zone));
        }
        let noted = cx.recall(CREATING).await.and_then(|note| serde_json::from_str::<Vec<RecordSet>>(&note).ok());
        let begun = noted.unwrap_or_default();
        let existing = self.sets(zone);
        let ours = |set: &RecordSet| {
            owned.is_some_and(|owned| owned.sets.iter().any(|other| pair(other) == pair(set)))
                || existing.get(&pair(set)).is_some_and(|there| begun.contains(there))
        };
        if let Some(foreign) = records.sets.iter().find(|set| existing.contains_key(&pair(set)) && !ours(set)) {
            return Err(DriverError::new(
                DriverErrorKind::Foreign,
                format!("Failed to write records into the DNS zone `{zone}`"),
            )
            .cause(format!("`{}.{zone}` {} exists, and fedi did not write it", foreign.name, foreign.kind))
            .hint("Remove the record, or choose another name"));
        }
        let mut creating: Vec<&RecordSet> =
            records.sets.iter().filter(|set| !existing.contains_key(&pair(set))).collect();
        if !creating.is_empty() {
            let earlier = begun.iter().filter(|set| creating.iter().all(|new| pair(new) != pair(set)));
            creating.extend(earlier.collect::<Vec<_>>());
            cx.note(CREATING, &serde_json::to_string(&creating).unwrap()).await?;
        }
        let old = owned.map(|owned| owned.sets.as_slice()).unwrap_or_default().iter().chain(&begun);
        let unwanted: Vec<String> = old.map(pair).collect();
        self.write(zone, |sets| {
            sets.retain(|pair, _| !unwanted.contains(pair));
            sets.extend(records.sets.iter().map(|set| (pair(set), set.clone())));
            Ok(())
        })?;
        Ok(records.clone())
    }

    async fn remove(&self, owned: &Records, cx: &dyn StepContext) -> Result<(), DriverError> {
        let changed = self.write(owned.zone.as_str(), |sets| {
            let mut changed = Vec::new();
            for set in &owned.sets {
                match sets.get(&pair(set)) {
                    Some(there) if there.values != set.values => changed.push(pair(set)),
                    Some(_) => drop(sets.remove(&pair(set))),
                    None => {}
                }
            }
            Ok(changed)
        })?;
        for pair in changed {
            cx.notice(&format!("`{pair}` stays in DNS: it is no longer what fedi wrote"));
        }
        Ok(())
    }

    async fn take_back(&self, wanted: &Records, cx: &dyn StepContext) -> Result<(), DriverError> {
        match cx.recall(CREATING).await {
            Some(_) => self.remove(wanted, cx).await,
            None => Ok(()),
        }
    }

    async fn await_visible(&self, records: &Records, _: &dyn StepContext) -> Result<(), DriverError> {
        let sets = self.sets(records.zone.as_str());
        if records.sets.iter().all(|set| sets.get(&pair(set)) == Some(set)) {
            return Ok(());
        }
        let message = format!("The name servers of `{}` do not show the records", records.zone);
        Err(DriverError::new(DriverErrorKind::Unavailable, message))
    }
}
