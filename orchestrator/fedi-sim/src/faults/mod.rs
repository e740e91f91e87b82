//! Faults on request: answers that fail, replies that get lost, workers that die.

mod control;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use control::{Command, CommandReply};
pub(crate) use control::{run as run_command, serve_control};

/// Which requests a fault is for. Empty fields match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestMatch {
    /// `GET`, `POST` ...
    pub method: Option<String>,
    /// A part of the path and query, for example `/qemu/101/status/start` or `/tasks/`.
    pub path: Option<String>,
    /// Matching requests that pass before the fault begins.
    pub skip: u32,
    /// How many requests it then hits; 0 = all.
    pub times: u32,
}

/// What happens instead of, or after, the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum RequestFault {
    /// Answers with this status and reason; the call does not happen.
    Fail {
        /// For example 500, 595 or 596.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// The call happens, then this is answered (596: the operation completed, the client cannot know).
    FailAfter {
        /// For example 596.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// The call happens, the connection ends without an answer.
    DropReply,
    /// The connection ends before anything happens.
    Cut,
    /// Waits before the call.
    Delay {
        /// Milliseconds of simulated time.
        milliseconds: u64,
    },
}

/// A worker that dies (as by SIGKILL) when it reaches a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// Kind of the task: `qmcreate`, `qmdestroy`, `qmstart`, `imgcopy`, `download` ...
    pub task: String,
    /// Only for this VM or object.
    #[serde(default)]
    pub id: Option<String>,
    /// `begin`, `disk-allocated`, `disk-copied`, `before-config`, `config-written`, `end`.
    pub point: String,
}

/// One fault of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// Something that happens to requests.
    Request {
        /// Which ones.
        #[serde(default)]
        on: RequestMatch,
        /// What.
        #[serde(flatten)]
        fault: RequestFault,
    },
    /// A worker that dies once.
    Crash(Crash),
}

/// What the server has to do with one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Injected {
    pub(crate) delay: Option<Duration>,
    pub(crate) cut: bool,
    pub(crate) respond: Option<(u16, String)>,
    pub(crate) drop_reply: bool,
    pub(crate) replace_reply: Option<(u16, String)>,
}

#[derive(Debug, Default)]
struct Script {
    requests: Vec<(RequestMatch, RequestFault, u32)>,
    crashes: Vec<Crash>,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    script: Mutex<Script>,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, fault: Fault) {
        let mut script = self.lock();
        match fault {
            Fault::Request { on, fault } => script.requests.push((on, fault, 0)),
            Fault::Crash(crash) => script.crashes.push(crash),
        }
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Script::default();
    }

    /// Faults for this request; counts it.
    pub(crate) fn request(&self, method: &str, path: &str, query: Option<&str>) -> Option<Injected> {
        let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let mut script = self.lock();
        let mut injected = Injected::default();
        let mut any = false;
        script.requests.retain_mut(|(on, fault, seen)| {
            let fits = on.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && on.path.as_deref().is_none_or(|part| target.contains(part));
            if !fits {
                return true;
            }
            *seen += 1;
            if *seen <= on.skip {
                return true;
            }
            any = true;
            match fault.clone() {
                RequestFault::Fail { status, reason } => injected.respond = Some((status, reason)),
                RequestFault::FailAfter { status, reason } => {
                    injected.replace_reply = Some((status, reason));
                }
                RequestFault::DropReply => injected.drop_reply = true,
                RequestFault::Cut => injected.cut = true,
                RequestFault::Delay { milliseconds } => {
                    injected.delay = Some(Duration::from_millis(milliseconds));
                }
            }
            on.times == 0 || *seen < on.skip + on.times
        });
        any.then_some(injected)
    }

    /// Whether a worker is to die here; true at most once for each scripted crash.
    pub(crate) fn crashes(&self, task: &str, id: &str, point: &str) -> bool {
        let mut script = self.lock();
        let found = script.crashes.iter().position(|crash| {
            crash.task == task && crash.point == point && crash.id.as_deref().is_none_or(|wanted| wanted == id)
        });
        found.map(|index| script.crashes.remove(index)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_the_requests_it_is_meant_for() {
        let faults = Faults::default();
        faults.add(Fault::Request {
            on: RequestMatch { method: Some("POST".to_owned()), path: Some("/qemu".to_owned()), skip: 1, times: 1 },
            fault: RequestFault::DropReply,
        });
        let hit = |method: &str| faults.request(method, "/nodes/pve/qemu", None).is_some();
        assert!(!hit("GET") && !hit("POST"));
        assert!(hit("POST"));
        assert!(!hit("POST"));
    }

    #[test]
    fn faults_are_read_from_a_script() {
        let text = r#"[{"kind": "request", "on": {"path": "/tasks/"}, "do": "fail", "status": 596, "reason": "Broken pipe"},
                       {"kind": "crash", "task": "qmcreate", "point": "disk-allocated"}]"#;
        let faults: Vec<Fault> = serde_json::from_str(text).unwrap();
        assert_eq!(faults.len(), 2);
    }
}
