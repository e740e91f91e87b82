//! New files of an inventory, with comments that teach what may stand in them.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use fedi_model::inventory::{AddressPool, Credential, Tls};
use fedi_model::name::{AppName, DeploymentName, Domain};
use toml_edit::{Array, InlineTable, Value};

use crate::schema::FileKind;

/// Where `init` puts the JSON Schemas, below the root of an inventory.
pub(crate) const SCHEMA_DIR: &str = ".schema";

/// What a new `host.toml` says.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// URL of the API.
    pub endpoint: String,
    /// How the server is recognised.
    pub tls: Tls,
    /// Where the API token is.
    pub token: Credential,
    /// The node that new guests go to.
    pub node: String,
    /// The pool of fedi's guests.
    pub pool: String,
    /// Storage for guests' disks.
    pub vm_storage: String,
    /// Storage for images.
    pub image_storage: String,
    /// Bridge of the first network card.
    pub bridge: String,
    /// The guest image: a file or an https URL.
    pub image: String,
    /// SHA-256 of the image; needed for a URL.
    pub image_sha256: Option<String>,
    /// Addresses that guests may have.
    pub pools: Vec<AddressPool>,
    /// Name servers that guests ask.
    pub resolvers: Vec<IpAddr>,
    /// Zones that deployments' domains may lie in. They are written by hand
    /// (`dns.driver = "manual"`) until the file says otherwise.
    pub zones: Vec<Domain>,
}

/// The comment that tells an editor which schema a file has, with its newlines; empty
/// where the inventory has no schemas.
pub(crate) fn schema_line(root: &Path, path: &Path, kind: FileKind) -> String {
    let depth = path.parent().and_then(|parent| parent.strip_prefix(root).ok()).map_or(0, |it| it.components().count());
    let folder = [SCHEMA_DIR, "docs/schema"].into_iter().find(|folder| root.join(folder).is_dir());
    folder
        .map_or(String::new(), |folder| format!("#:schema {}{folder}/{}\n\n", "../".repeat(depth), kind.schema_file()))
}

/// The file of a copy: a word on what it is above what the first's file says.
pub(crate) fn clone_of(from: &DeploymentName, text: &str) -> String {
    let word = format!(
        "# A copy of `{from}`, made by `fedi clone`: it speaks to no other server (docs/backups.md). What else\n\
         # stands here was taken over from there.\n"
    );
    match text.split_once('\n') {
        Some((schema, rest)) if schema.starts_with("#:schema") => {
            format!("{schema}\n\n{word}\n{}", rest.trim_start_matches('\n'))
        }
        _ => format!("{word}\n{text}"),
    }
}

/// `fedi.toml`.
pub(crate) fn fedi(name: &str, email: Option<&str>, schema: &str) -> String {
    let email = match email {
        Some(email) => format!("email = {}", quoted(email)),
        None => "# email = \"you@example.org\"".to_owned(),
    };
    format!(
        r#"{schema}# What holds for all hosts and deployments of this inventory.

# Names the folder of the journal: ~/.local/state/fedi/<name>.
name = {name}

[operator]
# For certificate authorities, and for the contact pages of the applications.
{email}

[ssh]
# The private key that fedi logs in to guests with. Relative paths like this one start
# at fedi's configuration folder: $FEDI_CONFIG_DIR, else ~/.config/fedi.
key = "ssh_ed25519"
# More keys that may log in to new guests, a line of `authorized_keys` each.
authorized-keys = []

[secrets]
# Secrets of the applications are files encrypted with age, to this identity's public
# half and to all recipients. Add a recipient whose private half you keep elsewhere:
# without the identity and without such a recipient, every secret is lost.
driver = "age"
identity = "age.key"
recipients = []
# Encrypted secrets may be committed; left out, they lie beside the journal.
# folder = "secrets"
"#,
        name = quoted(name),
    )
}

