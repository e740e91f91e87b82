//! The guest agent inside a VM.
//!
//! Each call first pings the agent, for up to 3 seconds, in one of Proxmox's few workers: ask seldom while it may
//! not answer yet ([`crate::State::AgentSilent`]).

use std::net::IpAddr;

use proxmox_schema::Method;
use serde::Deserialize;
use serde_json::Value;

use super::Vm;
use crate::class::{Class, Missing, State};
use crate::error::{Error, absent};
use crate::lenient;
use crate::request::{Parameters, Request};

/// What can be asked of a guest agent.
pub trait GuestRequest: Sync {
    const METHOD: Method;
    type Answer: serde::de::DeserializeOwned;

    fn template(&self) -> &'static str;

    fn parameters(&self) -> Parameters {
        Parameters::new()
    }
}

/// A request to the agent of one VM.
#[derive(Clone, Debug)]
pub struct AgentRequest<'a, G> {
    pub node: &'a str,
    pub vmid: u32,
    pub request: G,
}

impl<G: GuestRequest> Request for AgentRequest<'_, G> {
    const METHOD: Method = G::METHOD;
    type Answer = G::Answer;

    fn template(&self) -> &'static str {
        self.request.template()
    }

    fn placeholders(&self) -> Vec<String> {
        vec![self.node.to_owned(), self.vmid.to_string()]
    }

    fn parameters(&self) -> Parameters {
        self.request.parameters()
    }
}

/// Most answers lie in a `result`.
#[derive(Deserialize)]
#[serde(bound = "T: serde::de::DeserializeOwned")]
pub(super) struct Wrapped<T> {
    result: T,
}

pub(super) struct Ping;

impl GuestRequest for Ping {
    const METHOD: Method = Method::Post;
    type Answer = Value;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/agent/ping"
    }
}

pub(super) struct Interfaces;

impl GuestRequest for Interfaces {
    const METHOD: Method = Method::Get;
    type Answer = Wrapped<Vec<GuestInterface>>;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces"
    }
}

/// A network interface as the guest sees it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct GuestInterface {
    pub name: String,
    #[serde(rename = "hardware-address", default)]
    pub mac: Option<String>,
    #[serde(rename = "ip-addresses", default)]
    addresses: Vec<GuestAddress>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
struct GuestAddress {
    #[serde(rename = "ip-address")]
    address: String,
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    prefix: Option<u8>,
}

impl GuestInterface {
    /// The addresses with the length of their prefixes; link-local ones too.
    pub fn addresses(&self) -> Vec<(IpAddr, Option<u8>)> {
        let read = |address: &GuestAddress| Some((address.address.parse().ok()?, address.prefix));
        self.addresses.iter().filter_map(read).collect()
    }
}

pub(super) struct ReadFile<'a> {
    pub(super) path: &'a str,
}

/// What was read of a file of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFile {
    pub content: Vec<u8>,
    /// There is more than the 16 MiB that Proxmox reads.
    pub truncated: bool,
}

impl<'de> Deserialize<'de> for GuestFile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            content: String,
            #[serde(default, deserialize_with = "lenient::flag")]
            truncated: bool,
        }
        let Answer { content, truncated } = Answer::deserialize(deserializer)?;
        Ok(Self { content: bytes_of(&content), truncated })
    }
}

/// Proxmox writes each byte of a file as the character of that number.
fn bytes_of(text: &str) -> Vec<u8> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(|c| u8::try_from(u32::from(c))).collect();
    bytes.unwrap_or_else(|_| text.as_bytes().to_vec())
}

impl GuestRequest for ReadFile<'_> {
    const METHOD: Method = Method::Get;
    type Answer = GuestFile;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/agent/file-read"
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("file", self.path)
    }
}

pub(super) struct Exec<'a> {
    pub(super) command: &'a [&'a str],
    pub(super) input: Option<&'a str>,
}

#[derive(Deserialize)]
pub(super) struct Started {
    #[serde(deserialize_with = "lenient::integer")]
    pid: u32,
}

