//! Repositories of snapshots, kept by restic: encrypted, deduplicated, on a local
//! path, an SFTP or REST server or S3. A snapshot is a whole finished stage.
//!
//! Neither password nor keys are ever in an argument, in the environment or on a disk:
//! restic and ssh read them, and the location (which may hold a user's password), from
//! files in memory that only this process's user reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{ErrorClass, StateError};
use crate::snapshot::Snapshot;
use crate::stage::Stage;
use crate::tool::{self, Input, Output};
use crate::work::Work;
use files::Files;

mod backup;
mod classify;
mod files;
mod lock;
mod mark;
mod retention;
mod retry;
mod ssh;

pub use backup::Before;
pub use lock::Lock;
pub use retention::{Keep, to_forget};
use retry::Patience;
pub use ssh::SshLogin;

/// The tag of snapshots from which the application was restored and verified.
pub const PROVED: &str = "proved";

/// Where the repository's password comes from.
pub enum Password {
    /// A file that only this process's user may read.
    File(PathBuf),
    /// Handed over in memory.
    Value(Zeroizing<String>),
}

/// Keys of an S3 endpoint.
pub struct S3Keys {
    /// The key's id.
    pub id: String,
    /// Its secret half.
    pub secret: Zeroizing<String>,
    /// The endpoint's region: `garage`.
    pub region: String,
}

/// A repository.
pub struct Repository {
    /// As restic takes it: `/srv/backup`, `sftp:user@host:/path`, `rest:https://host/`,
    /// `s3:https://host/bucket`.
    pub location: String,
    /// Its password.
    pub password: Password,
    /// Keys, for `s3:`.
    pub s3: Option<S3Keys>,
    /// Certificates (PEM) that the server's may be signed by, instead of the machine's own.
    pub ca: Option<String>,
    /// The login, for `sftp:`; without it this user's own ssh settings decide.
    pub ssh: Option<SshLogin>,
    /// Where restic remembers what the repository has; it works without, slower.
    pub cache: Option<PathBuf>,
}

/// A snapshot in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stored {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// The id under which it was first stored, if it was tagged later.
    #[serde(default)]
    pub original: Option<String>,
    /// When it was stored.
    pub time: Timestamp,
    /// `deployment:matrix`, `epoch:7`, `proved`, ...
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Stored {
    /// Whether the application was restored from it and verified.
    pub fn is_proved(&self) -> bool {
        self.has(PROVED)
    }

    fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|one| one == tag)
    }

    /// Whether it has that id, or had it before it was marked.
    pub fn was(&self, id: &str) -> bool {
        self.id == id || self.original.as_deref() == Some(id)
    }

    /// Its number among those of its deployment, from 1; 0 where it has none.
    fn number(&self) -> u64 {
        self.tags.iter().find_map(|tag| tag.strip_prefix(backup::NUMBER)?.parse().ok()).unwrap_or(0)
    }

    /// What tells which of two was stored later. The time comes second: it is that of the
    /// guest's clock, which may have been set.
    fn order(&self) -> (u64, Timestamp, &str) {
        (self.number(), self.time, &self.id)
    }
}

/// What storing a snapshot moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The snapshot's id.
    pub id: String,
    /// Bytes of the stage.
    pub bytes: u64,
    /// Bytes that the repository did not have yet, before compression.
    pub new_bytes: u64,
    /// Files of the stage, those of the folders that it shows among them.
    pub files: u64,
    /// Those of them that were not read, since the snapshot before has them.
    pub unchanged: u64,
}

/// A command with the files that it reads, which go with it.
struct Prepared {
    command: Command,
    files: Files,
}

/// What a restic that failed wrote, with what ssh had to say.
fn with_log(files: &Files, mut output: Output) -> Output {
    if !output.status.success() {
        for line in files.logged().lines() {
            output.stderr.push_str("\nsubprocess ssh: ");
            output.stderr.push_str(line);
        }
    }
    output
}

impl Repository {
    /// Makes the repository, unless it is there with this password already.
    pub fn init(&self, work: &Work) -> Result<(), StateError> {
        match self.is_there(work) {
            Ok(()) => return Ok(()),
            Err(error) if error.class() == ErrorClass::NotFound => {}
            Err(error) => return Err(error),
        }
        self.run(work, &["init"]).map(drop)
    }

    /// Fails with what is wrong if the repository cannot be opened.
    pub fn is_there(&self, work: &Work) -> Result<(), StateError> {
        self.run(work, &["cat", "config", "--no-lock"]).map(drop)
    }

    /// The whole snapshots of a deployment, oldest first, in the order in which they were stored.
    pub fn snapshots(&self, work: &Work, deployment: &str) -> Result<Vec<Stored>, StateError> {
        self.tagged(work, &format!("deployment:{deployment}"))
    }

    /// The snapshots with a tag, as [`Repository::snapshots`].
    pub fn tagged(&self, work: &Work, tag: &str) -> Result<Vec<Stored>, StateError> {
        Ok(self.sorted(work, tag)?.whole)
    }

