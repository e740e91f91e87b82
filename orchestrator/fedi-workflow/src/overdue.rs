//! Whether a scheduled backup is overdue, and a rehearsal due.

use std::num::NonZeroU16;

use jiff::{SignedDuration, Timestamp};

/// How long after the last backup the next one of a schedule is overdue: its period and
/// some hours of grace. What is not one of systemd's words (systemd.time(7), "calendar
/// events") is taken for daily, with a weekday for weekly.
pub fn overdue_after(schedule: &str) -> SignedDuration {
    let schedule = schedule.trim().to_ascii_lowercase();
    let hours = match schedule.as_str() {
        "minutely" | "hourly" => 3,
        "weekly" => 8 * 24,
        "monthly" => 33 * 24,
        "quarterly" => 95 * 24,
        "semiannually" => 190 * 24,
        "yearly" | "annually" => 370 * 24,
        text if ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().any(|day| text.starts_with(day)) => 8 * 24,
        _ => 30,
    };
    SignedDuration::from_hours(hours)
}

/// Whether the next backup of a schedule is overdue. `since` is the last one, or when
/// there could have been a first, by the guest's clock. One that is as far ahead says
/// nothing of its age: a clock was set, and for years no other would seem to be due.
pub fn is_overdue(schedule: &str, since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).abs() > overdue_after(schedule)
}

/// Whether the next rehearsal of a restore is due, so many days after the last proof. A
/// proof that is as far ahead was made by a clock that was, and says nothing of its age.
pub fn is_drill_due(days: NonZeroU16, proved: Option<Timestamp>, now: Timestamp) -> bool {
    let most = SignedDuration::from_hours(24 * i64::from(days.get()));
    proved.is_none_or(|proved| now.duration_since(proved).abs() >= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_is_due_after_its_days_and_where_there_was_none() {
        let now: Timestamp = "2026-01-30T12:00:00Z".parse().unwrap();
        let days = NonZeroU16::new(7).unwrap();
        let due = |hours| is_drill_due(days, Some(now - SignedDuration::from_hours(hours)), now);
        assert!(is_drill_due(days, None, now));
        assert_eq!([due(0), due(7 * 24 - 1), due(7 * 24), due(-1), due(-24 * 365)], [false, false, true, false, true]);
    }

    #[test]
    fn a_day_and_some_hours_of_grace() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        let ago = |hours| now - SignedDuration::from_hours(hours);
        for (schedule, fine, late) in
            [("daily", 29, 31), ("*-*-* 03:30", 29, 31), ("hourly", 2, 4), ("Mon *-*-* 04:00", 7 * 24, 9 * 24)]
        {
            assert!(!is_overdue(schedule, ago(fine), now), "{schedule}");
            assert!(is_overdue(schedule, ago(late), now), "{schedule}");
        }
    }

    #[test]
    fn a_clock_that_was_ahead_hides_nothing() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        let in_hours = |hours| now + SignedDuration::from_hours(hours);
        // Two clocks that differ a little.
        assert!(!is_overdue("daily", in_hours(1), now));
        for hours in [31, 24 * 365 * 5] {
            assert!(is_overdue("daily", in_hours(hours), now), "{hours}");
        }
    }
}
