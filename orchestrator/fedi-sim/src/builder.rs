//! Putting a simulator together and starting it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, UnixListener};
use uuid::Uuid;

use crate::access::{AclEntry, SecretHash, Subject, Token};
use crate::backend::{GuestBackend, ModelBackend, ModelSettings};
use crate::clock::Clock;
use crate::cluster::{Daemon, Node, Proxied};
use crate::config::{
    AclConfig, NodeConfig, PoolConfig, RoleConfig, SimConfig, StorageSetup, TimingConfig, TokenConfig, UserConfig,
};
use crate::faults::{Fault, serve_control};
use crate::handle::SimHandle;
use crate::http::{self, Limits, ServerIdentity};
use crate::sim::{Sim, Tuning};
use crate::state::State;
use crate::storage::StorageConfig;
use crate::version::Version;
use crate::{persist, tasks};

/// A simulator that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or socket.
    #[error("Failed to {what}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(String),
}

fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    |source| StartError::Io { what, source }
}

/// Describes a cluster and starts it.
pub struct SimBuilder {
    config: SimConfig,
    clock: Option<Clock>,
    backend: Option<Arc<dyn GuestBackend>>,
    model: ModelSettings,
    limits: Limits,
    tuning: Option<Tuning>,
    directory: Option<PathBuf>,
    listen: Option<SocketAddr>,
    control: Option<PathBuf>,
}

impl SimBuilder {
    /// A cluster of the given version with nothing in it.
    pub fn new(version: Version) -> Self {
        Self::from_config(SimConfig {
            version,
            nodes: Vec::new(),
            storages: Vec::new(),
            pools: Vec::new(),
            users: Vec::new(),
            tokens: Vec::new(),
            roles: Vec::new(),
            acls: Vec::new(),
            faults: Vec::new(),
            timing: TimingConfig::default(),
            seed: 0,
        })
    }

    /// The cluster of a configuration file.
    pub fn from_config(config: SimConfig) -> Self {
        Self {
            config,
            clock: None,
            backend: None,
            model: ModelSettings::default(),
            limits: Limits::default(),
            tuning: None,
            directory: None,
            listen: None,
            control: None,
        }
    }

    /// Adds a node; without any there is one called `pve`.
    #[must_use]
    pub fn node(mut self, node: NodeConfig) -> Self {
        self.config.nodes.push(node);
        self
    }

    /// Adds nodes with everything as usual.
    #[must_use]
    pub fn nodes(mut self, names: &[&str]) -> Self {
        self.config.nodes.extend(names.iter().map(|name| NodeConfig::new(name)));
        self
    }

    /// Adds a storage.
    #[must_use]
    pub fn storage(mut self, storage: StorageSetup) -> Self {
        self.config.storages.push(storage);
        self
    }

    /// Adds a pool.
    #[must_use]
    pub fn pool(mut self, id: &str) -> Self {
        self.config.pools.push(PoolConfig { id: id.to_owned() });
        self
    }

    /// Adds a user with a password.
    #[must_use]
    pub fn user(mut self, id: &str, password: &str) -> Self {
        self.config.users.push(UserConfig {
            id: id.to_owned(),
            enabled: true,
            password_file: None,
            password: Some(password.to_owned()),
        });
        self
    }

    /// Adds a user that may not log in.
    #[must_use]
    pub fn disabled_user(mut self, id: &str, password: &str) -> Self {
        self = self.user(id, password);
        if let Some(user) = self.config.users.last_mut() {
            user.enabled = false;
        }
        self
    }

    /// Adds a token; its secret is drawn, see [`SimHandle::token`]. Its user is added if need be.
    #[must_use]
    pub fn token(self, id: &str, privsep: bool) -> Self {
        self.expiring_token(id, privsep, 0)
    }

    /// Adds a token that ends at a time (seconds since 1970).
    #[must_use]
    pub fn expiring_token(mut self, id: &str, privsep: bool, expire: u64) -> Self {
        let id = id.to_owned();
        self.config.tokens.push(TokenConfig { id, privsep, expire, secret_file: None, secret: None });
        self
    }

    /// Adds a role.
    #[must_use]
    pub fn role(mut self, id: &str, privileges: &[&str]) -> Self {
        let privileges = privileges.iter().map(|name| (*name).to_owned()).collect();
        self.config.roles.push(RoleConfig { id: id.to_owned(), privileges });
        self
    }

    /// Gives a user or token a role on a path and below.
    #[must_use]
    pub fn acl(mut self, path: &str, who: &str, role: &str) -> Self {
        let mut acl = AclConfig { path: path.to_owned(), role: role.to_owned(), ..AclConfig::default() };
        if who.contains('!') {
            acl.token = Some(who.to_owned());
        } else {
            acl.user = Some(who.to_owned());
        }
        self.config.acls.push(acl);
        self
    }

    /// The clock; real time without it.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The backend; guests without a process without it.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn GuestBackend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// How guests without a process behave.
    #[must_use]
    pub fn guests(mut self, settings: ModelSettings) -> Self {
        self.model = settings;
        self
    }