    /// What `restic snapshots` lists, whole or not, in the order of storing.
    fn listed(&self, work: &Work, which: &[&str]) -> Result<Vec<Stored>, StateError> {
        let output = self.run(work, &[&["snapshots", "--json", "--no-lock"], which].concat())?;
        let unreadable = |error| StateError::damaged(format!("restic's list of snapshots does not read: {error}"));
        let mut stored: Vec<Stored> = serde_json::from_slice(&output.stdout).map_err(unreadable)?;
        stored.sort_by(|one, other| one.order().cmp(&other.order()));
        Ok(stored)
    }

    /// The one snapshot of that id, which may be shortened.
    pub fn find(&self, work: &Work, id: &str) -> Result<Stored, StateError> {
        let stored = self.listed(work, &[id])?;
        stored.into_iter().find(|one| one.id.starts_with(id)).ok_or_else(|| not_found(id))
    }

    /// Size of a stored snapshot's files, in bytes.
    pub fn size(&self, work: &Work, id: &str) -> Result<u64, StateError> {
        #[derive(Deserialize)]
        struct Stats {
            total_size: u64,
        }
        let output = self.run(work, &["stats", "--json", "--no-lock", "--mode=restore-size", id])?;
        let unreadable = |error| StateError::damaged(format!("restic's figures do not read: {error}"));
        serde_json::from_slice(&output.stdout).map(|stats: Stats| stats.total_size).map_err(unreadable)
    }

    /// Reads a stored snapshot's manifest, and nothing else of it.
    pub fn manifest(&self, work: &Work, id: &str) -> Result<Snapshot, StateError> {
        let output = self.run(work, &["dump", "--no-lock", id, "/snapshot.json"])?;
        Snapshot::from_json(&output.stdout)
    }

    /// Reads one file of a stored snapshot's top, if it has it. It is kept in memory.
    pub fn file(&self, work: &Work, id: &str, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let listed = self.run(work, &["ls", "--json", "--no-lock", id, &format!("/{name}")])?;
        let named = format!("\"path\":\"/{name}\"");
        if !String::from_utf8_lossy(&listed.stdout).contains(&named) {
            return Ok(None);
        }
        self.run(work, &["dump", "--no-lock", id, &format!("/{name}")]).map(|output| Some(output.stdout))
    }

    /// Brings a snapshot back as a stage, into a folder that must be empty.
    pub fn restore(&self, work: &Work, id: &str, into: &Path) -> Result<Stage, StateError> {
        fs::create_dir_all(into).map_err(StateError::file("make", into))?;
        let mut entries = fs::read_dir(into).map_err(StateError::file("read", into))?;
        if entries.next().is_some() {
            let message = format!("`{}` is not empty", into.display());
            return Err(StateError::refused(ErrorClass::NotEmpty, message));
        }
        self.refuse_incomplete(work, id)?;
        let mut prepared = self.prepare(work)?;
        prepared.command.args(["restore", "--verify", id, "--target"]).arg(into);
        let mut meter = work.meter("fetch the snapshot", None);
        let mut retries = self.retries(work, Patience::Full);
        let output = tool::heed(work, prepared.command, Input::Nothing, &mut |said| {
            retries.heed(said)?;
            meter.set(0, 0)
        });
        let result = output.and_then(|output| {
            let output = with_log(&prepared.files, output);
            if output.status.success() { Ok(()) } else { Err(self.failure(&output)) }
        });
        if let Err(error) = result {
            for entry in fs::read_dir(into).map_err(StateError::file("read", into))?.flatten() {
                // What cannot be removed is in the way of the next run, which says so.
                let _ = if entry.path().is_dir() {
                    fs::remove_dir_all(entry.path())
                } else {
                    fs::remove_file(entry.path())
                };
            }
            return Err(error);
        }
        let stage = Stage::open(into);
        stage.read()?;
        Ok(stage)
    }

    /// Marks a snapshot as proved; returns the id that it has from now on.
    pub fn mark_proved(&self, work: &Work, deployment: &str, id: &str) -> Result<String, StateError> {
        self.run(work, &["tag", "--add", PROVED, id])?;
        let stored = self.snapshots(work, deployment)?;
        let marked = stored.into_iter().find(|one| one.was(id));
        marked.filter(Stored::is_proved).map(|one| one.id).ok_or_else(|| not_found(id))
    }

    /// Forgets what the rules do not keep, and what was given up incomplete, and frees the
    /// room; never the last proved snapshot. Returns the ids that are gone.
    pub fn forget(
        &self,
        work: &Work,
        deployment: &str,
        keep: &Keep,
        proved: &[String],
    ) -> Result<Vec<String>, StateError> {
        let sorted = self.sorted(work, &format!("deployment:{deployment}"))?;
        let gone = outdated(&sorted, keep, proved);
        if gone.is_empty() {
            return Ok(gone);
        }
        let marks = sorted.marks_of(&gone);
        let mut words = vec!["forget", "--prune"];
        words.extend(gone.iter().chain(&marks).map(String::as_str));
        self.run(work, &words)?;
        Ok(gone)
    }

