//! Small prebuilt systems for the tests: their units live in `/run`, so that a
//! restart drops them, as one of NixOS would.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fedi_guest::protocol::{Activate, SealSystem, StageSystem};
use uuid::Uuid;

use crate::harness::{Session, TestGuest};

pub(crate) const PROFILE: &str = "/var/lib/fedi/system-profiles";

/// What every system's script does; `$1` is the action.
const SWITCH: &str = r#"#!/bin/sh
set -eu
here=$(dirname "$(dirname "$(readlink -f "$0")")")
echo "NAME $1"
[ "$1" = test ] || exit 0
mkdir -p /run/systemd/system /etc/fedi
cp "$here"/units/* /run/systemd/system/
cp "$here/manifest.json" /etc/fedi/manifest.json
systemctl daemon-reload
systemctl start --no-block fedi-toy.target
MORE
"#;

const MANIFEST: &str = r#"{ "schema": 1, "apps": { "toy": {
  "version": "1", "upgradesFrom": "1", "gate": "fedi-toy.target",
  "units": ["toy.service", "toy-clean.timer", "toy-clean.service"],
  "hooks": { "probe": { "unit": "toy-probe.service", "timeout": "30s" } } } } }"#;

const UNITS: [(&str, &str); 6] = [
    (
        "fedi-toy-lease.service",
        "[Unit]\nPartOf=fedi-toy.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
         ExecCondition=/usr/bin/fedi-guest lease check toy\nExecStart=/usr/bin/fedi-guest secrets settle toy\n\
         ExecStart=/usr/bin/install -D /dev/null /run/fedi/lease/toy\nExecStopPost=/usr/bin/rm -f /run/fedi/lease/toy\n",
    ),
    (
        "fedi-toy.target",
        "[Unit]\nRequires=fedi-toy-lease.service\nAfter=fedi-toy-lease.service\n\
         ConditionPathExists=/run/fedi/lease/toy\nWants=toy.service toy-clean.timer\n",
    ),
    (
        "toy.service",
        "[Unit]\nPartOf=fedi-toy.target\nRequires=fedi-toy-lease.service\nAfter=fedi-toy-lease.service\n\
         ConditionPathExists=/run/fedi/lease/toy\n[Service]\nExecStart=/usr/bin/sleep infinity\n",
    ),
    (
        "toy-clean.timer",
        "[Unit]\nPartOf=fedi-toy.target\nRequires=fedi-toy-lease.service\nAfter=fedi-toy-lease.service\n\
         ConditionPathExists=/run/fedi/lease/toy\n[Timer]\nOnActiveSec=1h\n",
    ),
    ("toy-clean.service", "[Unit]\nPartOf=fedi-toy.target\n[Service]\nType=oneshot\nExecStart=/usr/bin/true\n"),
    (
        "toy-probe.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo probing; systemctl -q is-active toy.service'\n",
    ),
];

/// Builds a system whose script ends with `more`.
pub(crate) fn build(folder: &Path, name: &str, more: &str) -> Result<()> {
    fs::create_dir_all(folder.join("bin"))?;
    fs::create_dir_all(folder.join("units"))?;
    let switch = folder.join("bin/switch-to-configuration");
    fs::write(&switch, SWITCH.replace("NAME", name).replace("MORE", more))?;
    fs::set_permissions(&switch, fs::Permissions::from_mode(0o755))?;
    fs::write(folder.join("manifest.json"), MANIFEST)?;
    for (unit, text) in UNITS {
        fs::write(folder.join("units").join(unit), text)?;
    }
    Ok(())
}

/// Builds a system and brings it to the guest. Returns its path there.
pub(crate) fn bring(guest: &TestGuest, session: &mut Session, name: &str, more: &str) -> Result<PathBuf> {
    let folder = guest.scratch().join(name);
    build(&folder, name, more)?;
    let digest = fedi_guest::tree::digest(&folder)?;
    let staged = session.ok(StageSystem { digest: digest.clone() })?;
    if !staged.present {
        guest.copy(&folder, &staged.staging.display().to_string())?;
    }
    Ok(session.ok(SealSystem { digest })?.system)
}

/// A request to activate, with time enough to confirm.
pub(crate) fn activate(system: &Path) -> Activate {
    Activate {
        token: Uuid::new_v4(),
        system: system.to_owned(),
        profile: PROFILE.into(),
        confirm_within_s: 120,
        timeout_s: 120,
    }
}
