//! systemd, through `systemctl` and `journalctl`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::{self, SHORT};
use crate::error::GuestError;
use crate::guest::Guest;
use crate::protocol::{ErrorKind, Unit};

/// What `systemctl show` is asked for; see org.freedesktop.systemd1(5).
const PROPERTIES: &str =
    "Id,Description,LoadState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,ConsistsOf,Type,TriggeredBy";

/// A unit with what hangs on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub unit: Unit,
    /// Units that are `PartOf=` this one.
    pub parts: Vec<String>,
    /// Whether it comes and goes by design: a oneshot, or started by another unit's event.
    pub transient: bool,
    /// Whether another unit's event, as a timer's, starts it again.
    pub triggered: bool,
}

/// Refuses what is no full unit name, or could be taken for an option.
pub(crate) fn check_name(name: &str) -> Result<(), GuestError> {
    const KINDS: [&str; 6] = ["service", "target", "timer", "socket", "path", "mount"];
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = name.len() <= 255
        && KINDS.contains(&kind)
        && !stem.is_empty()
        && !stem.starts_with(['-', '.'])
        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.@\\-".contains(&b));
    if fits {
        return Ok(());
    }
    Err(GuestError::refused(ErrorKind::Invalid, format!("`{}` is no unit name", name.escape_default()))
        .with_hint("Give the full name, as in `fedi-matrix.target` or `postgresql.service`"))
}

/// The states of units, in the order asked for.
pub(crate) fn show(guest: &Guest, names: &[String]) -> Result<Vec<Shown>, GuestError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    names.iter().try_for_each(|name| check_name(name))?;
    let mut systemctl = guest.command("systemctl");
    systemctl.args(["show", "--no-pager", "--property", PROPERTIES, "--"]).args(names);
    let shown = parse_show(&command::succeed(systemctl, SHORT)?);
    if shown.len() != names.len() {
        let what = format!("`systemctl show` described {} of {} units", shown.len(), names.len());
        return Err(GuestError::refused(ErrorKind::ToolFailed, what));
    }
    // An alias answers with its real name; the request's name stays.
    Ok(shown
        .into_iter()
        .zip(names)
        .map(|(mut shown, name)| {
            shown.unit.name.clone_from(name);
            shown
        })
        .collect())
}

/// One unit.
pub(crate) fn show_one(guest: &Guest, name: &str) -> Result<Shown, GuestError> {
    Ok(show(guest, &[name.to_owned()])?.pop().unwrap_or_default())
}

/// Reads the output of `systemctl show`: `Key=value` lines, blank lines between units.
fn parse_show(text: &str) -> Vec<Shown> {
    let mut all = Vec::new();
    let mut fields = BTreeMap::new();
    for line in text.lines().chain([""]) {
        if let Some((key, value)) = line.split_once('=') {
            fields.insert(key, value);
        } else if !fields.is_empty() {
            all.push(shown_from(&std::mem::take(&mut fields)));
        }
    }
    all
}

fn shown_from(fields: &BTreeMap<&str, &str>) -> Shown {
    let text = |key: &str| (*fields.get(key).unwrap_or(&"")).to_owned();
    let some = |key: &str| fields.get(key).filter(|value| !value.is_empty()).map(|value| (*value).to_owned());
    let parts = text("ConsistsOf").split_whitespace().map(str::to_owned).collect();
    let unit = Unit {
        name: text("Id"),
        description: text("Description"),
        load: text("LoadState"),
        active: text("ActiveState"),
        sub: text("SubState"),
        result: some("Result"),
        exit_status: some("ExecMainStatus").and_then(|status| status.parse().ok()),
        restarts: some("NRestarts").and_then(|count| count.parse().ok()),
    };
    let triggered = some("TriggeredBy").is_some();
    Shown { unit, parts, transient: triggered || text("Type") == "oneshot", triggered }
}

/// The names of all failed units that the active system has.
pub(crate) fn failed(guest: &Guest) -> Result<Vec<String>, GuestError> {
    let mut systemctl = guest.command("systemctl");
    systemctl.args(["list-units", "--state=failed", "--all", "--plain", "--no-legend", "--no-pager", "--full"]);
    Ok(parse_failed(&command::succeed(systemctl, SHORT)?))
}

/// Reads the output of `systemctl list-units --plain`: name, load state and more. Of a unit
/// that went with an earlier system, or that this one switches off, systemd keeps the
/// failure: it says nothing of the system that is active.
fn parse_failed(text: &str) -> Vec<String> {
    let columns = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    columns
        .filter(|columns| !matches!(columns.get(1), Some(&("not-found" | "masked"))))
        .filter_map(|columns| columns.first().map(|name| (*name).to_owned()))
        .collect()
}

/// Lets systemd forget the failures of what timers start: the backup of last night, a
/// renewal. A switch counts every unit that has failed, whenever that was, and so none would
/// succeed until the next run does; what failed has been told, and is started again.
pub(crate) fn forget_past_runs(guest: &Guest) -> Result<(), GuestError> {
    let names: Vec<String> = failed(guest)?.into_iter().filter(|name| check_name(name).is_ok()).collect();
    let past = show(guest, &names)?.into_iter().filter(|shown| shown.triggered).map(|shown| shown.unit.name);
    let past: Vec<String> = past.collect();
    if past.is_empty() {
        return Ok(());
    }
    let mut systemctl = guest.command("systemctl");
    systemctl.args(["reset-failed", "--"]).args(&past);
    command::succeed(systemctl, SHORT).map(drop)
}

