//! Storing a stage. Restic reads only what differs from the snapshot that fedi's own
//! digests are of: where those are lost, or that snapshot is gone, it reads everything.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;

use super::mark::{Sorted, WANTS_MARK};
use super::retry::Patience;
use super::{Added, Repository, Stored, with_log};
use crate::error::{ErrorClass, StateError};
use crate::snapshot::{Consistency, Snapshot};
use crate::stage::Stage;
use crate::tool::{self, Input, Output};
use crate::work::Work;

/// Begins the tag with the number of a snapshot among those of its deployment.
pub(super) const NUMBER: &str = "number:";
/// Length of a whole id.
const ID: usize = 64;
/// What restic says when it could not read some of the files.
const INCOMPLETE: i32 = 3;
/// `ENOENT`, as restic shows it.
const GONE: i64 = 2;

/// Lines of `restic backup --json`.
#[derive(Deserialize)]
#[serde(tag = "message_type", rename_all = "snake_case")]
enum Message {
    Status {
        #[serde(default)]
        total_bytes: u64,
        #[serde(default)]
        bytes_done: u64,
        #[serde(default)]
        files_done: u64,
    },
    Summary {
        snapshot_id: String,
        total_bytes_processed: u64,
        data_added: u64,
        total_files_processed: u64,
        files_unmodified: u64,
    },
    Error {
        #[serde(default)]
        item: String,
        #[serde(default)]
        error: Problem,
    },
    #[serde(other)]
    Other,
}

/// Older ones show the system's error, newer ones a sentence.
#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default, rename = "Err")]
    number: Option<i64>,
    #[serde(default)]
    message: String,
}

impl Problem {
    fn is_gone(&self) -> bool {
        self.number == Some(GONE) || self.message.ends_with("no such file or directory")
    }
}

/// What a repository had of a deployment when a backup began.
#[derive(Debug)]
pub struct Before {
    deployment: String,
    sorted: Sorted,
}

impl Before {
    /// The newest whole snapshot with a tag.
    pub fn tagged(&self, tag: &str) -> Option<&Stored> {
        self.sorted.whole.iter().rfind(|one| one.has(tag))
    }

    /// What the files of a stage are compared with.
    fn parent(&self, stage: &Stage) -> Option<&Stored> {
        let last = stage.last_stored()?;
        self.all().find(|one| one.was(&last))
    }

    /// All of them, whole or not.
    fn all(&self) -> impl Iterator<Item = &Stored> {
        self.sorted.whole.iter().chain(&self.sorted.incomplete)
    }
}

impl Repository {
    /// Asks what the repository has of a deployment; makes it if it is not there yet.
    pub fn begin(&self, work: &Work, deployment: &str) -> Result<Before, StateError> {
        match self.look(work, deployment) {
            Err(error) if error.class() == ErrorClass::NotFound => {
                self.init(work)?;
                self.look(work, deployment)
            }
            before => before,
        }
    }

    fn look(&self, work: &Work, deployment: &str) -> Result<Before, StateError> {
        let sorted = self.sorted(work, &format!("deployment:{deployment}"))?;
        Ok(Before { deployment: deployment.to_owned(), sorted })
    }

    /// Stores a finished stage, whole.
    pub fn backup(&self, work: &Work, stage: &Stage) -> Result<Added, StateError> {
        let before = self.begin(work, stage.read()?.deployment.as_str())?;
        let added = self.backup_tagged(work, stage, &before, &[])?;
        self.complete(work, &before.deployment, &added.id)?;
        Ok(added)
    }

    /// Stores a finished stage with tags of the caller's beside its own. It does not count
    /// before [`Repository::complete`] said that it is whole.
    pub fn backup_tagged(
        &self,
        work: &Work,
        stage: &Stage,
        before: &Before,
        more: &[String],
    ) -> Result<Added, StateError> {
        let error = match self.try_backup(work, stage, before, more) {
            Err(error) if matches!(error.class(), ErrorClass::NotFound | ErrorClass::Damaged) => error,
            done => return done,
        };
        // What it was compared with may be pruned since, or have another id as a proved one.
        match (before.parent(stage), self.look(work, &before.deployment)) {
            (Some(parent), Ok(now)) if !now.all().any(|one| one.id == parent.id) => {
                self.try_backup(work, stage, &now, more)
            }
            _ => Err(error),
        }
    }

    fn try_backup(&self, work: &Work, stage: &Stage, before: &Before, more: &[String]) -> Result<Added, StateError> {
        let snapshot = stage.read()?;
        let mut tags = tags(&snapshot);
        tags.extend(more.iter().cloned());
        tags.extend([next_number(work, before), WANTS_MARK.to_owned()]);
        let parent = before.parent(stage).map(|one| one.id.as_str());
        let (output, added) = stage.shown(|| self.store(work, stage, &snapshot, &tags, parent))?;
        match (output.status.success() || only_moved(stage, &snapshot, &output)?, added) {
            (true, Some(added)) => {
                // Up to restic 0.16 the summary has a shortened id.
                let id = if added.id.len() == ID { added.id } else { self.find(work, &added.id)?.id };
                Ok(Added { id, ..added })
            }
            (_, added) => {
                let error = self.failure(&output);
                // Restic keeps a snapshot of what it could read. Without a mark nobody takes it
                // for whole, so that it may stay where it cannot be removed.
                if let Some(added) = added {
                    let _ = self.remove(work, &added.id);
                }
                Err(error)
            }
        }
    }

