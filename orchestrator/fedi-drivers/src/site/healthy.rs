//! Waiting until an application is healthy, as long as waiting may help.

use std::sync::{Mutex, PoisonError};

use fedi_engine::drivers::{Check, CheckState, DriverError, DriverErrorKind, HealthReport, StepContext};
use fedi_model::plan::Probe;
use tokio::time::Instant;

use super::Site;
use super::tasks::patiently;

/// What the looks so far have found.
#[derive(Debug, Default)]
struct Looks {
    /// What failed at the last look.
    failed: Vec<Check>,
    /// Since when something has failed, at every look, that only somebody can mend.
    lasting_since: Option<Instant>,
}

impl Looks {
    fn add(&mut self, report: HealthReport, now: Instant) {
        self.failed = report.checks.into_iter().filter(|check| check.state == CheckState::Failed).collect();
        // What is to be mended is said first.
        self.failed.sort_by_key(|check| !check.lasting);
        let lasts = self.failed.iter().any(|check| check.lasting);
        self.lasting_since = lasts.then(|| self.lasting_since.unwrap_or(now));
    }

    fn causes(&self) -> Vec<String> {
        self.failed.iter().map(|check| format!("{}: {}", check.what, check.detail)).collect()
    }
}

impl Site {
    pub(super) async fn probe_until_healthy(&self, probe: &Probe, cx: &dyn StepContext) -> Result<(), DriverError> {
        let deployment = &probe.guest.deployment;
        let unhealthy = |message: String, looks: &Looks| {
            let mut error = DriverError::new(DriverErrorKind::Unhealthy, message)
                .hint(format!("Run `fedi status {deployment}` to look again"))
                .left(format!("`{deployment}` is applied and running"));
            error.causes = looks.causes();
            error
        };
        let looks = Mutex::new(Looks::default());
        let healthy = patiently(self.patience.healthy, cx, || async {
            let report = self.health(probe).await;
            if report.is_healthy() {
                return Ok(Some(()));
            }
            let now = Instant::now();
            let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
            looks.add(report, now);
            if looks.lasting_since.is_some_and(|since| now.duration_since(since) >= self.patience.lasting) {
                return Err(unhealthy(format!("`{deployment}` is not healthy, and waiting does not mend it"), &looks));
            }
            if let Some(first) = looks.causes().first() {
                cx.progress(first, None, None);
            }
            Ok(None)
        })
        .await?;
        healthy.ok_or_else(|| {
            let looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
            let seconds = self.patience.healthy.as_secs();
            unhealthy(format!("`{deployment}` is not healthy after {seconds} s"), &looks)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_lasts_without_a_break_counts() {
        let look = |checks: &[(&str, bool)]| HealthReport {
            checks: checks
                .iter()
                .map(|(what, lasting)| Check::new(*what, CheckState::Failed, "is bad").lasting(*lasting))
                .collect(),
        };
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut looks = Looks::default();
        looks.add(look(&[("names", false)]), begin);
        assert_eq!(looks.lasting_since, None);
        looks.add(look(&[("names", false), ("disk", true)]), after(1));
        looks.add(look(&[("names", false), ("disk", true)]), after(9));
        assert_eq!(looks.lasting_since, Some(after(1)));
        assert_eq!(looks.causes(), ["disk: is bad", "names: is bad"]);
        looks.add(look(&[("names", false)]), after(10));
        looks.add(look(&[("disk", true)]), after(11));
        assert_eq!(looks.lasting_since, Some(after(11)));
    }
}
