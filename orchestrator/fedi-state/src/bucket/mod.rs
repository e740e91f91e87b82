//! S3 buckets: into a stage and back, or straight from one to another.
//!
//! What is known of a bucket is its inventory, `inventory.jsonl`: one line an object
//! in the order of keys. Rounds only move what the last one did not have; what was
//! removed meanwhile is removed in the last round. Listings are read page by page
//! beside each other, so that memory does not grow with the bucket.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};

use fedi_model::manifest::Bucket as Declared;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorClass, StateError};
use crate::kind::{Contents, Delta, Kind, Report};
use crate::listing::{self, Reader, Writer};
use crate::snapshot::{Consistency, Observed, ObservedBucket};
use crate::stage::ItemStage;
use crate::sums;
use crate::work::Work;

mod end;
mod listed;
mod mirror;

pub use end::End;
use end::{Fetched, Listed, Source};
use listed::Objects;

/// Objects that are moved side by side.
const AT_ONCE: usize = 16;
/// Objects that are looked at together.
const BATCH: usize = 512;

/// An S3 bucket.
pub struct Bucket {
    declared: Declared,
    end: End,
}

/// A line of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    key: String,
    size: u64,
    etag: String,
    modified: String,
    sha256: String,
    /// Headers and metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// Its file below `objects/`: the SHA-256 of the key, as keys are no file names.
    file: String,
}

impl Bucket {
    /// As the contract declares it, with a key of this side.
    pub fn new(declared: Declared, end: End) -> Self {
        Self { declared, end }
    }

    /// Copies straight into another bucket; as often as wanted, and with `last`
    /// removes there what is not here any more.
    pub fn mirror(&self, work: &Work, target: &End, memory: &Path, last: bool) -> Result<Delta, StateError> {
        run(mirror::mirror(work, &self.end, target, &self.declared.rebuildable, memory, last))
    }

    fn expected(observed: &Observed) -> Result<&ObservedBucket, StateError> {
        match observed {
            Observed::Bucket(observed) => Ok(observed),
            _ => Err(StateError::damaged("The snapshot has another kind of item here")),
        }
    }

    /// One round; the last one says how consistent the capture is to be.
    async fn copy(
        &self,
        work: &Work,
        stage: &ItemStage,
        capture: Option<Consistency>,
    ) -> Result<(ObservedBucket, Delta), StateError> {
        let last = capture.is_some();
        let previous = stage.memory.with_extension("previous");
        if stage.memory.exists() {
            std::fs::rename(&stage.memory, &previous).map_err(StateError::file("move", &stage.memory))?;
        }
        let mut known = Known::open(&previous);
        let objects = stage.folder.join("objects");
        let inventory = stage.folder.join("inventory.jsonl");
        let mut memory = Writer::create(&stage.memory)?;
        let mut inventory = if last { Writer::create(&inventory)? } else { Writer::nowhere() };
        let mut meter = work.meter(format!("copy the bucket {}", self.end.name()), None);
        let mut observed =
            ObservedBucket { bucket: self.end.name().to_owned(), objects: 0, bytes: 0, digest: String::new() };
        let mut delta = Delta::default();
        let mut source = Objects::of(&self.end, &self.declared.rebuildable);
        loop {
            let batch = source.batch(BATCH).await?;
            if batch.is_empty() {
                break;
            }
            let mut lines = Vec::with_capacity(batch.len());
            let mut wanted = Vec::new();
            for object in batch {
                for gone in known.before(&object.key) {
                    forget(&objects, &gone, last, &mut delta)?;
                }
                match known.find(&object) {
                    Some(line) if objects.join(&line.file).metadata().is_ok_and(|found| found.len() == line.size) => {
                        lines.push(line);
                    }
                    _ => wanted.push(object),
                }
            }
            let fetched = futures::stream::iter(wanted.into_iter().map(|object| self.fetch(&objects, object)));
            let mut fetched = fetched.buffer_unordered(AT_ONCE);
            while let Some(line) = fetched.next().await {
                let (line, is_as_listed) = line?;
                if capture == Some(Consistency::Quiesced) && !is_as_listed {
                    return Err(moved(self.end.name()));
                }
                let Some(line) = line else { continue };
                delta.bytes += line.size;
                delta.count += 1;
                meter.add(line.size, 1)?;
                lines.push(line);
            }
            lines.sort_by(|one, other| one.key.cmp(&other.key));
            for line in lines {
                observed.objects += 1;
                observed.bytes += line.size;
                memory.line(&line)?;
                inventory.line(&line)?;
            }
        }
        for gone in known.rest() {
            forget(&objects, &gone, last, &mut delta)?;
        }
        memory.finish()?;
        observed.digest = inventory.finish()?;
        meter.finish();
        Ok((observed, delta))
    }