    /// Removes a snapshot that nobody must take for whole.
    pub fn remove(&self, work: &Work, id: &str) -> Result<(), StateError> {
        self.run(work, &["forget", id]).map(drop)
    }

    fn store(
        &self,
        work: &Work,
        stage: &Stage,
        snapshot: &Snapshot,
        tags: &[String],
        parent: Option<&str>,
    ) -> Result<(Output, Option<Added>), StateError> {
        let root = root(stage)?;
        let mut prepared = self.prepare(work)?;
        prepared.command.args(["backup", "--json", "--host", snapshot.deployment.as_str()]);
        for tag in tags {
            prepared.command.args(["--tag", tag]);
        }
        match parent {
            Some(parent) => prepared.command.args(["--parent", parent]),
            // What it knows of files may be of another time than what we know.
            None => prepared.command.arg("--force"),
        };
        let file = prepared.files.add("excluded", b"")?;
        for pattern in stage.write_excluded(&root, &file)? {
            prepared.command.arg("--exclude").arg(OsStr::from_bytes(&pattern));
        }
        prepared.command.arg("--exclude-file").arg(&file);
        let memory = crate::tree::pattern(root.join("memory").as_os_str().as_bytes(), false, false);
        prepared.command.arg("--exclude").arg(OsString::from(OsStr::from_bytes(&memory)));
        // The stage's content becomes the snapshot's top, wherever the stage lies.
        prepared.command.arg(".").current_dir(&root);
        let mut meter = work.meter(format!("store {}", snapshot.deployment), None);
        let mut added = None;
        let mut retries = self.retries(work, Patience::Full);
        let mut on_line = |line: &str| {
            match serde_json::from_str(line) {
                Ok(Message::Status { bytes_done, files_done, total_bytes }) => {
                    meter.expect(total_bytes);
                    meter.set(bytes_done, files_done)?;
                }
                Ok(Message::Summary {
                    snapshot_id,
                    total_bytes_processed,
                    data_added,
                    total_files_processed,
                    files_unmodified,
                }) => {
                    added = Some(Added {
                        id: snapshot_id,
                        bytes: total_bytes_processed,
                        new_bytes: data_added,
                        files: total_files_processed,
                        unchanged: files_unmodified,
                    });
                }
                Ok(Message::Error { .. } | Message::Other) | Err(_) => {}
            }
            Ok(())
        };
        let mut on_error = |said: &str| retries.heed(said);
        let output = tool::follow(work, prepared.command, Input::Nothing, &mut on_line, &mut on_error)?;
        meter.finish();
        Ok((with_log(&prepared.files, output), added))
    }
}

/// The tag that tells the next snapshot from those before it, whatever the clock says.
fn next_number(work: &Work, before: &Before) -> String {
    let newest = before.all().map(|one| one.time).max();
    if let Some(newest) = newest.filter(|newest| *newest > Timestamp::now()) {
        work.observer.notice(&format!(
            "A snapshot in the repository is of {newest}, which is yet to come: check the guest's clock"
        ));
    }
    let last = before.all().map(Stored::number).max().unwrap_or(0);
    format!("{NUMBER}{}", last.saturating_add(1))
}

/// The stage's folder as restic sees it.
fn root(stage: &Stage) -> Result<PathBuf, StateError> {
    stage.root().canonicalize().map_err(StateError::file("find", stage.root()))
}

/// Whether all that restic could not read are files that an application in use
/// removed meanwhile.
fn only_moved(stage: &Stage, snapshot: &Snapshot, output: &Output) -> Result<bool, StateError> {
    if output.status.code() != Some(INCOMPLETE) || snapshot.consistency == Consistency::Quiesced {
        return Ok(false);
    }
    let items = root(stage)?.join("items");
    let mut gone = 0;
    for line in output.stderr.lines() {
        // Else it is talk, such as the sentence that the snapshot is incomplete.
        if let Ok(Message::Error { item, error }) = serde_json::from_str(line) {
            let below = Path::new(&item).strip_prefix(&items).ok();
            if !error.is_gone() || below.and_then(|path| path.iter().nth(1)) != Some(OsStr::new("tree")) {
                return Ok(false);
            }
            gone += 1;
        }
    }
    Ok(gone > 0)
}

/// What a snapshot can be found by; restic separates tags by commas.
fn tags(snapshot: &Snapshot) -> Vec<String> {
    let consistency = serde_json::to_value(snapshot.consistency).ok();
    let consistency = consistency.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    [
        format!("deployment:{}", snapshot.deployment),
        format!("app:{}", snapshot.app),
        format!("version:{}", snapshot.app_version.replace(',', "_")),
        format!("epoch:{}", snapshot.epoch),
        format!("consistency:{consistency}"),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_words_for_a_file_that_is_gone() {
        let gone = |line: &str| match serde_json::from_str(line).unwrap() {
            Message::Error { error, item } => error.is_gone() && item == "/a",
            _ => false,
        };
        assert!(gone(
            r#"{"message_type":"error","error":{"Op":"lstat","Path":"a","Err":2},"during":"archival","item":"/a"}"#
        ));
        assert!(gone(
            r#"{"message_type":"error","error":{"message":"open /a: no such file or directory"},"item":"/a"}"#
        ));
        assert!(!gone(r#"{"message_type":"error","error":{"Op":"open","Path":"a","Err":13},"item":"/a"}"#));
        assert!(!gone(r#"{"message_type":"error","error":{"message":"input/output error"},"item":"/a"}"#));
    }
}
