//! One figure, as `target/bench.json` holds it.

use serde::{Deserialize, Serialize};

/// Which side of its target a figure should be on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    /// The target is the most that it should be: times, memory, requests.
    #[default]
    AtMost,
    /// The target is the least that it should be: speed against another tool's.
    AtLeast,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Measurement {
    /// What was measured: `engine.append_us`.
    pub(crate) name: String,
    /// How much; `None` if it could not be measured, and then `note` says why.
    pub(crate) value: Option<f64>,
    /// Of what: `us`, `s`, `MiB`, `ratio`.
    pub(crate) unit: String,
    /// What it should be; held against `ratio` where there is a baseline.
    pub(crate) target: Option<f64>,
    /// The same by the plainest means, measured in the same run.
    pub(crate) baseline: Option<f64>,
    /// `value` over `baseline`.
    pub(crate) ratio: Option<f64>,
    /// Whether the target is the most or the least.
    #[serde(default)]
    pub(crate) bound: Bound,
    /// How it came about, or why there is no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Measurement {
    /// A figure without a baseline.
    pub(crate) fn new(name: &str, value: f64, unit: &str, target: Option<f64>) -> Self {
        Self {
            name: name.to_owned(),
            value: Some(value),
            unit: unit.to_owned(),
            target,
            baseline: None,
            ratio: None,
            bound: Bound::AtMost,
            note: None,
        }
    }

    /// A figure whose ratio to `baseline` has the target.
    pub(crate) fn against(name: &str, value: f64, unit: &str, baseline: f64, target: f64) -> Self {
        Self { baseline: Some(baseline), ratio: Some(value / baseline), ..Self::new(name, value, unit, Some(target)) }
    }

    /// Our speed over a plain tool's, both as the seconds that the same work took. The
    /// plain tool is 1 by definition.
    pub(crate) fn speed(name: &str, ours: f64, theirs: f64, tool: &str, target: Option<f64>) -> Self {
        let ratio = theirs / ours;
        Self {
            baseline: Some(1.0),
            ratio: Some(ratio),
            bound: Bound::AtLeast,
            note: Some(format!("{ours:.2} s; {tool}: {theirs:.2} s")),
            ..Self::new(name, ratio, "ratio", target)
        }
    }

    /// A figure that could not be measured.
    pub(crate) fn missing(name: &str, why: &str) -> Self {
        Self { value: None, note: Some(format!("not measured: {why}")), ..Self::new(name, f64::NAN, "-", None) }
    }

    /// The same with a remark.
    #[must_use]
    pub(crate) fn noting(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// Whether the target is met, where there is one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let held = self.ratio.or(self.value)?;
        self.target.map(|target| match self.bound {
            Bound::AtMost => held <= target,
            Bound::AtLeast => held >= target,
        })
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_for_the_ratio_where_there_is_one() {
        assert_eq!(Measurement::new("a", 2.0, "s", Some(1.0)).is_met(), Some(false));
        assert_eq!(Measurement::against("a", 2.0, "s", 4.0, 1.0).is_met(), Some(true));
        assert_eq!(Measurement::new("a", 2.0, "s", None).is_met(), None);
    }

    #[test]
    fn a_speed_has_a_least() {
        assert_eq!(Measurement::speed("a", 10.0, 9.0, "cp", Some(0.8)).is_met(), Some(true));
        assert_eq!(Measurement::speed("a", 10.0, 7.0, "cp", Some(0.8)).is_met(), Some(false));
    }

    #[test]
    fn what_is_missing_is_not_met_nor_missed() {
        let missing = Measurement::missing("a", "no server");
        assert_eq!((missing.is_met(), missing.note.as_deref()), (None, Some("not measured: no server")));
    }

    #[test]
    fn the_middle_one() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