    /// Brings one object into the stage as it is by now, `None` if it is gone; and whether it
    /// is the one that was listed.
    async fn fetch(&self, objects: &Path, object: Listed) -> Result<(Option<Line>, bool), StateError> {
        let name = sums::hex(object.key.as_bytes());
        let file = format!("{}/{}", &name[..2], &name[2..]);
        let path = objects.join(&file);
        let folder = objects.join(&name[..2]);
        std::fs::create_dir_all(&folder).map_err(StateError::file("make", &folder))?;
        let Listed { key, etag: listed, modified, size: listed_size } = object;
        match self.end.get(&key, Some(&path)).await {
            Ok(Fetched { size, sha256, etag: found, headers }) => {
                let etag = found.unwrap_or_else(|| listed.clone());
                let is_as_listed = etag == listed && size == listed_size;
                Ok((Some(Line { key, size, etag, modified, sha256, headers, file }), is_as_listed))
            }
            Err(error) if error.class() == ErrorClass::NotFound => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(StateError::file("remove", &path)(error))
                }
                _ => Ok((None, false)),
            },
            Err(error) => Err(error),
        }
    }

    /// Refuses a capture of a bucket that somebody wrote to meanwhile.
    async fn unmoved(&self, list: &Path) -> Result<(), StateError> {
        let mut known = Known::open(list);
        let mut source = Objects::of(&self.end, &self.declared.rebuildable);
        while let Some(object) = source.next().await? {
            if !known.before(&object.key).is_empty() || known.find(&object).is_none() {
                return Err(moved(self.end.name()));
            }
        }
        if known.rest().is_empty() { Ok(()) } else { Err(moved(self.end.name())) }
    }

    async fn upload(&self, work: &Work, stage: &ItemStage, list: &Path) -> Result<(), StateError> {
        // First look, then touch.
        let mut known = Known::open(list);
        let mut there = Objects::of(&self.end, &self.declared.rebuildable);
        while let Some(object) = there.next().await? {
            known.before(&object.key);
            if !known.take(&object.key).is_some_and(|line| alike(&line, &object)) {
                let message =
                    format!("Bucket `{}` is not empty: it has `{}`", self.end.name(), object.key.escape_debug());
                return Err(StateError::refused(ErrorClass::NotEmpty, message)
                    .with_hint("Restoring goes only into an empty bucket"));
            }
        }
        let mut meter = work.meter(format!("restore the bucket {}", self.end.name()), None);
        let mut there = Objects::of(&self.end, &self.declared.rebuildable);
        let mut next = there.next().await?;
        let mut inventory = Reader::open(list)?;
        let objects = stage.folder.join("objects");
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some(line) = inventory.next::<Line>()?
            {
                if next.as_ref().is_some_and(|object| object.key == line.key) {
                    next = there.next().await?;
                } else {
                    batch.push(line);
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            let sent = futures::stream::iter(batch.iter().map(|line| self.send(&objects, line)));
            let mut sent = sent.buffer_unordered(AT_ONCE);
            while let Some(size) = sent.next().await {
                meter.add(size?, 1)?;
            }
        }
    }

    async fn send(&self, objects: &Path, line: &Line) -> Result<u64, StateError> {
        let path = checked(objects, &line.file)?;
        let damaged = || StateError::damaged(format!("`{}` is not what was captured", path.display()));
        let found = std::fs::metadata(&path).map_err(StateError::file("read", &path))?;
        if found.len() != line.size {
            return Err(damaged());
        }
        let sha256 = self.end.put(&line.key, line.size, &line.headers, &Source::File(&path)).await?;
        if sha256 == line.sha256 {
            return Ok(line.size);
        }
        self.end.delete(&line.key).await?;
        Err(damaged())
    }

    async fn compare(&self, work: &Work, list: &Path) -> Result<Report, StateError> {
        let differs = |what: String| {
            Err(StateError::refused(ErrorClass::Differs, format!("Bucket `{}`: {what}", self.end.name())))
        };
        let mut meter = work.meter(format!("compare the bucket {}", self.end.name()), None);
        let mut there = Objects::of(&self.end, &self.declared.rebuildable);
        let mut inventory = Reader::open(list)?;
        let (mut count, mut read) = (0_u64, 0_u64);
        while let Some(line) = inventory.next::<Line>()? {
            let Some(object) = there.next().await? else {
                return differs(format!("`{}` is missing", line.key.escape_debug()));
            };
            if object.key != line.key {
                let missing = object.key > line.key;
                let key = if missing { line.key.escape_debug() } else { object.key.escape_debug() };
                return differs(format!("`{key}` is {}", if missing { "missing" } else { "additional" }));
            }
            let same =
                object.size == line.size && (object.etag == line.etag || !(is_md5(&object.etag) && is_md5(&line.etag)));
            // An ETag that is no digest of the content says nothing; the content does.
            if !same || (object.etag != line.etag && self.end.get(&line.key, None).await?.sha256 != line.sha256) {
                return differs(format!("`{}` has another content", line.key.escape_debug()));
            }
            read += u64::from(object.etag != line.etag);
            count += 1;
            meter.add(object.size, 1)?;
        }
        if let Some(object) = there.next().await? {
            return differs(format!("`{}` is additional", object.key.escape_debug()));
        }
        let checks = vec![format!("{count} objects are as in the inventory; {read} of them were read")];
        Ok(Report { checks, notes: Vec::new() })
    }
}

impl Kind for Bucket {
    fn presync(&self, work: &Work, stage: &ItemStage) -> Result<Delta, StateError> {
        Ok(run(self.copy(work, stage, None))?.1)
    }

