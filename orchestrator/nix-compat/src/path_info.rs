//! What a store knows of a path: `nix path-info --json`, whose form has changed
//! twice (a list to Nix 2.18, a map by path since, a map by base name in format 2).

use serde_json::Value;

use crate::error::NixError;
use crate::nix::{Nix, Watch};
use crate::store_path::StorePath;

/// A path in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// Its own size as an archive, in bytes.
    pub size: u64,
    /// The size of all that it needs, itself included, in bytes.
    pub closure_size: u64,
    /// What it refers to.
    pub references: Vec<StorePath>,
}

impl Nix {
    /// What the store knows of a path; `None` where it is not there.
    pub async fn path_info(&self, path: &StorePath, watch: Watch<'_>) -> Result<Option<PathInfo>, NixError> {
        let all = self.path_infos(path, false, watch).await?;
        Ok(all.into_iter().flatten().find(|info| info.path == *path))
    }

    /// All that a path needs, itself included.
    pub async fn closure(&self, path: &StorePath, watch: Watch<'_>) -> Result<Vec<PathInfo>, NixError> {
        let all = self.path_infos(path, true, watch).await?;
        all.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| NixError::Failed {
            what: format!("nix path-info {path}"),
            message: "the path is not in the store".to_owned(),
        })
    }

    async fn path_infos(
        &self,
        path: &StorePath,
        recursive: bool,
        mut watch: Watch<'_>,
    ) -> Result<Vec<Option<PathInfo>>, NixError> {
        let version = self.version().await?;
        let mut command = self.command(["path-info"]);
        command.args(["--json", "--closure-size"]);
        if version.has_json_format() {
            command.args(["--json-format", "1"]);
        }
        if recursive {
            command.arg("--recursive");
        }
        command.arg(path.as_str());
        let (finished, log) = self.run(command, &mut watch).await?;
        let what = || format!("nix path-info {path}");
        if !finished.status.success() {
            let message = log.message();
            // The words of every version for a path that is not there.
            let absent = ["is not valid", "don't know how to build", "does not exist", "is required, but"];
            if absent.iter().any(|words| message.contains(words)) {
                return Ok(vec![None]);
            }
            return Err(NixError::Failed { what: what(), message });
        }
        let answer: Value = serde_json::from_slice(&finished.stdout)
            .map_err(|error| NixError::Answer { what: what(), message: error.to_string() })?;
        read(&answer, path.store()).ok_or_else(|| NixError::Answer {
            what: what(),
            message: "it has none of the forms that are known".to_owned(),
        })
    }
}

/// Reads all three forms. An entry without a value is a path that is not there.
fn read(answer: &Value, store: &str) -> Option<Vec<Option<PathInfo>>> {
    if let Some(list) = answer.as_array() {
        return list.iter().map(|entry| one(entry.get("path")?.as_str()?, entry, store)).collect();
    }
    let map = match answer.get("info") {
        Some(info) => info.as_object()?,
        None => answer.as_object()?,
    };
    // Format 1 has `storeDir` among the paths.
    let entries = map.iter().filter(|(key, _)| *key != "storeDir" && *key != "version");
    entries.map(|(path, entry)| one(path, entry, store)).collect()
}

/// `None`: unreadable. `Some(None)`: not in the store.
#[allow(clippy::option_option, reason = "the outer one is for `collect`")]
fn one(path: &str, entry: &Value, store: &str) -> Option<Option<PathInfo>> {
    let path = StorePath::parse_in(path, store).ok()?;
    if entry.is_null() || entry.get("valid") == Some(&Value::Bool(false)) {
        return Some(None);
    }
    let number = |key: &str| entry.get(key).and_then(Value::as_u64);
    let size = number("narSize")?;
    let references = entry.get("references")?.as_array()?;
    let references: Option<Vec<_>> =
        references.iter().map(|path| StorePath::parse_in(path.as_str()?, store).ok()).collect();
    Some(Some(PathInfo { path, size, closure_size: number("closureSize")?, references: references? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const BASE: &str = "5r7jmrdk3cdd3vy3min1n6f9gi28vvhx-toy";

    #[test]
    fn every_form_reads_alike() {
        let full = format!("/nix/store/{BASE}");
        let entry = |path: &str| json!({ "narSize": 128, "closureSize": 300, "references": [path], "narHash": "x" });
        let mut old = entry(&full);
        old["path"] = json!(full);
        let forms = [
            json!([old]),
            json!({ full.clone(): entry(&full) }),
            json!({ full.clone(): entry(&full), "storeDir": "/nix/store" }),
            json!({ "version": 2, "storeDir": "/nix/store", "info": { BASE: entry(BASE) } }),
        ];
        for form in forms {
            let all = read(&form, "/nix/store").unwrap();
            let info = all[0].as_ref().unwrap();
            assert_eq!((info.size, info.closure_size, info.references.len()), (128, 300, 1));
            assert_eq!(info.path.as_str(), full);
        }
    }

    #[test]
    fn every_form_of_absence() {
        let full = format!("/nix/store/{BASE}");
        for form in [json!([{ "path": full, "valid": false }]), json!({ full.clone(): null })] {
            assert_eq!(read(&form, "/nix/store"), Some(vec![None]));
        }
    }

    proptest! {
        #[test]
        fn any_json_is_read(key in "\\PC*", size: u64) {
            read(&json!({ key.clone(): { "narSize": size } }), "/nix/store");
            read(&json!([{ "path": key, "narSize": size }]), "/nix/store");
        }
    }
}
