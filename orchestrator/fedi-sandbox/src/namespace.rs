//! The network namespace: one bridge, the addresses of every server, and no route out.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::output;
use crate::topology::{BRIDGE, BRIDGE_ADDRESSES};
use crate::{Result, SandboxError};

/// A network namespace with a name, as `ip netns` keeps them.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// The file that holds it.
    pub(crate) fn file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    pub(crate) fn exists(&self) -> bool {
        self.file().exists()
    }

    /// Makes it, with everything on it. What is there stays.
    pub(crate) fn ensure(&self) -> Result<()> {
        if !self.exists() {
            output("create the network namespace", "ip", ["netns", "add", &self.name])?;
        }
        let ip = |what: &str, args: &[&str]| output(what, "ip", ["-n", &self.name].iter().chain(args)).map(drop);
        ip("bring up the loopback", &["link", "set", "lo", "up"])?;
        if output("look for the bridge", "ip", ["-n", &self.name, "link", "show", BRIDGE]).is_err() {
            // A fixed hardware address: without one the bridge takes the lowest of its ports', and every
            // guest that comes or goes would stale the neighbours' caches.
            ip(
                "create the bridge",
                &["link", "add", BRIDGE, "address", "02:fe:d1:00:00:01", "type", "bridge", "forward_delay", "0"],
            )?;
        }
        for address in BRIDGE_ADDRESSES {
            let mut args = vec!["address", "replace", address, "dev", BRIDGE];
            args.extend(address.contains(':').then_some("nodad"));
            ip("give the bridge its addresses", &args)?;
        }
        ip("bring up the bridge", &["link", "set", BRIDGE, "up"])?;
        self.inside(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
        })
        .map_err(SandboxError::io("let the bridge forward"))
    }

    /// Removes it with every interface in it. No error when there is none.
    pub(crate) fn remove(&self) -> Result<()> {
        if self.exists() {
            output("remove the network namespace", "ip", ["netns", "delete", &self.name])?;
        }
        Ok(())
    }

    /// Removes an interface and waits until it is gone. No error when there is none.
    pub(crate) fn remove_link(&self, link: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if !self.exists() || !self.has_link(link)? {
                return Ok(());
            }
            // It vanishes by itself with the guest's namespace, perhaps just now.
            let _ = output("remove an interface", "ip", ["-n", &self.name, "link", "delete", link]);
            if Instant::now() > deadline {
                return Err(SandboxError::Leftover(format!("the interface `{link}`")));
            }
            sleep(Duration::from_millis(10));
        }
    }

    fn has_link(&self, link: &str) -> Result<bool> {
        let links = output("list the interfaces", "ip", ["-n", &self.name, "-oneline", "link", "show"])?;
        Ok(links.lines().any(|line| line.split([':', '@', ' ']).any(|word| word == link)))
    }

    /// Runs a function on a thread that is inside the namespace.
    pub(crate) fn inside<T, F>(&self, act: F) -> io::Result<T>
    where
        T: Send,
        F: FnOnce() -> io::Result<T> + Send,
    {
        let file = File::open(self.file())?;
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                act()
            });
            worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
        })
    }

    /// Whether something accepts TCP connections at an address of the namespace.
    pub(crate) fn accepts(&self, address: SocketAddr) -> bool {
        self.inside(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop)).is_ok()
    }
}
