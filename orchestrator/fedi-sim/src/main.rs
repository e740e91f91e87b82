//! `fedi-sim`: a simulated Proxmox VE as a program of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use fedi_sim::{SimBuilder, SimConfig};
use tokio::signal::unix::{SignalKind, signal};

/// Plays a Proxmox VE cluster over HTTPS, with guests that exist only as state.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The cluster: version, nodes, storages, users, tokens and rules, in TOML
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where the first node's API listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8006")]
    listen: SocketAddr,
    /// Keeps everything here and goes on from it at the next start
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// A Unix socket that takes commands, one JSON object a line; DIR/control.sock by default
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let text =
        std::fs::read_to_string(&args.config).with_context(|| format!("Failed to read {}", args.config.display()))?;
    let config: SimConfig =
        toml::from_str(&text).with_context(|| format!("Failed to understand {}", args.config.display()))?;
    let control = args.control.unwrap_or_else(|| args.state.join("control.sock"));
    let sim = SimBuilder::from_config(config)
        .directory(&args.state)
        .listen(args.listen)
        .control_socket(control)
        .start()
        .await?;
    std::fs::write(args.state.join("ca.pem"), sim.ca_pem()).context("Failed to write the CA")?;
    println!("url {}", sim.url());
    println!("fingerprint {}", sim.fingerprint());
    let mut terminate = signal(SignalKind::terminate()).context("Failed to listen for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("Failed to listen for Ctrl-C")?,
    }
    Ok(())
}