    /// Limits on connections.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long things take.
    #[must_use]
    pub fn tuning(mut self, tuning: Tuning) -> Self {
        self.tuning = Some(tuning);
        self
    }

    /// A fault in force from the start.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.config.faults.push(fault);
        self
    }

    /// Seed of everything random.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = seed;
        self
    }

    /// Keeps everything in a directory, and goes on from what is there.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Where the first node's API listens; a free port on the loopback without it.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// A Unix socket for commands, see [`crate::faults::Command`].
    #[must_use]
    pub fn control_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.control = Some(path.into());
        self
    }

    /// Starts the simulator.
    ///
    /// # Errors
    ///
    /// When a listener, file or rule of the configuration cannot be had.
    pub async fn start(mut self) -> Result<SimHandle, StartError> {
        if self.config.nodes.is_empty() {
            self.config.nodes.push(NodeConfig::new("pve"));
        }
        let temporary = match &self.directory {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(doing("make a temporary directory"))?),
        };
        let directory = match (&self.directory, &temporary) {
            (Some(directory), _) => directory.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => PathBuf::new(),
        };
        make_private(&directory)?;
        let clock = self.clock.clone().unwrap_or_else(|| Clock::scaled(self.config.timing.speed));
        let version = self.config.version;
        let names = certificate_names(&self.config);
        let kept = self.directory.as_deref();
        let identity = ServerIdentity::load_or_make(kept, &names, &self.config.nodes[0].name)
            .map_err(doing("make the certificates"))?;
        let random = Sim::seeded(self.config.seed);
        let sim = Arc::new(Sim {
            version,
            schema: Sim::schema_for(version),
            tuning: Mutex::new(self.tuning.clone().unwrap_or_else(|| self.config.timing.tuning())),
            backend: self
                .backend
                .clone()
                .unwrap_or_else(|| Arc::new(ModelBackend::new(self.model.clone()).on(clock.clone()))),
            clock,
            locks: crate::locks::Locks::default(),
            workers: tasks::Workers::default(),
            copies: crate::storage::Copies::default(),
            faults: crate::faults::Faults::default(),
            traffic: crate::traffic::Traffic::default(),
            limits: self.limits.clone(),
            identity,
            directory: directory.clone(),
            persistent: self.directory.is_some(),
            agent: Mutex::default(),
            stopped: false.into(),
            state: Mutex::new(State::default()),
            random,
        });
        let secrets = self.fill(&sim, &directory)?;
        for fault in self.config.faults.drain(..) {
            sim.faults.add(fault);
        }
        self.serve(sim, secrets, temporary).await
    }

    async fn serve(
        self,
        sim: Arc<Sim>,
        secrets: BTreeMap<String, String>,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<SimHandle, StartError> {
        let mut servers = Vec::new();
        let mut addresses = BTreeMap::new();
        let mut first = None;
        for (index, node) in self.config.nodes.iter().enumerate() {
            let wanted = if index == 0 { self.listen.or(node.listen) } else { node.listen };
            let wanted = wanted.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
            let listener = TcpListener::bind(wanted).await.map_err(doing(format!("listen on {wanted}")))?;
            let address = http::local_address(&listener).map_err(doing("find the port"))?;
            first.get_or_insert(address);
            addresses.insert(node.name.clone(), address);
            servers.push(tokio::spawn(http::serve(sim.clone(), node.name.clone(), listener)));
        }
        if let Some(path) = &self.control {
            if path.exists() {
                fs::remove_file(path).map_err(doing("remove the old control socket"))?;
            }
            let listener = UnixListener::bind(path).map_err(doing("open the control socket"))?;
            servers.push(tokio::spawn(serve_control(sim.clone(), listener)));
        }
        let first = first.ok_or_else(|| StartError::Config("A cluster needs a node".to_owned()))?;
        Ok(SimHandle::new(sim, first, addresses, secrets, servers, temporary))
    }

    /// Makes the state from the configuration, over what was saved. Returns the tokens' secrets.
    fn fill(&self, sim: &Sim, directory: &Path) -> Result<BTreeMap<String, String>, StartError> {
        let saved = match &self.directory {
            Some(_) => persist::load(directory).map_err(doing("read the saved state"))?,
            None => None,
        };
        let now = sim.clock.now();
        let mut state = saved.unwrap_or_else(|| State {
            quorate: true,
            ticket_key: sim.random_uuid().to_string(),
            booted: now,
            next_pid: 1000,
            ..State::default()
        });
        tasks::reap_orphans(&mut state.tasks, now.as_secs());
        for node in &self.config.nodes {
            if state.node(&node.name).is_none() {
                state.nodes.push(made_node(node));
            }
        }
        for storage in &self.config.storages {
            if state.storage(&storage.id).is_none() {
                state.storages.push(made_storage(storage));
            }
        }
        let secrets = self.fill_access(sim, &mut state)?;
        *sim.write() = state;
        Ok(secrets)
    }

    fn fill_access(&self, sim: &Sim, state: &mut State) -> Result<BTreeMap<String, String>, StartError> {
        let access = &mut state.access;
        access.users.entry("root@pam".to_owned()).or_default();
        for pool in &self.config.pools {
            access.pools.entry(pool.id.clone()).or_default();
        }
        for role in &self.config.roles {
            access.roles.entry(role.id.clone()).or_insert_with(|| role.privileges.iter().cloned().collect());
        }
        for config in &self.config.users {
            let password = match (&config.password, &config.password_file) {
                (Some(password), _) => Some(password.clone()),
                (None, Some(file)) => Some(read_secret(file)?),
                (None, None) => None,
            };
            let user = access.users.entry(config.id.clone()).or_default();
            user.enable = config.enabled;
            user.password = password.map(|password| SecretHash::of(&password));
        }
        let mut secrets = BTreeMap::new();
        // Secrets that were drawn stay the same at the next start.
        let kept = self.directory.as_ref().map(|directory| directory.join("secrets"));
        if let Some(kept) = &kept {
            make_private(kept)?;
        }
        for config in &self.config.tokens {
            let (owner, name) = config
                .id
                .split_once('!')
                .ok_or_else(|| StartError::Config(format!("`{}` is no token id", config.id)))?;
            let file = config.secret_file.clone().or_else(|| Some(kept.as_ref()?.join(&config.id)));
            let secret = match (&config.secret, &file) {
                (Some(secret), _) => secret.clone(),
                (None, Some(file)) if file.exists() => read_secret(file)?,
                (None, file) => {
                    let secret = sim.random_uuid().to_string();
                    if let Some(file) = file {
                        write_secret(file, &secret)?;
                    }
                    secret
                }
            };
            let token = Token {
                privsep: config.privsep,
                expire: config.expire,
                comment: None,
                secret: SecretHash::of(&secret),
            };
            access.users.entry(owner.to_owned()).or_default().tokens.insert(name.to_owned(), token);
            secrets.insert(config.id.clone(), secret);
        }
        for config in &self.config.acls {
            let entry = made_acl(config)?;
            if !access.acl.contains(&entry) {
                access.acl.push(entry);
            }
        }
        Ok(secrets)
    }
}

