//! Copying a closure to another machine: `nix copy --to ssh://...`.

use crate::error::NixError;
use crate::nix::{Nix, Watch};
use crate::ssh::SshTarget;
use crate::store_path::StorePath;

/// How Nix speaks over the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `nix-store --serve` on the other side; the same in all versions.
    #[default]
    Legacy,
    /// `nix-daemon --stdio`: fewer round trips. Between some versions it refuses
    /// unsigned paths also of root (Nix issue 7812).
    NextGeneration,
}

/// Why the other side should accept what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Because of who brings it: the login is root or one of its `trusted-users`, the
    /// connection is encrypted, and the host key is pinned. Signatures are not asked
    /// for, neither here nor there.
    #[default]
    Connection,
    /// Because of who signed it: every path has to carry a signature of a key in the
    /// other side's `trusted-public-keys` (sign with `nix store sign`, or by a binary
    /// cache), or be content-addressed.
    Signatures,
}

/// How to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfer {
    /// How Nix speaks.
    pub protocol: Protocol,
    /// Why the other side accepts it.
    pub trust: Trust,
    /// Let the other side fetch from its own binary caches what it can.
    pub substitute: bool,
}

impl Nix {
    /// Copies a path with all that it needs. What is there already is not sent again,
    /// so a copy that was cut off goes on where it stopped.
    pub async fn copy(
        &self,
        path: &StorePath,
        target: &SshTarget,
        transfer: Transfer,
        mut watch: Watch<'_>,
    ) -> Result<(), NixError> {
        self.version().await?;
        let scheme = match transfer.protocol {
            Protocol::Legacy => "ssh",
            Protocol::NextGeneration => "ssh-ng",
        };
        let mut command = self.command(["copy"]);
        command.arg("--to").arg(format!("{scheme}://{}", target.name()));
        if transfer.trust == Trust::Connection {
            command.arg("--no-check-sigs");
        }
        if transfer.substitute {
            command.arg("--substitute-on-destination");
        }
        command.arg(path.as_str()).env("NIX_SSHOPTS", target.nix_options());
        let (finished, log) = self.run(command, &mut watch).await?;
        if finished.status.success() {
            return Ok(());
        }
        if let Some(error) = target.error(&log.plain()) {
            return Err(error);
        }
        // Where Nix hands on what ssh said, it is in its own message.
        let message = log.message();
        Err(target.error(&message).unwrap_or_else(|| NixError::Copy { path: path.clone(), message }))
    }
}
