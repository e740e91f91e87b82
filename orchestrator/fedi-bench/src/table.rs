//! The figures for people.

use std::fmt::Write;

use crate::measurement::{Bound, Measurement};

/// The figures, a line each; a target that is missed is marked.
pub(crate) fn table(measured: &[Measurement]) -> String {
    let row = |cells: [&str; 7]| {
        let [name, value, unit, baseline, ratio, target, met] = cells;
        format!("{name:<38} {value:>10} {unit:<6} {baseline:>10} {ratio:>7} {target:>9}  {met:<7}")
    };
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let mut lines = row(["name", "value", "unit", "baseline", "ratio", "target", "met"]) + "note\n";
    for it in measured {
        let met = it.is_met().map_or("-", |met| if met { "yes" } else { "MISSED" });
        let [value, baseline, ratio] = [it.value, it.baseline, it.ratio].map(number);
        let sign = if it.bound == Bound::AtLeast { ">=" } else { "<=" };
        let target = it.target.map_or_else(|| "-".to_owned(), |target| format!("{sign} {target}"));
        let note = it.note.as_deref().unwrap_or_default();
        let line = row([&it.name, &value, &it.unit, &baseline, &ratio, &target, met]);
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}", format!("{line}{note}").trim_end());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_marked_and_a_missing_figure_says_why() {
        let text = table(&[Measurement::new("a.b_s", 2.0, "s", Some(1.0)), Measurement::missing("c.d", "no server")]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("MISSED"), "{text}");
        assert!(lines[2].ends_with("not measured: no server") && !lines[2].contains("MISSED"), "{text}");
    }
}
