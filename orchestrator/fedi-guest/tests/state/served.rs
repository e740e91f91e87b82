//! State that only the application can read: what serves it runs while the application does not.

use fedi_guest::protocol::{ErrorKind, StatePlaces};
use fedi_model::state::Consistency::{DumpThenFiles, Quiesced};

use crate::machine::{Machine, captures, repository, restores, toy};

const SERVE: &str = "toy-serve.service";

fn serving(machine: Machine) -> Machine {
    let manifest = std::fs::read_to_string(machine.path("/etc/fedi/manifest.json")).unwrap();
    let hook = format!(r#""hooks": {{ "serve": {{ "unit": "{SERVE}", "timeout": "10s" }},"#);
    machine.write("/etc/fedi/manifest.json", manifest.replace(r#""hooks": {"#, &hook).as_bytes());
    machine
}

#[test]
fn what_serves_runs_only_while_it_is_needed() {
    let Some(source) = Machine::with_application().map(serving) else { return };
    let (_folder, repository) = repository();
    source.call(captures(&repository, DumpThenFiles, "beside it")).unwrap();
    assert_eq!(source.jobs(), Vec::<String>::new(), "the application itself serves");
    source.stop();
    let captured = source.call(captures(&repository, Quiesced, "without it")).unwrap();
    let both = [format!("start {SERVE}"), format!("stop {SERVE}")];
    assert_eq!(source.jobs(), both);

    let target = serving(Machine::dormant("1.5").unwrap());
    target.call(restores(&repository, &captured)).unwrap();
    target.call(StatePlaces { app: toy() }).unwrap();
    assert_eq!(target.jobs(), [both.clone(), both].concat());
}

#[test]
fn what_does_not_serve_is_told_and_stopped() {
    let Some(source) = Machine::with_application().map(serving) else { return };
    let (_folder, repository) = repository();
    source.stop();
    source.set(&format!("{SERVE}.fails"), "");
    let (kind, message) = source.refuses(captures(&repository, Quiesced, "one"));
    assert_eq!(kind, ErrorKind::UnitFailed, "{message}");
    assert!(message.contains(SERVE), "{message}");
    assert_eq!(source.jobs().last().map(String::as_str), Some("stop toy-serve.service"));
    assert!(source.has_no_stage());
}