/// `host.toml`.
pub(crate) fn host(host: &NewHost, schema: &str) -> String {
    let mut text = String::from(schema);
    let resolvers: Array = host.resolvers.iter().map(ToString::to_string).collect();
    let _ = write!(
        text,
        r#"# A place where virtual machines run, with what comes along: storage, network,
# addresses, DNS zones.

# Name servers that guests ask.
resolvers = {resolvers}

[hypervisor]
driver = "proxmox"
endpoint = {endpoint}
# How the API is recognised: a CA file, `{{ fingerprints = ["AA:BB:..."] }}` as
# `pvenode cert info` prints them, or "system". Nothing accepts just any certificate.
tls = {tls}
# The API token, whole: `user@realm!id=uuid`, in a file that only you can read, or in a
# variable.
token = {token}
node = {node}
# All of fedi's machines are in this pool; the token needs no rights outside it.
pool = {pool}
vm-storage = {vm_storage}
# Must allow the content type `import`.
image-storage = {image_storage}
bridge = {bridge}
# The ids that fedi may use.
first-vmid = 9000
last-vmid = 9999

[image]
# The disk image that new guests start from: a file, or an https URL with `sha256`.
source = {image}
"#,
        endpoint = quoted(&host.endpoint),
        tls = tls(&host.tls),
        token = credential(&host.token),
        node = quoted(&host.node),
        pool = quoted(&host.pool),
        vm_storage = quoted(&host.vm_storage),
        image_storage = quoted(&host.image_storage),
        bridge = quoted(&host.bridge),
        image = quoted(&host.image),
    );
    if let Some(digest) = &host.image_sha256 {
        let _ = writeln!(text, "sha256 = {}", quoted(digest));
    }
    text.push_str("\n# Addresses that guests may have; at most one IPv4 and one IPv6 pool serve a guest.\n");
    text.push_str("# Keep the range out of reach of DHCP.\n");
    if host.pools.is_empty() {
        text.push_str("# [[addresses]]\n# network = \"192.0.2.0/24\"\n# gateway = \"192.0.2.1\"\n");
        text.push_str("# first = \"192.0.2.10\"\n# last = \"192.0.2.99\"\n");
    }
    for (number, pool) in host.pools.iter().enumerate() {
        let gap = if number == 0 { "" } else { "\n" };
        let AddressPool { network, gateway, first, last, .. } = pool;
        let _ = write!(
            text,
            "{gap}[[addresses]]\nnetwork = \"{network}\"\ngateway = \"{gateway}\"\nfirst = \"{first}\"\nlast = \"{last}\"\n"
        );
    }
    text.push_str(
        r#"
[dns]
# "manual" shows the records and waits until you have written them. "octodns" writes them
# itself, for about 45 kinds of DNS service: then each zone names a provider.
driver = "manual"

# A deployment's domain must lie in one of the zones; the longest that fits counts.
"#,
    );
    if host.zones.is_empty() {
        text.push_str("# [[dns.zones]]\n# name = \"example.org\"\n# provider = \"desec\"\n");
    }
    for (number, zone) in host.zones.iter().enumerate() {
        let gap = if number == 0 { "" } else { "\n" };
        let _ = write!(text, "{gap}[[dns.zones]]\nname = \"{zone}\"\n# provider = \"desec\"\n");
    }
    text.push_str(
        r#"
# The class and the settings are those of octoDNS' documentation.
# [dns.providers.desec]
# class = "octodns_desec.DesecProvider"
# packages = ["octodns-desec==1.3.0"]
# min-ttl = 3600
# secrets = { token = { file = "credentials/desec-token" } }
"#,
    );
    text
}

/// `deployments/<name>.toml`.
pub(crate) fn deployment(app: &AppName, domain: &Domain, schema: &str) -> String {
    format!(
        r#"{schema}app = "{app}"
# Part of the application's identity: it can never change once people have used it.
domain = "{domain}"

# What the guest gets; what is left out is sized for the application. The state disk can
# grow, never shrink.
[resources]
# cores = 2
# memory-mib = 4096
# state-gib = 40

# Options of the application, `fedi.apps.{app}.*`, under the same names.
[settings]
"#
    )
}

/// `flake.nix`: the systems of the inventory's deployments. A copy of the flake's
/// template, since it must be here without the rest of the repository.
pub(crate) const FLAKE: &str = include_str!("flake.nix");

/// `.gitignore`.
pub(crate) const GITIGNORE: &str = "# What Nix builds; guest images.\n/result\n/result-*\n*.qcow2\n";

fn tls(tls: &Tls) -> String {
    let mut table = InlineTable::new();
    match tls {
        Tls::System => return quoted("system"),
        Tls::Ca(file) => table.insert("ca", file.as_str().into()),
        Tls::Fingerprints(all) => table.insert("fingerprints", Value::Array(all.iter().map(String::as_str).collect())),
    };
    table.to_string()
}

fn credential(credential: &Credential) -> String {
    let mut table = InlineTable::new();
    match credential {
        Credential::File(file) => table.insert("file", file.as_str().into()),
        Credential::Env(name) => table.insert("env", name.as_str().into()),
    };
    table.to_string()
}

/// A TOML string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
