//! What no type can say: ranges, references, and what holds between files.

mod across;
mod addresses;
mod deployment;
mod dns;
mod fedi;
mod host;

use crate::document::{Document, Place};
use crate::problem::Problem;

pub(crate) use across::check as check_across;

/// Takes down what is wrong with one file.
pub(crate) struct Findings<'a> {
    document: &'a Document,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(document: &'a Document, problems: &'a mut Vec<Problem>) -> Self {
        Self { document, problems }
    }

    pub(crate) fn add(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.push(self.document.problem(place, message));
    }

    /// The line that something of the file begins in.
    pub(crate) fn line(&self, place: &Place) -> usize {
        self.document.line(place)
    }

    pub(crate) fn add_with_hint(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(self.document.problem(place, message).hint(hint));
    }
}

/// The place of a key below the root.
pub(crate) fn at(keys: &[&str]) -> Place {
    keys.iter().fold(Place::root(), |place, key| place.key(key))
}

/// Whether `text` is a mail address as far as anybody can tell without sending one.
pub(crate) fn is_mail_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\" ".contains(c);
    !local.is_empty() && local.chars().all(plain) && domain.contains('.') && domain.chars().all(plain)
}
