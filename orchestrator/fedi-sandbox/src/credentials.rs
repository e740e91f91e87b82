//! What an operator would have in the configuration folder: tokens, keys, certificates. Made once, kept until `down`.

use std::fs;

use age::secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::command::output;
use crate::layout::{Layout, kept, private_folder};
use crate::topology::{HOSTS, SimulatedHost};
use crate::{Result, SandboxError, backup};

/// Makes what is missing; returns PowerDNS' API key.
pub(crate) fn ensure(layout: &Layout) -> Result<String> {
    let config = layout.config();
    let key = kept(&layout.dns().join("api-key"), random_key)?;
    for host in HOSTS {
        let folder = config.join("credentials").join(host.name);
        private_folder(&folder)?;
        kept(&folder.join("pdns-api-key"), || key.clone())?;
        kept(&folder.join("proxmox-token"), || format!("{}={}", token_name(&host), Uuid::new_v4()))?;
    }
    backup::credentials(layout, random_key)?;
    kept(&config.join("age.key"), age_identity)?;
    ssh_key(layout)?;
    Ok(key)
}

/// The token's name as Proxmox writes it: `user@realm!id`.
pub(crate) fn token_name(host: &SimulatedHost) -> String {
    format!("{}!{}", host.user, host.token_id)
}

/// The secret half of a host's API token.
pub(crate) fn token_secret(layout: &Layout, host: &SimulatedHost) -> Result<String> {
    let path = layout.config().join("credentials").join(host.name).join("proxmox-token");
    let text = fs::read_to_string(&path).map_err(SandboxError::io(format!("read `{}`", path.display())))?;
    let secret = text.trim().rsplit_once('=').map(|(_, secret)| secret.to_owned());
    secret.ok_or_else(|| SandboxError::Leftover(format!("a damaged token in `{}`", path.display())))
}

fn random_key() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// An identity file as `age-keygen` writes it.
fn age_identity() -> String {
    let identity = age::x25519::Identity::generate();
    format!("# public key: {}\n{}", identity.to_public(), identity.to_string().expose_secret())
}

fn ssh_key(layout: &Layout) -> Result<()> {
    let path = layout.config().join("ssh_ed25519");
    let public = layout.config().join("ssh_ed25519.pub");
    if path.exists() && public.exists() {
        return Ok(());
    }
    // A key whose public half is missing was cut off while it was made.
    if path.exists() {
        fs::remove_file(&path).map_err(SandboxError::io("remove a half-made key"))?;
    }
    let args = ["-q", "-t", "ed25519", "-N", "", "-C", "fedi", "-f"].map(std::ffi::OsStr::new);
    output("make the SSH key", "ssh-keygen", args.into_iter().chain([path.as_os_str()])).map(drop)
}
