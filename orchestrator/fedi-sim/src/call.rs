//! One API call on its way through the handlers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::access::Path;
use crate::error::{ApiError, ApiResult};
use crate::sim::Sim;
use crate::state::State;

/// What a handler needs to know of a call.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) sim: Arc<Sim>,
    /// `user@realm` or `user@realm!token`; empty where no login is needed.
    pub(crate) user: String,
    /// The node the call acts on.
    pub(crate) node: String,
    pub(crate) params: Params,
}

/// What a handler answers.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) data: Value,
    pub(crate) total: Option<usize>,
}

impl Reply {
    pub(crate) fn null() -> Self {
        Self::default()
    }
}

impl From<Value> for Reply {
    fn from(data: Value) -> Self {
        Self { data, total: None }
    }
}

impl From<String> for Reply {
    fn from(data: String) -> Self {
        Value::from(data).into()
    }
}

/// Parameters by name, from path, query and body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(pub(crate) BTreeMap<String, Value>);

/// A value as Perl would print it.
pub(crate) fn perl_string(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "1".to_owned(),
        Value::Bool(false) => "0".to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Params {
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_null()).map(perl_string)
    }

    /// A parameter the schema demands; empty when the schema let it be absent after all.
    pub(crate) fn need(&self, name: &str) -> String {
        self.text(name).unwrap_or_default()
    }

    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| !matches!(text.as_str(), "" | "0"))
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.flag(name).unwrap_or(false)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_null()).map(|value| perl_string(&value))
    }

    pub(crate) fn take_flag(&mut self, name: &str) -> bool {
        self.take(name).is_some_and(|text| !matches!(text.as_str(), "" | "0"))
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.text(name).map(|text| split_list(&text)).unwrap_or_default()
    }
}

/// PVE's list syntax: commas, semicolons, white space and zero bytes all divide.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split([',', ';', ' ', '\t', '\n', '\r', '\0']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

impl Call {
    pub(crate) fn vmid(&self) -> u32 {
        self.params.need("vmid").parse().unwrap_or(0)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.user == "root@pam"
    }

    /// Refuses unless all of `privileges` are held on `path`.
    pub(crate) fn require(&self, state: &State, path: &Path, privileges: &[&str]) -> ApiResult<()> {
        state.access.require(self.sim.version, &self.user, path, privileges)
    }

    pub(crate) fn require_any(&self, state: &State, path: &Path, privileges: &[&str]) -> ApiResult<()> {
        state.access.require_any(self.sim.version, &self.user, path, privileges)
    }

    pub(crate) fn allows(&self, state: &State, path: &Path, privileges: &[&str]) -> bool {
        state.access.allows(self.sim.version, &self.user, path, privileges)
    }

    /// A parameter that only `root@pam` itself may use.
    pub(crate) fn root_only(&self, name: &str) -> ApiResult<bool> {
        let set = self.params.is_set(name);
        if set && !self.is_root() {
            return Err(ApiError::param(name, "Only root may use this option."));
        }
        Ok(set)
    }

    /// Changes `user.cfg` under its cluster-wide lock.
    pub(crate) async fn change_access<T>(
        &self,
        failure: &str,
        change: impl FnOnce(&mut State) -> ApiResult<T>,
    ) -> ApiResult<T> {
        if !self.sim.read().quorate {
            self.sim.clock.sleep(Duration::from_millis(9920)).await;
            return Err(ApiError::die(format!("{failure}: cfs-lock 'file-user_cfg' error: no quorum!")));
        }
        change(&mut self.sim.write()).map_err(|error| error.prefixed(&format!("{failure}: ")))
    }
}
