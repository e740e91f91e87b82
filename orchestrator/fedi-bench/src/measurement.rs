//! One figure, as `target/bench.json` holds it.

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// What was measured: `engine.append_us`.
    pub(crate) name: String,
    /// How much.
    pub(crate) value: f64,
    /// Of what: `us`, `s`, `MiB`, `ratio`.
    pub(crate) unit: String,
    /// What it should be at most; held against `ratio` where there is a baseline.
    pub(crate) target: Option<f64>,
    /// The same by the plainest means, measured in the same run.
    pub(crate) baseline: Option<f64>,
    /// `value` over `baseline`.
    pub(crate) ratio: Option<f64>,
}

impl Measurement {
    /// A figure without a baseline.
    pub(crate) fn new(name: &str, value: f64, unit: &str, target: Option<f64>) -> Self {
        Self { name: name.to_owned(), value, unit: unit.to_owned(), target, baseline: None, ratio: None }
    }

    /// A figure whose ratio to `baseline` has the target.
    pub(crate) fn against(name: &str, value: f64, unit: &str, baseline: f64, target: f64) -> Self {
        Self { baseline: Some(baseline), ratio: Some(value / baseline), ..Self::new(name, value, unit, Some(target)) }
    }

    /// Whether the target is met, where there is one. Targets are upper bounds.
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.target.map(|target| self.ratio.unwrap_or(self.value) <= target)
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
    fn the_middle_one() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
