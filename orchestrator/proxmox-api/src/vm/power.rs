//! The state of a VM, and what changes it or ends it.

use proxmox_schema::{Method, Upid};
use serde::Deserialize;

use crate::lenient;
use crate::request::{Parameters, Request};

/// `GET /nodes/{node}/qemu/{vmid}/status/current`
#[derive(Clone, Debug)]
pub struct GetVmStatus<'a> {
    pub node: &'a str,
    pub vmid: u32,
}

/// The state of a VM.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct VmStatus {
    /// `running` or `stopped`.
    pub status: String,
    /// What QEMU says: also `paused`, `prelaunch` and others.
    #[serde(rename = "qmpstatus", default)]
    pub qemu: Option<String>,
    #[serde(default)]
    pub lock: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    /// Seconds.
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    pub uptime: Option<u64>,
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    pub pid: Option<u32>,
}

impl VmStatus {
    /// Whether there is a process, paused or not.
    pub fn is_running(&self) -> bool {
        self.status == "running"
    }
}

impl Request for GetVmStatus<'_> {
    const METHOD: Method = Method::Get;
    type Answer = VmStatus;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/status/current"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.vmid.to_string()]
    }
}

/// What to do with a VM's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    Start,
    /// Pulls the plug.
    Stop,
    /// Asks the guest; after this many seconds gives up, or pulls the plug.
    Shutdown {
        seconds: u32,
        then_stop: bool,
    },
    /// Asks the guest, and gives up after this many seconds.
    Reboot {
        seconds: u32,
    },
}

/// `POST /nodes/{node}/qemu/{vmid}/status/{start,stop,shutdown,reboot}`
#[derive(Clone, Debug)]
pub struct SetPower<'a> {
    pub node: &'a str,
    pub vmid: u32,
    pub power: Power,
}

impl Request for SetPower<'_> {
    const METHOD: Method = Method::Post;
    type Answer = Upid;

    fn template(&self) -> &'static str {
        match self.power {
            Power::Start => "/nodes/{node}/qemu/{vmid}/status/start",
            Power::Stop => "/nodes/{node}/qemu/{vmid}/status/stop",
            Power::Shutdown { .. } => "/nodes/{node}/qemu/{vmid}/status/shutdown",
            Power::Reboot { .. } => "/nodes/{node}/qemu/{vmid}/status/reboot",
        }
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.vmid.to_string()]
    }

    fn parameters(&self) -> Parameters {
        match self.power {
            Power::Start | Power::Stop => Parameters::new(),
            Power::Shutdown { seconds, then_stop } => {
                Parameters::new().with("timeout", seconds).with_flag("forceStop", then_stop)
            }
            Power::Reboot { seconds } => Parameters::new().with("timeout", seconds),
        }
    }
}

/// `DELETE /nodes/{node}/qemu/{vmid}`: with what other places say of the VM, but without disks that only bear its id.
#[derive(Clone, Debug)]
pub struct DestroyVm<'a> {
    pub node: &'a str,
    pub vmid: u32,
}

impl Request for DestroyVm<'_> {
    const METHOD: Method = Method::Delete;
    type Answer = Upid;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.vmid.to_string()]
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("purge", true).with("destroy-unreferenced-disks", false)
    }
}

/// `PUT /nodes/{node}/qemu/{vmid}/resize`
#[derive(Clone, Debug)]
pub struct ResizeDisk<'a> {
    pub node: &'a str,
    pub vmid: u32,
    /// Such as `scsi1`.
    pub disk: &'a str,
    /// The new size.
    pub gib: u32,
    pub digest: Option<&'a str>,
}

impl Request for ResizeDisk<'_> {
    const METHOD: Method = Method::Put;
    type Answer = Upid;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/resize"
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.vmid.to_string()]
    }

    fn parameters(&self) -> Parameters {
        Parameters::new()
            .with("disk", self.disk)
            .with("size", format!("{}G", self.gib))
            .with_some("digest", self.digest)
    }
}
