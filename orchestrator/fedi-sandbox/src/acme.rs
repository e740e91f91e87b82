//! The certificate authority: Caddy's ACME server (RFC 8555). It really validates: it resolves the name through
//! PowerDNS and fetches the token from port 80 of the guest.

use std::fs;
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::command::{Daemon, output};
use crate::layout::{Layout, private_file};
use crate::namespace::Namespace;
use crate::topology::{ACME, ACME_DIRECTORY, ACME_NAME};
use crate::{Result, SandboxError, backup};

/// Starts the authority and exports its root certificate.
pub(crate) fn ensure(layout: &Layout, cgroup: Cgroup, namespace: &Namespace) -> Result<()> {
    let folder = layout.acme();
    let config = format!(
        "{{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n\
         \tstorage file_system {folder}\n\
         \tpki {{\n\t\tca local {{\n\t\t\tname \"fedi sandbox\"\n\t\t\troot_cn \"fedi sandbox root\"\n\t\t}}\n\t}}\n}}\n\
         {ACME_NAME} {{\n\tbind {ACME}\n\ttls internal\n\tacme_server {{\n\t\tca local\n\t}}\n}}\n{sites}",
        sites = backup::sites(),
        folder = folder.display(),
    );
    let caddyfile = folder.join("Caddyfile");
    private_file(&caddyfile, config.as_bytes())?;
    let daemon = Daemon {
        title: "The certificate authority",
        cgroup,
        netns: namespace.file(),
        etc: layout.etc(),
        log: layout.log("acme"),
    };
    let argv = ["caddy", "run", "--adapter", "caddyfile", "--config"].map(str::to_owned).into_iter();
    let argv: Vec<String> = argv.chain([caddyfile.display().to_string()]).collect();
    let root = folder.join("pki/authorities/local/root.crt");
    let env = [("HOME", folder.display().to_string()), ("XDG_DATA_HOME", folder.display().to_string())];
    daemon.ensure(&argv, &env, Duration::from_secs(60), || root.exists() && answers(namespace, &root))?;
    let root = fs::read(&root).map_err(SandboxError::io("read the authority's root certificate"))?;
    private_file(&layout.ca(), &root)
}

/// Whether an ACME client could begin: the directory over TLS, with a certificate of the authority.
pub(crate) fn answers(namespace: &Namespace, root: &std::path::Path) -> bool {
    let netns = format!("--net={}", namespace.file().display());
    let at = format!("{ACME_NAME}:443:{ACME}");
    let args = [&netns, "curl", "--fail", "--silent", "--max-time", "5", "--resolve", &at, "--cacert"];
    let args = args.into_iter().map(AsRef::as_ref).chain([root.as_os_str(), ACME_DIRECTORY.as_ref()]);
    output("ask the certificate authority", "nsenter", args).is_ok()
}
