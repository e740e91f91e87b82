//! The recorded requests and answers, as they stand in the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

/// One recorded probe.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) request: Request,
    pub(crate) response: Response,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    pub(crate) raw: Option<Vec<String>>,
    pub(crate) tls: Option<String>,
    pub(crate) repeat: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) body: Value,
    pub(crate) raw: Option<String>,
    pub(crate) events: Vec<(Value, f64)>,
    pub(crate) error: Option<String>,
    pub(crate) second_request: Option<String>,
    pub(crate) requests_answered: Option<u32>,
}

impl Record {
    /// The id without the version in front.
    pub(crate) fn plain_id(&self) -> &str {
        self.id.strip_prefix("8.4/").unwrap_or(&self.id)
    }

    /// The recorded UPID, if the answer is one.
    pub(crate) fn upid(&self) -> Option<&str> {
        self.response.body["data"].as_str().filter(|text| text.starts_with("UPID:"))
    }
}

/// The file, where it is.
pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/pve-recorded.jsonl")
}

/// All records of one version, in recorded order.
pub(crate) fn load(version: &str) -> Option<Vec<Record>> {
    let text = fs::read_to_string(path()).ok()?;
    let records = text.lines().map(|line| serde_json::from_str::<Record>(line).unwrap());
    Some(records.filter(|record| record.version.ends_with(version)).collect())
}
