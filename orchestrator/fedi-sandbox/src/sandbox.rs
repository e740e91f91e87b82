//! A sandbox as a whole: up, down, status, and commands that run inside it.
//!
//! Every step looks first and does only what is missing, so `up` after a crash or a kill goes on where things
//! stand. `down` kills the cgroup, removes the namespace and then the folder; it needs no memory of what was
//! started.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::cgroup::Cgroup;
use crate::command::{Daemon, ENTER, missing_or_io, tail};
use crate::event::Event;
use crate::host::{self, HostSettings};
use crate::layout::{Layout, private_file, private_folder};
use crate::namespace::Namespace;
use crate::nspawn::{self, NspawnSettings};
use crate::options::SandboxOptions;
use crate::status::{Guest, Part, Status};
use crate::topology::{DNS, DNS_API_PORT, HOSTS, OWN_ZONE, SimulatedHost};
use crate::{Result, SandboxError, acme, backup, credentials, dns};

/// Virtual size of the disk image, in bytes. A guest's root disk is at least this large.
const IMAGE_BYTES: u64 = 4 << 30;
/// Environment that would lead a command out of the sandbox or around its certificate authority.
const CLEARED: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
];

/// A sandbox, which may be up or not.
#[derive(Debug)]
pub struct Sandbox {
    options: SandboxOptions,
    layout: Layout,
    cgroup: Cgroup,
    namespace: Namespace,
}

