//! Which snapshots are whole. Restic keeps a snapshot of what it could read, and a capture
//! can be found wrong once it is stored; with rights that only add, nobody there can take
//! it back. So a snapshot counts only once a second, tiny one says so: its mark, stored
//! last, found by the tag `marks:<id>`.

use jiff::{SignedDuration, Timestamp};

use super::retry::Patience;
use super::{Repository, Stored, not_found};
use crate::error::{ErrorClass, StateError};
use crate::tool::{self, Input};
use crate::work::Work;

/// The tag of snapshots that count only with a mark.
pub(super) const WANTS_MARK: &str = "wants-mark";
/// The tag of marks.
const MARK: &str = "mark";
/// Begins the tag with the id of the snapshot that is whole.
const MARKS: &str = "marks:";
/// For so long a snapshot without a mark may be one whose mark is being stored.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// The snapshots of a deployment, told apart.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) whole: Vec<Stored>,
    pub(super) incomplete: Vec<Stored>,
    /// Marks of all deployments that share the repository.
    marks: Vec<Stored>,
}

impl Sorted {
    pub(super) fn new(all: Vec<Stored>) -> Self {
        let (marks, snapshots): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.has(MARK));
        let (whole, incomplete) = snapshots.into_iter().partition(|one| {
            !one.has(WANTS_MARK) || marks.iter().any(|mark| marked(mark).is_some_and(|id| one.was(id)))
        });
        Self { whole, incomplete, marks }
    }

    /// Those without a mark that get none any more. The newest of a deployment may get one
    /// yet, whatever the clock says.
    pub(super) fn abandoned(&self, now: Timestamp) -> impl Iterator<Item = &Stored> {
        let newest = self.whole.iter().chain(&self.incomplete).map(Stored::number).max();
        self.incomplete.iter().filter(move |one| now.duration_since(one.time) > PENDING && Some(one.number()) != newest)
    }

    /// The marks of these snapshots.
    pub(super) fn marks_of(&self, ids: &[String]) -> Vec<String> {
        let gone = |id: &str| self.whole.iter().any(|one| ids.contains(&one.id) && one.was(id));
        self.marks.iter().filter(|mark| marked(mark).is_some_and(gone)).map(|mark| mark.id.clone()).collect()
    }
}

fn marked(mark: &Stored) -> Option<&str> {
    mark.tags.iter().find_map(|tag| tag.strip_prefix(MARKS))
}

impl Repository {
    /// Says that a stored snapshot is whole: the last step of making one.
    pub fn complete(&self, work: &Work, deployment: &str, id: &str) -> Result<(), StateError> {
        let mut prepared = self.prepare(work)?;
        prepared.command.args(["backup", "--host", deployment, "--tag", MARK, "--tag", &format!("{MARKS}{id}")]);
        prepared.command.args(["--stdin", "--stdin-filename", MARK]);
        let text = format!("{id} is whole\n");
        let mut retries = self.retries(work, Patience::Full);
        let input = Input::Bytes(text.as_bytes());
        let output = tool::heed(work, prepared.command, input, &mut |said| retries.heed(said))?;
        let output = super::with_log(&prepared.files, output);
        if output.status.success() { Ok(()) } else { Err(self.failure(&output)) }
    }

    /// What was stored of a deployment and never said to be whole, oldest first.
    pub fn incomplete(&self, work: &Work, deployment: &str) -> Result<Vec<Stored>, StateError> {
        Ok(self.sorted(work, &format!("deployment:{deployment}"))?.incomplete)
    }

    /// All that has a tag, and the marks.
    pub(super) fn sorted(&self, work: &Work, tag: &str) -> Result<Sorted, StateError> {
        Ok(Sorted::new(self.listed(work, &["--tag", tag, "--tag", MARK])?))
    }

    /// Refuses a snapshot that nobody said to be whole.
    pub(super) fn refuse_incomplete(&self, work: &Work, id: &str) -> Result<(), StateError> {
        let found = self.listed(work, &[id])?.into_iter().find(|one| one.id.starts_with(id));
        let found = found.ok_or_else(|| not_found(id))?;
        if !found.has(WANTS_MARK) {
            return Ok(());
        }
        let marks = self.listed(work, &["--tag", MARK])?;
        if marks.iter().any(|mark| marked(mark).is_some_and(|id| found.was(id))) {
            return Ok(());
        }
        let message = format!("Snapshot `{id}` is incomplete: its capture did not come to its end");
        Err(StateError::refused(ErrorClass::Damaged, message)
            .with_hint("Take another one; `fedi backup list` shows them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(id: &str, original: Option<&str>, tags: &[&str]) -> Stored {
        Stored {
            id: id.to_owned(),
            original: original.map(str::to_owned),
            time: "2026-01-01T00:00:00Z".parse().unwrap(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        }
    }

    #[test]
    fn a_snapshot_counts_only_with_its_mark() {
        let sorted = Sorted::new(vec![
            stored("a", None, &[WANTS_MARK, "number:1"]),
            stored("b", None, &[WANTS_MARK]),
            // Marked as proved since: its id is another.
            stored("d", Some("c"), &[WANTS_MARK, "proved"]),
            // Of a fedi that stored no marks.
            stored("e", None, &[]),
            // The last one: its mark may yet come.
            stored("f", None, &[WANTS_MARK, "number:2"]),
            stored("m", None, &[MARK, "marks:b"]),
            stored("n", None, &[MARK, "marks:c"]),
        ]);
        let ids = |all: &[Stored]| all.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&sorted.whole), ["b", "d", "e"]);
        assert_eq!(ids(&sorted.incomplete), ["a", "f"]);
        assert_eq!(sorted.marks_of(&["d".to_owned(), "e".to_owned()]), ["n"]);
        let at = |time: &str| sorted.abandoned(time.parse().unwrap()).count();
        assert_eq!((at("2026-01-01T01:00:00Z"), at("2026-01-02T00:00:01Z")), (0, 1));
    }
}
