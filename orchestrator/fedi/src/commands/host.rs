//! `fedi host`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use clap::{Args, Subcommand};
use fedi_inventory::{EditError, Environment, Folder, NewHost};
use fedi_model::inventory::{AddressPool, Credential, Tls};
use fedi_model::name::{Domain, HostName};
use serde::Serialize;

use crate::cli::Global;
use crate::context::Context;
use crate::error::{CommandError, Exit};
use crate::refuse::refused_settings;
use crate::ui::{Table, Ui, count};

/// Add, list and check the hosts that deployments run on
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub(crate) enum Host {
    /// Describe a new host: writes hosts/<name>/host.toml
    Add(Box<Add>),
    /// List the hosts
    List,
    /// Check that the hosts' files are right and that their APIs answer
    Check(Check),
}

/// Options of `host add`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(crate) struct Add {
    /// Its name here: lower-case letters, digits and `-`
    name: HostName,
    /// The Proxmox API: `https://pve.example.org:8006`
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// SHA-256 fingerprint of its certificate, as `pvenode cert info` prints it
    #[arg(long, value_name = "SHA256", required_unless_present = "ca")]
    fingerprint: Vec<String>,
    /// Instead: file with the certificate authority that signed its certificate
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    ca: Option<String>,
    /// File with the API token; without it, credentials/<NAME>/proxmox-token in fedi's
    /// configuration folder
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// The node that guests go to
    #[arg(long)]
    node: String,
    /// The pool that all guests are in
    #[arg(long, default_value = "fedi")]
    pool: String,
    /// Storage for guests' disks
    #[arg(long, value_name = "STORAGE", default_value = "local-lvm")]
    vm_storage: String,
    /// Storage for images; must allow the content type `import`
    #[arg(long, value_name = "STORAGE", default_value = "local")]
    image_storage: String,
    /// Bridge of the guests' network cards
    #[arg(long, default_value = "vmbr0")]
    bridge: String,
    /// The guest image: a qcow2 file here or an https URL
    #[arg(long, value_name = "FILE-OR-URL")]
    image: String,
    /// SHA-256 of the image; needed for a URL
    #[arg(long, value_name = "SHA256")]
    image_sha256: Option<String>,
    /// Addresses for guests; may be given once for IPv4 and once for IPv6
    #[arg(long, value_name = "NETWORK,GATEWAY,FIRST,LAST", required = true, value_parser = pool)]
    addresses: Vec<AddressPool>,
    /// Name server that guests ask
    #[arg(long, value_name = "ADDRESS", required = true)]
    resolver: Vec<IpAddr>,
    /// DNS zone that deployments' domains may lie in
    #[arg(long, value_name = "DOMAIN", required = true)]
    zone: Vec<Domain>,
}

const EXAMPLE: &str = "\
Example:
  fedi host add pve1 --endpoint https://192.0.2.2:8006 --node pve1 \\
    --fingerprint AB:CD:... --image guest.qcow2 --resolver 192.0.2.1 --zone example.org \\
    --addresses 192.0.2.0/24,192.0.2.1,192.0.2.100,192.0.2.199

How fedi writes DNS records is said in the file afterwards, under `[dns]`; until then it
prints them and waits until they are there.";

fn pool(text: &str) -> Result<AddressPool, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [network, gateway, first, last] = parts.as_slice() else {
        return Err("it must have four parts: NETWORK,GATEWAY,FIRST,LAST".to_owned());
    };
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("`{text}` is no address"));
    Ok(AddressPool {
        network: network.parse().map_err(|_| format!("`{network}` is no network"))?,
        gateway: address(gateway)?,
        first: address(first)?,
        last: address(last)?,
        quarantine_hours: 24,
    })
}

/// Options of `host check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The host; all of them if none is named
    host: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    host: String,
    endpoint: String,
    node: String,
    zones: Vec<String>,
    deployments: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Hosts {
    hosts: Vec<Row>,
}

const NO_HOSTS: &str = "The inventory has no hosts; describe one with `fedi host add`\n";

pub(crate) async fn run(command: &Host, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    match command {
        Host::Add(args) => add(args, global, ui),
        Host::List => list(&Context::open(global, ui)?),
        Host::Check(args) => check(args, &Context::open(global, ui)?).await,
    }
}