fn made_node(config: &NodeConfig) -> Node {
    Node {
        name: config.name.clone(),
        ip: config.ip.clone(),
        link: Proxied::Reachable,
        pvedaemon: Daemon::Running,
        cpus: config.cpus,
        memory: config.memory_gib << 30,
        bridges: config.bridges.clone(),
    }
}

fn made_storage(config: &StorageSetup) -> StorageConfig {
    let on_files = config.path.is_some();
    StorageConfig {
        id: config.id.clone(),
        kind: config.kind.clone(),
        path: config.path.clone().filter(|_| on_files),
        content: config.content.clone(),
        disabled: config.disabled,
        shared: config.shared,
        nodes: config.nodes.clone(),
        total: config.size_mib << 20,
        occupied: 0,
        thin: config.kind != "lvm",
    }
}

fn made_acl(config: &AclConfig) -> Result<AclEntry, StartError> {
    let (subject, ugid) = match (&config.user, &config.group, &config.token) {
        (Some(user), None, None) => (Subject::User, user),
        (None, Some(group), None) => (Subject::Group, group),
        (None, None, Some(token)) => (Subject::Token, token),
        _ => {
            let text = format!("The rule for `{}` needs exactly one of user, group and token", config.path);
            return Err(StartError::Config(text));
        }
    };
    Ok(AclEntry {
        path: config.path.clone(),
        subject,
        ugid: ugid.clone(),
        role: config.role.clone(),
        propagate: !config.no_propagate,
    })
}

fn certificate_names(config: &SimConfig) -> Vec<String> {
    let mut names = vec!["127.0.0.1".to_owned(), "::1".to_owned(), "localhost".to_owned()];
    for node in &config.nodes {
        names.push(node.name.clone());
        names.push(node.ip.clone());
        names.extend(node.listen.map(|address| address.ip().to_string()));
    }
    names.sort();
    names.dedup();
    names
}

fn make_private(directory: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(doing(format!("make the directory {}", directory.display())))
}

fn read_secret(file: &Path) -> Result<String, StartError> {
    let text = fs::read_to_string(file).map_err(doing(format!("read {}", file.display())))?;
    Ok(text.trim().to_owned())
}

fn write_secret(file: &Path, secret: &str) -> Result<(), StartError> {
    let what = format!("write {}", file.display());
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.map_err(doing(what.clone()))?;
    writeln!(opened, "{secret}").map_err(doing(what))
}

/// The uuid of a VM as a backend knows it.
pub(crate) fn uuid_of(sim: &Sim, vmid: u32) -> Option<Uuid> {
    sim.read().vms.get(&vmid).map(crate::qemu::Vm::uuid)
}
