//! Inventories to measure with, made of the repository's own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml_edit::{DocumentMut, value};

use crate::repository;

const HOSTS: [&str; 2] = ["proxmox1", "new-provider"];

/// The repository's `fedi.toml` and hosts with one deployment, `matrix`.
pub(crate) fn with_matrix(folder: &Path) -> Result<()> {
    hosts(folder)?;
    let path = Path::new("hosts/proxmox1/deployments/matrix.toml");
    fs::copy(repository().join(path), folder.join(path))
        .with_context(|| format!("Failed to copy {}", path.display()))?;
    Ok(())
}

/// The same with `count` deployments instead, half of them on each host. The pools are
/// made large enough; the addresses are none that a guest could use.
pub(crate) fn with_many(folder: &Path, count: u64) -> Result<()> {
    hosts(folder)?;
    for (number, host) in HOSTS.iter().enumerate() {
        let path = folder.join("hosts").join(host).join("host.toml");
        let mut file: DocumentMut = fs::read_to_string(&path)?.parse()?;
        let pools = file["addresses"].as_array_of_tables_mut().context("a host without addresses")?;
        let pool = pools.get_mut(0).context("a host without addresses")?;
        let part = 16 * (number + 1);
        pool["network"] = value(format!("10.79.{part}.0/20"));
        pool["gateway"] = value(format!("10.79.{part}.1"));
        pool["first"] = value(format!("10.79.{part}.10"));
        pool["last"] = value(format!("10.79.{}.250", part + 15));
        fs::write(&path, file.to_string())?;
    }
    for (number, host) in (0..count).zip(HOSTS.iter().cycle()) {
        let path = folder.join(format!("hosts/{host}/deployments/matrix{number}.toml"));
        fs::write(path, format!("app = \"matrix\"\ndomain = \"matrix{number}.example.test\"\n"))?;
    }
    Ok(())
}

fn hosts(folder: &Path) -> Result<()> {
    for host in HOSTS {
        fs::create_dir_all(folder.join("hosts").join(host).join("deployments"))?;
        let path = Path::new("hosts").join(host).join("host.toml");
        fs::copy(repository().join(&path), folder.join(&path))?;
    }
    fs::copy(repository().join("fedi.toml"), folder.join("fedi.toml"))?;
    Ok(())
}