fn add(args: &Add, global: &Global, ui: Ui) -> Result<Exit, CommandError> {
    let context = Context::open(global, ui)?;
    let tls = match &args.ca {
        Some(file) => Tls::Ca(file.clone()),
        None => Tls::Fingerprints(args.fingerprint.clone()),
    };
    let token = args.token_file.clone().unwrap_or_else(|| format!("credentials/{}/proxmox-token", args.name));
    let new = NewHost {
        endpoint: args.endpoint.clone(),
        tls,
        token: Credential::File(token.clone()),
        node: args.node.clone(),
        pool: args.pool.clone(),
        vm_storage: args.vm_storage.clone(),
        image_storage: args.image_storage.clone(),
        bridge: args.bridge.clone(),
        image: args.image.clone(),
        image_sha256: args.image_sha256.clone(),
        pools: args.addresses.clone(),
        resolvers: args.resolver.clone(),
        zones: args.zone.clone(),
    };
    let file = fedi_inventory::add_host(context.folder.root(), &args.name, &new).map_err(|error| match &error {
        EditError::Problems(problems) => {
            let what = format!("Failed to describe host `{}`", args.name);
            refused_settings(&what, &Folder::host_path(&args.name), problems).unwrap_or_else(|| error.into())
        }
        _ => error.into(),
    })?;
    let report = BTreeMap::from([("file", file.display().to_string())]);
    ui.report(&report, &format!("Wrote {}\n", file.display()))?;
    ui.say(&next_steps(args, &token));
    Ok(Exit::Done)
}

/// From a fresh file to a token that `fedi doctor` can examine.
fn next_steps(args: &Add, token: &str) -> String {
    let place = match Environment::of_process().config_dir() {
        Ok(folder) if !token.starts_with(['/', '~', '$']) => folder.join(token).display().to_string(),
        _ => token.to_owned(),
    };
    format!(
        "
Next, as administrator of the Proxmox host, unless they exist:

  pveum pool add {pool}
  pveum user add fedi@pve
  pveum user token add fedi@pve deploy --privsep 1

Write the token, whole (`fedi@pve!deploy=` and the value that was printed), to
`{place}`, readable by you alone (mode 0600).
Then `fedi doctor {name}` says which rights it needs.",
        pool = args.pool,
        name = args.name
    )
}

fn list(context: &Context) -> Result<Exit, CommandError> {
    let inventory = context.folder.inventory();
    let mut table = Table::new(&["host", "endpoint", "node", "zones", "deployments"]);
    let mut hosts = Vec::new();
    for (name, host) in &inventory.hosts {
        let on_it = inventory.deployments.values().filter(|deployment| deployment.host == *name);
        let row = Row {
            host: name.to_string(),
            endpoint: host.hypervisor.endpoint.clone(),
            node: host.hypervisor.node.clone(),
            zones: host.dns.zones.iter().map(|zone| zone.name.to_string()).collect(),
            deployments: on_it.map(|deployment| deployment.name.to_string()).collect(),
        };
        table.row(vec![
            row.host.clone(),
            row.endpoint.clone(),
            row.node.clone(),
            row.zones.join(", "),
            row.deployments.join(", "),
        ]);
        hosts.push(row);
    }
    let text = if hosts.is_empty() { NO_HOSTS.to_owned() } else { table.render() };
    context.ui.report(&Hosts { hosts }, &text)?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Checked {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    problems: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<CommandError>,
}

async fn check(args: &Check, context: &Context) -> Result<Exit, CommandError> {
    // Opening the context has checked every file already.
    let hosts = context.hosts(args.host.as_deref())?;
    let store = context.store()?;
    let (mut text, mut checked, mut exit) = (String::new(), Vec::new(), Exit::Done);
    if hosts.is_empty() {
        text.push_str(NO_HOSTS);
    }
    for (name, host) in hosts {
        let answer = async {
            let report = context.hypervisor(name, host, &store)?.examine().await?;
            Ok::<_, CommandError>(report)
        };
        match answer.await {
            Ok(report) => {
                let wrong = report.problems.len() + report.missing.len();
                let _ = write!(text, "{name}: {}", report.version);
                if wrong > 0 {
                    exit = Exit::Refused;
                    let _ = write!(text, ", {}; see `fedi doctor {name}`", count(wrong, "problem", "problems"));
                }
                text.push('\n');
                checked.push(Checked {
                    host: name.to_string(),
                    version: Some(report.version),
                    problems: wrong,
                    error: None,
                });
            }
            Err(error) => {
                exit = error.exit;
                let _ = write!(text, "{name}: cannot be used\n{}", error.render_below());
                checked.push(Checked { host: name.to_string(), version: None, problems: 1, error: Some(error) });
            }
        }
    }
    context.ui.report(&BTreeMap::from([("hosts", checked)]), &text)?;
    Ok(exit)
}
