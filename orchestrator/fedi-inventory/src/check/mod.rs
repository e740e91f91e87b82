//! What no type can say: ranges, references, and what holds between files.

mod across;
mod addresses;
mod deployment;
mod dns;
mod fedi;
mod host;

use crate::document::{Document, Place};
use crate::problem::Problem;
use crate::read::Files;

/// Everything that is wrong with files that are each well-formed.
pub(crate) fn check(files: &Files) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(file) = &files.fedi {
        let mut findings = Findings::new(&file.document, &mut problems);
        fedi::check(&file.value, &mut findings);
    }
    for host in files.hosts.values() {
        if let Some(file) = &host.file {
            let mut findings = Findings::new(&file.document, &mut problems);
            host::check(&file.value, &mut findings);
            addresses::check(&file.value.address_pools, &mut findings);
            dns::check(&file.value.dns, &mut findings);
        }
        for (_, file, _) in &host.deployments {
            let mut findings = Findings::new(&file.document, &mut problems);
            deployment::check(&file.value, &mut findings);
        }
    }
    across::check(files, &mut problems);
    problems
}

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