/// Runs `systemctl <verb> <unit>`. `Ok(false)` if the unit's job failed.
pub(crate) fn job(guest: &Guest, verb: &str, unit: &str, limit: Duration) -> Result<bool, GuestError> {
    check_name(unit)?;
    let mut systemctl = guest.command("systemctl");
    systemctl.args([verb, "--", unit]);
    let output = command::run(systemctl, limit)?;
    if output.status.success() {
        return Ok(true);
    }
    // Exit status 5 is "no such unit", 4 "not permitted" (systemctl(1)); they concern the request.
    let load = show_one(guest, unit)?.unit.load;
    match load.as_str() {
        "loaded" => Ok(false),
        "not-found" => Err(GuestError::refused(ErrorKind::Missing, format!("There is no unit `{unit}`"))
            .with_hint("Activate the system that defines it first")),
        other => Err(GuestError::refused(ErrorKind::UnitFailed, format!("Unit `{unit}` is {other}"))
            .with_hint(format!("See `systemctl status {unit}` on the guest"))),
    }
}

/// Stops units and waits until each of their jobs has ended, well or not.
pub(crate) fn stop_all(guest: &Guest, units: &[String], limit: Duration) -> Result<(), GuestError> {
    if units.is_empty() {
        return Ok(());
    }
    units.iter().try_for_each(|unit| check_name(unit))?;
    let mut systemctl = guest.command("systemctl");
    systemctl.args(["stop", "--"]).args(units);
    command::run(systemctl, limit).map(drop)
}

/// A moment of the journal, in microseconds since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Now; a clock that is set does not move it. Read on from it with [`journal_since`].
    pub(crate) fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
        Self(micros)
    }
}

/// The last lines, at most `lines`, that a unit wrote after a moment of this boot.
///
/// Not by `--after-cursor`: together with `--unit` it leaves out the unit's first line where
/// the journal's last entry was another unit's (systemd 252), and it counts lines from the start.
pub(crate) fn journal_since(guest: &Guest, unit: &str, since: Moment, lines: usize) -> Result<Vec<String>, GuestError> {
    check_name(unit)?;
    // What the unit wrote last may still be on its way to the journal.
    let mut sync = guest.command("journalctl");
    sync.arg("--sync");
    command::succeed(sync, SHORT)?;
    let mut journalctl = guest.command("journalctl");
    journalctl.args(["--quiet", "--no-pager", "--boot", "--reverse", "--output=json", "--output-fields=MESSAGE"]);
    journalctl.arg(format!("--unit={unit}")).arg(format!("--lines={lines}"));
    Ok(parse_journal(&command::succeed(journalctl, SHORT)?, since))
}

/// Reads journal entries, the newest first, up to the first one before `since`; oldest first.
fn parse_journal(text: &str, since: Moment) -> Vec<String> {
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    let mut lines: Vec<String> =
        entries.take_while(|entry| entry.moment() >= Some(since)).map(|entry| entry.message.text()).collect();
    lines.reverse();
    lines
}

/// An entry as `journalctl --output=json` prints it; see systemd.journal-fields(7).
#[derive(serde::Deserialize)]
struct Entry {
    #[serde(rename = "__MONOTONIC_TIMESTAMP")]
    monotonic: String,
    #[serde(rename = "MESSAGE", default)]
    message: Message,
}

impl Entry {
    fn moment(&self) -> Option<Moment> {
        self.monotonic.parse().ok().map(Moment)
    }
}

/// Text, or bytes where it is no UTF-8, or nothing where it is too large for JSON.
#[derive(Default, serde::Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Bytes(Vec<u8>),
    #[default]
    Nothing,
}

impl Message {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Self::Nothing => "(too long to show)".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_two_units() {
        let text = "Id=a.service\nActiveState=active\nNRestarts=2\nDescription=x = y\n\nId=b.target\nActiveState=inactive\nConsistsOf=a.service c.service\n";
        let shown = parse_show(text);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0].unit.description, "x = y");
        assert_eq!(shown[0].unit.restarts, Some(2));
        assert_eq!(shown[1].parts, ["a.service", "c.service"]);
        assert_eq!(shown[1].unit.result, None);
    }

    #[test]
    fn reads_the_journal_backwards_up_to_a_moment() {
        let text = concat!(
            r#"{"__MONOTONIC_TIMESTAMP":"30","MESSAGE":null}"#,
            "\n",
            r#"{"__MONOTONIC_TIMESTAMP":"20","MESSAGE":[104,105,255]}"#,
            "\n",
            r#"{"__MONOTONIC_TIMESTAMP":"10","MESSAGE":"first"}"#,
            "\n",
            r#"{"__MONOTONIC_TIMESTAMP":"9","MESSAGE":"of the run before"}"#,
            "\n",
        );
        assert_eq!(parse_journal(text, Moment(10)), ["first", "hi\u{fffd}", "(too long to show)"]);
        assert_eq!(parse_journal("", Moment(0)), [""; 0]);
    }

    #[test]
    fn what_the_active_system_lacks_has_not_failed() {
        let text = "a.service loaded failed failed It says so\nb.service not-found failed failed b.service\n\
                    c.service masked failed failed c.service\n";
        assert_eq!(parse_failed(text), ["a.service"]);
    }

    #[test]
    fn names() {
        for good in ["fedi-matrix.target", "getty@tty1.service", "dev-disk\\x2d1.mount"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "--help", "-x.service", "a b.service", "a.service;rm", "matrix", ".service", "a.scope\n"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_output_is_read(text in ".*") {
            parse_show(&text);
        }

        #[test]
        fn what_is_let_through_is_no_option(name in "\\PC*") {
            if check_name(&name).is_ok() {
                prop_assert!(!name.starts_with('-') && !name.contains(char::is_whitespace));
            }
        }
    }
}