impl GuestRequest for Exec<'_> {
    const METHOD: Method = Method::Post;
    type Answer = Started;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/agent/exec"
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("command", self.command.to_vec()).with_some("input-data", self.input)
    }
}

pub(super) struct GetExecStatus {
    pub(super) pid: u32,
}

/// How far a command in a guest is. Its output comes with its end.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ExecStatus {
    #[serde(deserialize_with = "lenient::flag")]
    pub exited: bool,
    #[serde(rename = "exitcode", default, deserialize_with = "lenient::maybe_integer")]
    pub exit_code: Option<i32>,
    #[serde(default, deserialize_with = "lenient::maybe_integer")]
    pub signal: Option<i32>,
    #[serde(rename = "out-data", default)]
    pub output: String,
    #[serde(rename = "err-data", default)]
    pub error_output: String,
}

impl GuestRequest for GetExecStatus {
    const METHOD: Method = Method::Get;
    type Answer = ExecStatus;

    fn template(&self) -> &'static str {
        "/nodes/{node}/qemu/{vmid}/agent/exec-status"
    }

    fn parameters(&self) -> Parameters {
        Parameters::new().with("pid", self.pid)
    }
}

impl Vm {
    async fn ask_guest<G: GuestRequest>(&self, request: G) -> Result<G::Answer, Error> {
        self.client.send(&AgentRequest { node: &self.node, vmid: self.vmid, request }).await
    }

    /// Whether the agent answers. Only what will not change by waiting is an error: no agent configured, no right.
    pub async fn agent_answers(&self) -> Result<bool, Error> {
        match self.ask_guest(Ping).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.class(), Class::State(State::AgentSilent | State::Stopped)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub async fn guest_interfaces(&self) -> Result<Vec<GuestInterface>, Error> {
        self.ask_guest(Interfaces).await.map(|answer| answer.result)
    }

    /// A file of the guest, or nothing if it is not there.
    pub async fn read_guest_file(&self, path: &str) -> Result<Option<GuestFile>, Error> {
        absent(self.ask_guest(ReadFile { path }).await, Missing::File)
    }

    /// Starts a command in the guest and returns its pid there.
    pub async fn guest_exec(&self, command: &[&str], input: Option<&str>) -> Result<u32, Error> {
        self.ask_guest(Exec { command, input }).await.map(|started| started.pid)
    }

    /// How far it is. Asking for it after its end was told is an error: the agent forgets it.
    pub async fn guest_exec_status(&self, pid: u32) -> Result<ExecStatus, Error> {
        self.ask_guest(GetExecStatus { pid }).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn interfaces_are_read() {
        let answer: Wrapped<Vec<GuestInterface>> = serde_json::from_value(json!({"result": [
            {"name": "lo"},
            {"name": "eth0", "hardware-address": "bc:24:11:00:00:01", "ip-addresses": [
                {"ip-address": "10.0.0.11", "ip-address-type": "ipv4", "prefix": 24},
                {"ip-address": "fe80::1%eth0", "ip-address-type": "ipv6", "prefix": "64"},
            ]},
        ]}))
        .unwrap();
        assert_eq!(answer.result[1].addresses(), [("10.0.0.11".parse().unwrap(), Some(24))]);
    }

    #[test]
    fn a_file_is_bytes() {
        let file: GuestFile = serde_json::from_value(json!({"content": "Ã¼\n", "truncated": 0})).unwrap();
        assert_eq!(file.content, "ü\n".as_bytes());
        let file: GuestFile = serde_json::from_value(json!({"content": "日"})).unwrap();
        assert_eq!(file.content, "日".as_bytes(), "should Proxmox ever decode it");
    }

    #[test]
    fn a_command_is_followed() {
        let status: ExecStatus =
            serde_json::from_value(json!({"exited": 1, "exitcode": "3", "out-data": "out\n"})).unwrap();
        assert!(status.exited);
        assert_eq!((status.exit_code, status.output.as_str()), (Some(3), "out\n"));
        let status: ExecStatus = serde_json::from_value(json!({"exited": 0})).unwrap();
        assert!(!status.exited);
    }
}
