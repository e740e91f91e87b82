//! The inventory that the repository itself is.

use std::path::{Path, PathBuf};

use fedi_inventory::{Environment, Folder, ImageSource};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_repository_is_an_inventory() -> anyhow::Result<()> {
    let environment = Environment::fixed([("FEDI_SANDBOX_DIR", "/sandbox"), ("FEDI_CONFIG_DIR", "/config")]);
    let folder = Folder::load(&root(), environment)?;
    let (_, host) = folder.host("proxmox1")?;
    assert_eq!(folder.image(host)?, ImageSource::File("/sandbox/images/guest.qcow2".into()));
    assert_eq!(folder.system_folder(host)?, Some("/sandbox/systems".into()));
    assert_eq!(folder.ca_file(&host.hypervisor.tls)?, Some("/config/credentials/proxmox1/ca.pem".into()));
    assert_eq!(folder.ssh_public_key()?, Path::new("/config/ssh_ed25519.pub"));
    let matrix = folder.deployment("matrix")?;
    assert_eq!(matrix.domain().as_str(), "matrix.example.test");
    assert_eq!(matrix.host.as_str(), "proxmox1");
    Ok(())
}

#[test]
fn a_wrong_name_gets_the_nearest() -> anyhow::Result<()> {
    let folder = Folder::load(&root(), Environment::fixed::<&str, &str>([]))?;
    let error = folder.host("proxmx1").unwrap_err();
    assert_eq!(error.to_string(), "No host is called `proxmx1`");
    assert_eq!(error.hint.as_deref(), Some("Did you mean `proxmox1`?"));
    assert_eq!(folder.deployment("Matrix").unwrap_err().hint.as_deref(), Some("Did you mean `matrix`?"));
    Ok(())
}
