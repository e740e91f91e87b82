//! Looking from outside, at a zone and guests that are files.

use async_trait::async_trait;
use fedi_engine::drivers::{Check, CheckState, HealthReport, OutsideProbe};
use fedi_model::plan::Probe;

use crate::guest::{StandInGuests, running};
use crate::zone::StandInZone;

/// Sees a deployment as its users would: its names lead to its addresses, and what is
/// there runs.
pub struct StandInOutside {
    /// Where names are looked up; without it they are not looked at.
    pub zone: Option<StandInZone>,
    /// What they lead to.
    pub guests: StandInGuests,
}

#[async_trait]
impl OutsideProbe for StandInOutside {
    async fn probe(&self, probe: &Probe) -> HealthReport {
        let check = |what: String, fine: bool| {
            let (state, detail) =
                if fine { (CheckState::Fine, "as expected") } else { (CheckState::Failed, "not as expected") };
            Check::new(what, state, detail)
        };
        let mut checks = Vec::new();
        for records in &probe.records {
            let Some(zone) = &self.zone else { continue };
            let sets = zone.sets(records.zone.as_str());
            for set in &records.sets {
                let there = sets.get(&format!("{} {}", set.name, set.kind));
                checks.push(check(format!("DNS {} {}.{}", set.kind, set.name, records.zone), there == Some(set)));
            }
        }
        let runs = running(&self.guests.all()).contains(&(probe.guest.uuid, probe.app.to_string()));
        checks.extend(probe.endpoints.iter().map(|endpoint| check(endpoint.url.clone(), runs)));
        HealthReport { checks }
    }
}