    fn capture(&self, work: &Work, stage: &ItemStage, consistency: Consistency) -> Result<Observed, StateError> {
        run(async {
            let (observed, _) = self.copy(work, stage, Some(consistency)).await?;
            if consistency == Consistency::Quiesced {
                self.unmoved(&stage.folder.join("inventory.jsonl")).await?;
            }
            Ok(Observed::Bucket(observed))
        })
    }

    fn restore(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<(), StateError> {
        let list = stage.folder.join("inventory.jsonl");
        listing::check_digest(&list, &Self::expected(observed)?.digest)?;
        run(self.upload(work, stage, &list))
    }

    fn verify(&self, work: &Work, stage: &ItemStage, observed: &Observed) -> Result<Report, StateError> {
        let list = stage.folder.join("inventory.jsonl");
        listing::check_digest(&list, &Self::expected(observed)?.digest)?;
        run(self.compare(work, &list))
    }

    fn contents(&self, work: &Work) -> Result<Option<Contents>, StateError> {
        run(async {
            let mut objects = Objects::of(&self.end, &self.declared.rebuildable);
            let (mut count, mut bytes) = (0_u64, 0_u64);
            while let Some(object) = objects.next().await? {
                work.check()?;
                count += 1;
                bytes += object.size;
            }
            Ok((count > 0).then(|| Contents { what: format!("{count} objects"), bytes }))
        })
    }

    fn clear(&self, work: &Work) -> Result<(), StateError> {
        run(async {
            let mut meter = work.meter(format!("empty the bucket {}", self.end.name()), None);
            let mut objects = Objects::of(&self.end, &self.declared.rebuildable);
            loop {
                let batch = objects.batch(BATCH).await?;
                if batch.is_empty() {
                    return Ok(());
                }
                let removed = futures::stream::iter(batch.iter().map(|object| self.end.delete(&object.key)));
                let mut removed = removed.buffer_unordered(AT_ONCE);
                while let Some(result) = removed.next().await {
                    result?;
                    meter.add(0, 1)?;
                }
            }
        })
    }
}

/// An inventory of before, read along a listing.
struct Known {
    reader: Option<Reader>,
    next: Option<Line>,
}

impl Known {
    /// One that does not read is as good as none: everything is moved anew.
    fn open(path: &Path) -> Self {
        let mut known = Self { reader: Reader::open(path).ok(), next: None };
        known.advance();
        known
    }

    fn advance(&mut self) {
        self.next = self.reader.as_mut().and_then(|reader| reader.next().ok().flatten());
    }

    /// Passes what comes before a key, and returns it.
    fn before(&mut self, key: &str) -> Vec<Line> {
        let mut passed = Vec::new();
        while self.next.as_ref().is_some_and(|line| line.key.as_str() < key) {
            passed.extend(self.next.take());
            self.advance();
        }
        passed
    }

    fn take(&mut self, key: &str) -> Option<Line> {
        let line = self.next.take_if(|line| line.key == key)?;
        self.advance();
        Some(line)
    }

    /// The line of an object that has not changed since.
    fn find(&mut self, object: &Listed) -> Option<Line> {
        let line = self.take(&object.key)?;
        (line.size == object.size && line.etag == object.etag && line.modified == object.modified).then_some(line)
    }

    fn rest(&mut self) -> Vec<Line> {
        let mut rest = Vec::new();
        while let Some(line) = self.next.take() {
            rest.push(line);
            self.advance();
        }
        rest
    }
}

/// Whether an object that is there already is the inventory's.
fn alike(line: &Line, object: &Listed) -> bool {
    line.size == object.size && (line.etag == object.etag || !(is_md5(&line.etag) && is_md5(&object.etag)))
}

/// Whether an ETag is the MD5 of the content, as that of an object written at once.
fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Removes from the stage what the bucket has no more; only in the last round.
fn forget(objects: &Path, line: &Line, last: bool, delta: &mut Delta) -> Result<(), StateError> {
    delta.count += 1;
    if !last {
        return Ok(());
    }
    let path = checked(objects, &line.file)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StateError::file("remove", &path)(error)),
        _ => Ok(()),
    }
}

/// The path of an object's file; an inventory cannot lead elsewhere.
fn checked(objects: &Path, file: &str) -> Result<PathBuf, StateError> {
    if file.len() == 65
        && file.bytes().enumerate().all(|(at, b)| if at == 2 { b == b'/' } else { b.is_ascii_hexdigit() })
    {
        return Ok(objects.join(file));
    }
    Err(StateError::damaged(format!("The inventory has the file `{}`", file.escape_debug())))
}

fn moved(bucket: &str) -> StateError {
    StateError::refused(ErrorClass::Changed, format!("Bucket `{bucket}` changed while it was captured"))
        .with_hint("Something still writes there; see who has its keys")
}

/// Runs the requests of one operation.
fn run<T>(operation: impl Future<Output = Result<T, StateError>>) -> Result<T, StateError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| StateError::Start { program: "the network runtime".to_owned(), source })?;
    runtime.block_on(operation)
}
