//! A server for repositories of snapshots: restic's REST protocol, spoken by rclone over one folder, twice. Guests
//! may only add; the operator may also remove. TLS is the certificate authority's Caddy, in front of both.

use std::time::Duration;

use crate::Result;
use crate::cgroup::Cgroup;
use crate::command::Daemon;
use crate::layout::{Layout, kept, private_folder};
use crate::namespace::Namespace;
use crate::topology::{ACME, BACKUP_NAME, BACKUP_PORTS};

/// Who logs in, with what rights.
struct Side {
    /// Also the name of the user.
    name: &'static str,
    title: &'static str,
    /// What the outside sees.
    port: u16,
    /// Where rclone listens behind it.
    behind: &'static str,
    append_only: bool,
}

const SIDES: [Side; 2] = [
    Side {
        name: "guest",
        title: "The repository server of guests",
        port: BACKUP_PORTS[0],
        behind: "127.0.0.1:8000",
        append_only: true,
    },
    Side {
        name: "operator",
        title: "The repository server of the operator",
        port: BACKUP_PORTS[1],
        behind: "127.0.0.1:8001",
        append_only: false,
    },
];

/// Sites of Caddy that put TLS in front of the servers.
pub(crate) fn sites() -> String {
    let site = |side: &Side| {
        format!(
            "https://{BACKUP_NAME}:{port} {{\n\tbind {ACME}\n\ttls internal\n\treverse_proxy {behind}\n}}\n",
            port = side.port,
            behind = side.behind
        )
    };
    SIDES.iter().map(site).collect()
}

/// Makes the passwords: `credentials/backup/guest` and `credentials/backup/operator`.
pub(crate) fn credentials(layout: &Layout, random: impl Fn() -> String) -> Result<()> {
    let folder = layout.config().join("credentials/backup");
    private_folder(&folder)?;
    SIDES.iter().try_for_each(|side| kept(&folder.join(side.name), &random).map(drop))
}

/// Starts the servers.
pub(crate) fn ensure(layout: &Layout, cgroup: &dyn Fn(&str) -> Cgroup, namespace: &Namespace) -> Result<()> {
    let folder = layout.repositories();
    private_folder(&folder)?;
    for side in &SIDES {
        let password = kept(&layout.config().join("credentials/backup").join(side.name), String::new)?;
        let daemon = Daemon {
            title: side.title,
            cgroup: cgroup(side.name),
            netns: namespace.file(),
            etc: layout.etc(),
            log: layout.log(&format!("backup-{}", side.name)),
        };
        // Two servers over one folder: neither may remember what the other changes.
        let mut argv = vec!["rclone", "serve", "restic", "--addr", side.behind, "--cache-objects=false"];
        if side.append_only {
            argv.push("--append-only");
        }
        let argv: Vec<String> = argv.into_iter().map(str::to_owned).chain([folder.display().to_string()]).collect();
        let env = [
            ("RCLONE_CONFIG", "/dev/null".to_owned()),
            ("RCLONE_USER", side.name.to_owned()),
            ("RCLONE_PASS", password),
        ];
        daemon.ensure(&argv, &env, Duration::from_secs(30), || answers(namespace, side))?;
    }
    Ok(())
}

/// The titles of the servers, the addresses that they are reached at, whether they run, and whether they answer.
pub(crate) fn parts(cgroup: &dyn Fn(&str) -> Cgroup, namespace: &Namespace) -> Vec<(String, String, bool, bool)> {
    let part = |side: &Side| {
        let address = format!("https://{BACKUP_NAME}:{}", side.port);
        let answering = namespace.exists() && answers(namespace, side);
        (side.title.to_owned(), address, cgroup(side.name).populated(), answering)
    };
    SIDES.iter().map(part).collect()
}

fn answers(namespace: &Namespace, side: &Side) -> bool {
    side.behind.parse().is_ok_and(|address| namespace.accepts(address))
}
