//! Backups by a real timer of a real systemd, with the units of `modules/guest/backup.nix`.

use anyhow::Result;
use fedi_guest::protocol::{
    BackupConfig, BackupConfigure, BackupStatus, BackupStatusRequest, Confirm, LeaseGrant, RepositoryAccess,
    SecretValue,
};
use fedi_model::state::Consistency;
use fedi_model::{AppName, DeploymentName};

use crate::harness::{self, Session, TestGuest};
use crate::systems::{activate, bring};

const SERVICE: &str = "[Unit]\\nConditionPathExists=/var/lib/fedi/backup/toy.json\\n[Service]\\nType=oneshot\\n\
                       ExecStart=/usr/bin/fedi-guest backup run toy\\nExecStopPost=/usr/bin/fedi-guest backup resume toy\\n";

fn toy() -> AppName {
    AppName::new("toy").expect("a name")
}

fn config(password: &str, schedule: &str) -> Result<BackupConfigure> {
    let repository = RepositoryAccess {
        location: "/srv/backup".to_owned(),
        password: SecretValue::new(password),
        rest: None,
        s3: None,
        sftp: None,
        ca: None,
    };
    let config = BackupConfig {
        deployment: DeploymentName::new("toy")?,
        repository,
        consistency: Consistency::DumpThenFiles,
        schedule: Some(schedule.to_owned()),
        fingerprint_key: SecretValue::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        sealed_secrets: SecretValue::new("age-encryption.org/v1 sealed"),
    };
    Ok(BackupConfigure { app: toy(), config: Some(config) })
}

fn status(session: &mut Session) -> Result<BackupStatus> {
    session.ok(BackupStatusRequest { app: toy() })
}

/// The timer as a system has it that was made with this schedule.
fn schedule(guest: &TestGuest, schedule: &str) -> Result<()> {
    let units = "/run/systemd/system";
    guest.run(&format!(
        "printf '{SERVICE}' >{units}/fedi-backup-toy.service && \
         printf '[Timer]\\nOnCalendar={schedule}\\nAccuracySec=1\\n' >{units}/fedi-backup-toy.timer && \
         systemctl daemon-reload && systemctl restart fedi-backup-toy.timer"
    ))?;
    Ok(())
}

#[test]
fn a_schedule_makes_backups_and_tells_of_those_that_fail() -> Result<()> {
    let Some(guest) = harness::boot() else { return Ok(()) };
    let mut session = guest.session()?;
    let system = bring(&guest, &mut session, "good", "")?;
    let token = session.ok(activate(&system))?.token;
    session.ok(Confirm { token })?;
    session.ok(LeaseGrant { app: toy(), epoch: 1, holder: guest.uuid })?;
    session.ok(config("correct horse", "*:*:*")?)?;

    schedule(&guest, "*:*:*")?;
    harness::wait_for("a backup by the timer", || Ok(status(&mut session)?.last_success.is_some()))?;
    let metric = "/var/lib/fedi/metrics/fedi-backup.prom";
    let measured = |value: u8| {
        let line = format!("fedi_backup_last_run_success{{deployment=\"toy\",app=\"toy\"}} {value}\n");
        // The figures are written after the status.
        harness::wait_for("the metric", || Ok(guest.run(&format!("cat {metric}"))?.contains(&line)))
    };
    measured(1)?;
    let told = guest.run("fedi-guest backup status toy")?;
    assert!(!told.contains("correct horse"), "{told}");

    // One that fails is told in the same places; the unit fails too.
    session.ok(config("another", "*:*:*")?)?;
    harness::wait_for("a backup that fails", || Ok(status(&mut session)?.last_failure.is_some()))?;
    let found = status(&mut session)?;
    assert!(found.last_success.is_some(), "{found:?}");
    let error = found.last_failure.and_then(|it| it.error).unwrap_or_default();
    assert!(error.contains("password"), "{error}");
    measured(0)?;

    // A schedule that was changed: the timer waits for the new time.
    schedule(&guest, "2099-01-01 03:30")?;
    let failed = "systemctl show --property=ActiveState --value fedi-backup-toy.service";
    harness::wait_for("the unit's own failure", || Ok(guest.run(failed)?.trim() == "failed"))?;
    let next = status(&mut session)?.next.map(|at| at.to_string()).unwrap_or_default();
    assert!(next.starts_with("2099-01-01T"), "{next}");

    // Taken away: the unit is skipped, and nothing of it is told any more.
    session.ok(BackupConfigure { app: toy(), config: None })?;
    guest.run("systemctl stop fedi-backup-toy.service && systemctl reset-failed fedi-backup-toy.service")?;
    guest.run("systemctl start fedi-backup-toy.service")?;
    guest.run("test \"$(systemctl show --property=ConditionResult --value fedi-backup-toy.service)\" = no")?;
    assert!(!status(&mut session)?.configured);
    assert!(!guest.run(&format!("cat {metric}"))?.contains("app=\"toy\""));
    Ok(())
}