impl Sandbox {
    /// A handle; nothing is started or looked at.
    pub fn new(options: SandboxOptions) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(SandboxError::NotRoot);
        }
        let layout = Layout { root: options.folder() };
        let cgroup = Cgroup::top(&options.name)?;
        let namespace = Namespace::new(&options.name);
        Ok(Self { options, layout, cgroup, namespace })
    }

    /// Its options.
    pub fn options(&self) -> &SandboxOptions {
        &self.options
    }

    /// Brings up everything that is not up. Blocks; the first time for minutes, while the guest root is built.
    pub fn up(&self, report: &dyn Fn(Event)) -> Result<()> {
        if !self.options.guest_agent.is_file() {
            return Err(SandboxError::NoAgent(self.options.guest_agent.clone()));
        }
        let _lock = self.lock()?;
        self.layout.create()?;
        let root =
            step(report, "Preparing the guest root", || self.built(&self.options.recipes.join("guest-root/build")))?;
        step(report, "Writing the guest image", || self.image(&root))?;
        step(report, "Preparing the systems", || self.systems())?;
        step(report, "Preparing octoDNS", || self.octodns())?;
        step(report, "Creating the network namespace", || {
            write_etc(&self.layout)?;
            self.namespace.ensure()
        })?;
        let key = step(report, "Making credentials", || credentials::ensure(&self.layout))?;
        step(report, "Starting PowerDNS", || {
            dns::ensure(&self.layout, self.cgroup.child("dns"), &self.namespace, &key)
        })?;
        step(report, "Starting the certificate authority", || {
            acme::ensure(&self.layout, self.cgroup.child("acme"), &self.namespace)
        })?;
        step(report, "Starting the repository servers", || {
            backup::ensure(&self.layout, &|name| self.backup_cgroup(name), &self.namespace)
        })?;
        for host in &HOSTS {
            step(report, &format!("Starting {}", title(host)), || self.start_host(host))?;
        }
        Ok(())
    }

    /// Ends every process and removes the namespace and the state; logs stay. No error when nothing is there.
    pub fn down(&self, report: &dyn Fn(Event)) -> Result<()> {
        let _lock = self.lock()?;
        step(report, "Ending every process", || self.cgroup.kill())?;
        step(report, "Removing the network namespace", || self.namespace.remove())?;
        step(report, "Removing the state", || self.layout.remove())
    }

    /// What is there and what answers.
    pub fn status(&self) -> Status {
        let mut parts = vec![
            Part {
                title: "PowerDNS".to_owned(),
                address: format!("{DNS}:53, API http://{DNS}:{DNS_API_PORT}"),
                running: self.cgroup.child("dns").populated(),
                answering: self.namespace.exists() && dns::answers(&self.namespace),
            },
            Part {
                title: "Certificate authority".to_owned(),
                address: crate::topology::ACME_DIRECTORY.to_owned(),
                running: self.cgroup.child("acme").populated(),
                answering: self.namespace.exists() && acme::answers(&self.namespace, &self.layout.ca()),
            },
        ];
        let servers = backup::parts(&|name| self.backup_cgroup(name), &self.namespace);
        parts.extend(servers.into_iter().map(|(title, address, running, answering)| Part {
            title,
            address,
            running,
            answering,
        }));
        parts.extend(HOSTS.iter().map(|host| Part {
            title: title(host),
            address: format!("https://{}:8006", host.address),
            running: self.host_cgroup(host).populated(),
            answering: self.namespace.exists() && self.namespace.accepts(api_address(host)),
        }));
        Status {
            name: self.options.name.clone(),
            up: parts.iter().all(|part| part.running && part.answering),
            absent: !self.cgroup.exists() && !self.namespace.exists() && !self.layout.config().exists(),
            folder: self.layout.root.clone(),
            parts,
            guests: HOSTS.iter().flat_map(|host| self.guests(host)).collect(),
        }
    }

    /// A command that will run inside: in the namespace, with the sandbox's name resolution, configuration
    /// folder and trusted certificates. The caller sets standard streams, spawns and waits.
    pub fn command(&self, program: impl Into<OsString>) -> Result<Command> {
        if !self.namespace.exists() || !self.layout.ca().exists() {
            return Err(SandboxError::NotUp(self.options.name.clone()));
        }
        let cgroup = self.cgroup.child("run");
        cgroup.create()?;
        let ca = self.layout.ca();
        let mut command = Command::new("sh");
        command
            .args(["-c", ENTER, "sandbox-enter"])
            .arg(cgroup.joined())
            .arg(self.namespace.file())
            .arg(self.layout.etc())
            .arg(program.into())
            .env("FEDI_SANDBOX", &self.options.name)
            .env("FEDI_SANDBOX_DIR", &self.layout.root)
            .env("FEDI_CONFIG_DIR", self.layout.config())
            .env("FEDI_STATE_DIR", self.layout.state())
            .env("FEDI_CA_FILE", &ca)
            .env("SSL_CERT_FILE", &ca)
            .env("CURL_CA_BUNDLE", &ca)
            .env("REQUESTS_CA_BUNDLE", &ca);
        for name in CLEARED {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Runs a command inside and waits for it; its standard streams are ours.
    pub fn run(&self, command: &[OsString]) -> Result<ExitStatus> {
        let (program, args) = command.split_first().ok_or_else(|| SandboxError::Command {
            what: "run a command in the sandbox".to_owned(),
            output: "no command given".to_owned(),
        })?;
        let what = format!("run `{}`", program.to_string_lossy());
        self.command(program)?.args(args).status().map_err(|source| missing_or_io("sh", &what, source))
    }

    /// Only one process changes a sandbox. The lock is beside its folder and ends with the process.
    fn lock(&self) -> Result<File> {
        let folder = self.options.cache.join("sandbox");
        private_folder(&folder)?;
        let path = folder.join(format!("{}.lock", self.options.name));
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(SandboxError::io(format!("open `{}`", path.display())))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| SandboxError::Busy(self.options.name.clone()))?;
        Ok(file)
    }

    fn image(&self, root: &Path) -> Result<()> {
        let image = self.layout.image();
        if let Some(folder) = image.parent() {
            private_folder(folder)?;
        }
        nspawn::write_image(&image, root, IMAGE_BYTES)
    }

    /// Builds the prebuilt systems where they are missing and links each as `systems/<app>`, and its broken
    /// variant, where it has one, as `broken-systems/<app>`.
    fn systems(&self) -> Result<()> {
        let recipes = self.options.recipes.join("systems");
        let entries = fs::read_dir(&recipes).map_err(SandboxError::io(format!("read `{}`", recipes.display())))?;
        for entry in entries.flatten().filter(|entry| entry.path().join("build").is_file()) {
            let system = self.built(&entry.path().join("build"))?;
            link(&self.layout.systems(), &entry.file_name(), &system)?;
            let mut broken = system.into_os_string();
            broken.push("-broken");
            if Path::new(&broken).is_dir() {
                link(&self.layout.broken_systems(), &entry.file_name(), Path::new(&broken))?;
            }
        }
        Ok(())
    }

    /// Runs a recipe, which builds what is missing and prints where it is.
    fn built(&self, recipe: &Path) -> Result<PathBuf> {
        let out = Command::new(recipe)
            .env("FEDI_CACHE_DIR", &self.options.cache)
            .output()
            .map_err(SandboxError::io(format!("run `{}`", recipe.display())))?;
        let path = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
        if out.status.success() && path.is_dir() {
            return Ok(path);
        }
        let output = tail(&String::from_utf8_lossy(&out.stderr), 5);
        Err(SandboxError::Command { what: format!("run `{}`", recipe.display()), output })
    }

    /// Makes octoDNS' Python environment: inside, where fedi will use it, no package index can be reached.
    fn octodns(&self) -> Result<()> {
        let venvs = self.options.cache.join("venvs");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(SandboxError::io("start a runtime"))?;
        runtime
            .block_on(octodns_client::Venv::ensure(&venvs, &octodns_client::VenvSpec::default()))
            .map(drop)
            .map_err(|error| SandboxError::Command { what: "prepare octoDNS".to_owned(), output: error.to_string() })
    }

    fn backup_cgroup(&self, side: &str) -> Cgroup {
        self.cgroup.child(&format!("backup-{side}"))
    }

    fn host_cgroup(&self, host: &SimulatedHost) -> Cgroup {
        self.cgroup.child(&format!("host-{}", host.name))
    }

    fn start_host(&self, host: &SimulatedHost) -> Result<()> {
        let folder = self.layout.host(host.name);
        private_folder(&folder)?;
        let settings = HostSettings {
            name: host.name.to_owned(),
            folder: folder.join("state"),
            ca: self.layout.config().join("credentials").join(host.name).join("ca.pem"),
            token_secret: credentials::token_secret(&self.layout, host)?,
            guests: NspawnSettings {
                guests: folder.join("guests"),
                cgroup: self.options.name.clone(),
                namespace: self.options.name.clone(),
                trusted_ca: Some(self.layout.ca()),
                default_nameserver: DNS.parse().ok(),
                agent: Some(self.options.guest_agent.clone()),
            },
        };
        let file = folder.join("host.json");
        let text = serde_json::to_vec_pretty(&settings)
            .map_err(|error| SandboxError::io("write the host's settings")(error.into()))?;
        private_file(&file, &text)?;
        let daemon = Daemon {
            title: host.name,
            cgroup: self.host_cgroup(host),
            netns: self.namespace.file(),
            etc: self.layout.etc(),
            log: self.layout.log(host.name),
        };
        let argv: Vec<OsString> = self.options.host_command.iter().cloned().chain([file.into()]).collect();
        daemon.ensure(&argv, &[], Duration::from_secs(30), || {
            settings.ca.exists() && self.namespace.accepts(api_address(host))
        })
    }

    fn guests(&self, host: &SimulatedHost) -> Vec<Guest> {
        let folder = self.layout.host(host.name).join("guests");
        let records = nspawn::records(&folder);
        let as_guest = |spec: fedi_sim::backend::GuestSpec| Guest {
            host: host.name.to_owned(),
            addresses: spec.nics.iter().flat_map(|nic| &nic.addresses).map(|net| net.addr().to_string()).collect(),
            running: self.cgroup.child(&format!("guest-{}", spec.uuid)).populated(),
            name: spec.name,
            vmid: spec.vmid,
            uuid: spec.uuid,
        };
        records.into_iter().map(as_guest).collect()
    }
}