    /// The ids of what [`Repository::forget`] would forget.
    pub fn outdated(
        &self,
        work: &Work,
        deployment: &str,
        keep: &Keep,
        proved: &[String],
    ) -> Result<Vec<String>, StateError> {
        Ok(outdated(&self.sorted(work, &format!("deployment:{deployment}"))?, keep, proved))
    }

    /// Checks the repository's structure and, in percent, how much of its content.
    pub fn check(&self, work: &Work, content_percent: u8) -> Result<(), StateError> {
        let subset = format!("--read-data-subset={}%", content_percent.min(100));
        let words = if content_percent == 0 { vec!["check"] } else { vec!["check", &subset] };
        self.run(work, &words).map(drop)
    }

    fn prepare(&self, work: &Work) -> Result<Prepared, StateError> {
        let mut files = Files::new()?;
        let mut command = work.tools.command("restic");
        for name in [
            "RESTIC_PASSWORD",
            "RESTIC_PASSWORD_COMMAND",
            "RESTIC_REPOSITORY",
            "AWS_ACCESS_KEY_ID",
            "AWS_ACCESS_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SECRET_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
            "MINIO_ACCESS_KEY",
            "MINIO_SECRET_KEY",
        ] {
            command.env_remove(name);
        }
        command.env("RESTIC_PROGRESS_FPS", "2").current_dir("/");
        command.arg("--repository-file").arg(files.add("repository", self.location.as_bytes())?);
        command.arg("--password-file").arg(match &self.password {
            Password::File(path) => path.clone(),
            Password::Value(value) => files.add("password", value.as_bytes())?,
        });
        match &self.cache {
            Some(cache) => command.arg("--cache-dir").arg(cache),
            None => command.arg("--no-cache"),
        };
        if let Some(keys) = &self.s3 {
            let text = Zeroizing::new(format!(
                "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                keys.id, *keys.secret
            ));
            command.env("AWS_SHARED_CREDENTIALS_FILE", files.add("credentials", text.as_bytes())?);
            command.env("AWS_DEFAULT_REGION", &keys.region);
        }
        if let Some(ca) = &self.ca {
            command.arg("--cacert").arg(files.add("ca.pem", ca.as_bytes())?);
        }
        if self.location.starts_with("sftp:") {
            let login = match &self.ssh {
                Some(ssh) => Some((files.add("key", &ssh.key)?, files.add("known_hosts", ssh.known_hosts.as_bytes())?)),
                None => None,
            };
            let login = login.as_ref().map(|(key, known)| (key.as_path(), known.as_path()));
            // A service's PATH may lack what a guest has.
            let program = work.tools.find("ssh").unwrap_or_else(|| "ssh".into());
            let ssh = ssh::command(&self.location, &program, files.log(), login)?;
            command.arg("--option").arg(format!("sftp.command={ssh}"));
        }
        Ok(Prepared { command, files })
    }

    fn run(&self, work: &Work, words: &[&str]) -> Result<Output, StateError> {
        let mut prepared = self.prepare(work)?;
        prepared.command.args(words);
        // What only asks holds no lock and has nothing to lose.
        let patience = if words.contains(&"--no-lock") { Patience::Little } else { Patience::Full };
        let mut retries = self.retries(work, patience);
        let output = tool::heed(work, prepared.command, Input::Nothing, &mut |said| retries.heed(said))?;
        let output = with_log(&prepared.files, output);
        if output.status.success() { Ok(output) } else { Err(self.failure(&output)) }
    }

    fn failure(&self, output: &Output) -> StateError {
        let error = classify::failure(&self.shown(), output);
        if let (ErrorClass::Damaged, Some(cache)) = (error.class(), &self.cache) {
            // What was damaged on its way here is kept there, and restic would go on believing
            // it when the repository itself is whole. It is made anew.
            let _ = fs::remove_dir_all(cache);
        }
        error
    }

    /// The location without a password that stands in it.
    fn shown(&self) -> String {
        let Some((before, rest)) = self.location.split_once("://") else { return self.location.clone() };
        match rest.split_once('/').unwrap_or((rest, "")) {
            (host, path) if host.contains('@') => {
                let host = host.rsplit('@').next().unwrap_or_default();
                format!("{before}://{host}/{path}")
            }
            _ => self.location.clone(),
        }
    }
}

fn outdated(sorted: &mark::Sorted, keep: &Keep, proved: &[String]) -> Vec<String> {
    let mut gone = to_forget(&sorted.whole, keep, proved);
    gone.extend(sorted.abandoned(Timestamp::now()).map(|one| one.id.clone()));
    gone
}

fn not_found(id: &str) -> StateError {
    StateError::refused(ErrorClass::NotFound, format!("The repository has no snapshot `{id}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_location_is_not_shown() {
        let shown = |location: &str| {
            let password = Password::File(PathBuf::new());
            Repository { location: location.to_owned(), password, s3: None, ca: None, ssh: None, cache: None }.shown()
        };
        assert_eq!(shown("rest:https://user:secret@host:8000/a/b"), "rest:https://host:8000/a/b");
        assert_eq!(shown("sftp:user@host:/srv"), "sftp:user@host:/srv");
        assert_eq!(shown("/srv/backup"), "/srv/backup");
    }
}
