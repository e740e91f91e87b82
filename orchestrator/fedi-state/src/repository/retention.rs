//! Which snapshots are kept. Pure, and fedi's own, since the one from which the
//! application was last proved to come back must stay whatever the rules say.

use std::collections::BTreeSet;

use fedi_model::inventory::Retention;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Stored;

/// How many snapshots are kept; a snapshot that any rule keeps stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Keep {
    /// The newest ones; at least one.
    pub last: usize,
    /// The newest of each of so many days (UTC) that have one.
    pub daily: usize,
    /// The same by ISO week.
    pub weekly: usize,
    /// The same by month.
    pub monthly: usize,
}

impl From<Retention> for Keep {
    fn from(rules: Retention) -> Self {
        let number = |rule: u32| usize::try_from(rule).unwrap_or(usize::MAX);
        Self {
            last: number(rules.last),
            daily: number(rules.daily),
            weekly: number(rules.weekly),
            monthly: number(rules.monthly),
        }
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self { last: 3, daily: 7, weekly: 5, monthly: 12 }
    }
}

/// The ids of those that no rule keeps. `proved` are ids that are known to be
/// proved beside those that are tagged so.
pub fn to_forget(stored: &[Stored], keep: &Keep, proved: &[String]) -> Vec<String> {
    let mut newest_first: Vec<&Stored> = stored.iter().collect();
    newest_first.sort_by(|one, other| other.order().cmp(&one.order()));
    let is_proved =
        |one: &Stored| one.is_proved() || proved.iter().any(|id| *id == one.id || one.original.as_ref() == Some(id));
    let mut kept: BTreeSet<&str> = newest_first.iter().take(keep.last.max(1)).map(|one| one.id.as_str()).collect();
    kept.extend(newest_first.iter().find(|one| is_proved(one)).map(|one| one.id.as_str()));
    let day = |one: &Stored| one.time.to_zoned(TimeZone::UTC).date();
    let week = |date: Date| (date.iso_week_date().year(), date.iso_week_date().week());
    let month = |date: Date| (date.year(), date.month());
    keep_one_each(&mut kept, &newest_first, keep.daily, &day);
    keep_one_each(&mut kept, &newest_first, keep.weekly, &|one| week(day(one)));
    keep_one_each(&mut kept, &newest_first, keep.monthly, &|one| month(day(one)));
    stored.iter().filter(|one| !kept.contains(one.id.as_str())).map(|one| one.id.clone()).collect()
}

fn keep_one_each<'a, T: Ord>(
    kept: &mut BTreeSet<&'a str>,
    newest_first: &[&'a Stored],
    periods: usize,
    period: &dyn Fn(&Stored) -> T,
) {
    let mut seen = BTreeSet::new();
    for one in newest_first {
        if seen.len() == periods {
            return;
        }
        if seen.insert(period(one)) {
            kept.insert(&one.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    fn stored(hours: &[i64], proved: &[usize]) -> Vec<Stored> {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let one = |(number, hour): (usize, &i64)| Stored {
            id: format!("{number:04}"),
            original: None,
            time: start + SignedDuration::from_hours(*hour),
            tags: if proved.contains(&number) { vec![super::super::PROVED.to_owned()] } else { Vec::new() },
        };
        hours.iter().enumerate().map(one).collect()
    }

    #[test]
    fn one_a_day_and_the_proved_one() {
        let keep = Keep { last: 1, daily: 2, weekly: 0, monthly: 0 };
        let all = stored(&[0, 1, 24, 25, 48, 49], &[0]);
        assert_eq!(to_forget(&all, &keep, &[]), ["0001", "0002", "0004"]);
        assert_eq!(to_forget(&all, &keep, &["0002".to_owned()]), ["0000", "0001", "0004"]);
    }

    /// A clock that was ahead for one snapshot, and then far behind for another.
    #[test]
    fn what_was_stored_last_stays_whatever_the_clock_said() {
        let numbered = |hours: &[i64]| {
            let mut all = stored(hours, &[0, 1]);
            for (number, one) in (1..).zip(&mut all) {
                one.tags.push(format!("{}{number}", super::super::backup::NUMBER));
            }
            all
        };
        let keep = Keep { last: 1, daily: 0, weekly: 0, monthly: 0 };
        let all = numbered(&[0, -24, 50_000, 24, -90_000]);
        // Kept are the last one and, of the proved ones, the later one.
        assert_eq!(to_forget(&all, &keep, &[]), ["0000", "0002", "0003"]);
        // Days of the future do not push out those that there were.
        let keep = Keep { last: 1, daily: 3, weekly: 0, monthly: 0 };
        let all = numbered(&[0, 1, 50_000, 24, 48]);
        assert_eq!(to_forget(&all, &keep, &[]), ["0000"]);
    }

    proptest! {
        #[test]
        fn the_newest_and_the_last_proved_always_stay(
            hours in proptest::collection::vec(0_i64..2000, 1..30),
            proved in proptest::collection::vec(0_usize..30, 0..4),
            (last, daily, weekly, monthly) in (0_usize..4, 0_usize..4, 0_usize..4, 0_usize..4),
        ) {
            let all = stored(&hours, &proved);
            let gone = to_forget(&all, &Keep { last, daily, weekly, monthly }, &[]);
            let key = |one: &&Stored| (one.time, one.id.clone());
            prop_assert!(!gone.contains(&all.iter().max_by_key(key).unwrap().id));
            if let Some(last) = all.iter().filter(|one| one.is_proved()).max_by_key(key) {
                prop_assert!(!gone.contains(&last.id));
            }
        }
    }
}