/// The name resolution of everything in the sandbox: PowerDNS and nothing else.
pub(crate) fn write_etc(layout: &Layout) -> Result<()> {
    let resolv = format!("nameserver {DNS}\nsearch {OWN_ZONE}\noptions timeout:2 attempts:2\n");
    let nss = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n";
    for (name, text) in [("resolv.conf", resolv.as_str()), ("nsswitch.conf", nss)] {
        let path = layout.etc().join(name);
        // Running processes have it mounted: write it once.
        if !path.exists() {
            private_file(&path, text.as_bytes())?;
        }
    }
    Ok(())
}

/// Runs a step and tells about it.
fn step<T>(report: &dyn Fn(Event), step: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    report(Event::Started(step.to_owned()));
    let begin = Instant::now();
    let value = act()?;
    report(Event::Finished { step: step.to_owned(), took: begin.elapsed() });
    Ok(value)
}

/// Makes `folder/name` a link to `target`, in one step where there was another.
fn link(folder: &Path, name: &OsStr, target: &Path) -> Result<()> {
    private_folder(folder)?;
    let (link, new) = (folder.join(name), folder.join(".new"));
    if fs::read_link(&link).ok().as_deref() == Some(target) {
        return Ok(());
    }
    let made = match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => symlink(target, &new).and_then(|()| fs::rename(&new, &link)),
    };
    made.map_err(SandboxError::io(format!("link `{}`", link.display())))
}

fn title(host: &SimulatedHost) -> String {
    format!("Proxmox VE {} ({})", host.version, host.name)
}

fn api_address(host: &SimulatedHost) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(host.address), host::PORT)
}
