//! Reads every file of an inventory, each by itself; what goes beyond one file is
//! for `check`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fedi_model::inventory::{Deployment, DeploymentFile, FediFile, HostFile, Inventory};
use fedi_model::{DeploymentName, HostName, NameError};
use serde::de::DeserializeOwned;

use crate::check::Findings;
use crate::document::{Document, Place};
use crate::folder::ROOT_FILE;
use crate::problem::Problem;
use crate::schema::FileKind;
use crate::suggest::suggest;
use crate::validate::validate;

/// A kind of file of an inventory.
pub(crate) trait InventoryFile: DeserializeOwned {
    /// Which kind.
    const KIND: FileKind;

    /// Takes down what is wrong with it by itself.
    fn check(&self, findings: &mut Findings<'_>);
}

/// Every file that could be read and fits its shape, with where things stand in it.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) fedi: Option<Read<FediFile>>,
    pub(crate) hosts: BTreeMap<HostName, Host>,
}

/// A folder under `hosts/`.
#[derive(Debug)]
pub(crate) struct Host {
    /// `None` where the file is missing or has problems of its own.
    pub(crate) file: Option<Read<HostFile>>,
    pub(crate) deployments: Vec<(DeploymentName, Read<DeploymentFile>, HasNix)>,
}

/// Whether a `.nix` file lies beside a deployment.
pub(crate) type HasNix = bool;

/// A file as text and as value.
#[derive(Debug)]
pub(crate) struct Read<T> {
    pub(crate) document: Document,
    pub(crate) value: T,
}

impl Files {
    /// The inventory, once nothing is wrong with it.
    pub(crate) fn into_inventory(self) -> Option<Inventory> {
        let mut inventory = Inventory { fedi: self.fedi?.value, hosts: BTreeMap::new(), deployments: BTreeMap::new() };
        for (name, host) in self.hosts {
            inventory.hosts.insert(name.clone(), host.file?.value);
            for (deployment, file, has_nix) in host.deployments {
                let it = Deployment { name: deployment.clone(), host: name.clone(), file: file.value, has_nix };
                inventory.deployments.insert(deployment, it);
            }
        }
        Some(inventory)
    }
}

pub(crate) fn host_dir(root: &Path, host: &HostName) -> PathBuf {
    root.join("hosts").join(host.as_str())
}

pub(crate) fn deployment_file(root: &Path, host: &HostName, name: &DeploymentName) -> PathBuf {
    host_dir(root, host).join("deployments").join(format!("{name}.toml"))
}

/// Reads all that is there.
pub(crate) fn read(root: &Path) -> (Files, Vec<Problem>) {
    let mut reader = Reader { root, problems: Vec::new() };
    let mut files = Files { fedi: reader.file(Path::new(ROOT_FILE)), hosts: BTreeMap::new() };
    let hosts = PathBuf::from("hosts");
    for (name, is_folder) in reader.entries(&hosts) {
        if is_folder && !name.starts_with('.') {
            let folder = hosts.join(&name);
            match HostName::new(name) {
                Ok(name) => {
                    let host = reader.host(&folder);
                    files.hosts.insert(name, host);
                }
                Err(error) => reader.bad_name(&folder, &error),
            }
        }
    }
    (files, reader.problems)
}

struct Reader<'a> {
    root: &'a Path,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn host(&mut self, folder: &Path) -> Host {
        let mut host = Host { file: self.file(&folder.join("host.toml")), deployments: Vec::new() };
        let deployments = folder.join("deployments");
        let entries = self.entries(&deployments);
        let has = |file: &str| entries.iter().any(|(name, _)| name == file);
        for (file, is_folder) in &entries {
            if *is_folder || file.starts_with('.') {
                continue;
            }
            let path = deployments.join(file);
            if let Some(stem) = file.strip_suffix(".nix") {
                if !has(&format!("{stem}.toml")) {
                    let message = format!("`{file}` belongs to no deployment");
                    let toml: Vec<&str> = entries.iter().filter_map(|(name, _)| name.strip_suffix(".toml")).collect();
                    let hint = match suggest(stem, toml) {
                        Some(near) => format!("Did you mean `{near}.nix`?"),
                        None => format!("Write `{stem}.toml` beside it"),
                    };
                    self.problems.push(Problem::with_file(&path, message).hint(hint));
                }
                continue;
            }
            let Some(stem) = file.strip_suffix(".toml") else { continue };
            match DeploymentName::new(stem) {
                Ok(name) => {
                    if let Some(read) = self.file(&path) {
                        host.deployments.push((name, read, has(&format!("{stem}.nix"))));
                    }
                }
                Err(error) => self.bad_name(&path, &error),
            }
        }
        host
    }

    /// Names in a folder, sorted, and whether each is a folder; none where the folder
    /// is not there.
    fn entries(&mut self, folder: &Path) -> Vec<(String, bool)> {
        let mut entries = Vec::new();
        let read = match fs::read_dir(self.root.join(folder)) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return entries,
            Err(error) => {
                self.unreadable(folder, &error);
                return entries;
            }
        };
        for entry in read.flatten() {
            if let Ok(name) = entry.file_name().into_string() {
                entries.push((name, entry.path().is_dir()));
            }
        }
        entries.sort();
        entries
    }

    fn file<T: InventoryFile>(&mut self, file: &Path) -> Option<Read<T>> {
        let text = match fs::read_to_string(self.root.join(file)) {
            Ok(text) => text,
            Err(error) => {
                self.unreadable(file, &error);
                return None;
            }
        };
        let (read, problems) = parse(file, text);
        self.problems.extend(problems);
        read
    }

    fn unreadable(&mut self, file: &Path, error: &std::io::Error) {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound if file.ends_with("host.toml") => {
                let problem = Problem::with_file(file, "The file is missing");
                self.problems.push(problem.hint("Every folder in `hosts/` needs one; `fedi host add` writes it"));
                return;
            }
            std::io::ErrorKind::NotFound => "The file is missing".to_owned(),
            std::io::ErrorKind::InvalidData => "The file is no UTF-8 text".to_owned(),
            _ => format!("It cannot be read: {error}"),
        };
        self.problems.push(Problem::with_file(file, message));
    }

    fn bad_name(&mut self, path: &Path, error: &NameError) {
        let problem = Problem::with_file(path, error.to_string());
        self.problems.push(problem.hint("Rename it, or begin its name with a dot to have it passed over"));
    }
}

/// Reads one file and checks it by itself. What is wrong with it is all told; where
/// its shape is wrong by nothing but keys that nobody knows, it is read as it was
/// probably meant, so that more can be told.
pub(crate) fn parse<T: InventoryFile>(file: &Path, text: String) -> (Option<Read<T>>, Vec<Problem>) {
    let (read, mut problems) = parse_unchecked::<T>(file, text);
    if let Some(read) = &read {
        read.value.check(&mut Findings::new(&read.document, &mut problems));
    }
    (read, problems)
}

fn parse_unchecked<T: InventoryFile>(file: &Path, text: String) -> (Option<Read<T>>, Vec<Problem>) {
    let mut document = match Document::parse(file, text) {
        Ok(document) => document,
        Err(problems) => return (None, problems),
    };
    let misfits = validate(&document, T::KIND.shape());
    if !misfits.problems.is_empty() {
        let others = misfits.problems.len() - misfits.unknown.len();
        let rest = if others == 0 { document.with_renamed(&misfits.unknown) } else { None };
        let value = rest.and_then(|rest| rest.try_into().ok());
        for (place, name) in &misfits.unknown {
            if let Some(name) = name {
                document.rename(place, name);
            }
        }
        return (value.map(|value| Read { document, value }), misfits.problems);
    }
    match toml::from_str(&document.text) {
        Ok(value) => (Some(Read { document, value }), Vec::new()),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            let problem = document.problem_at(offset, &Place::root(), error.message());
            (None, vec![problem])
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: &str = include_str!("../../../hosts/proxmox1/host.toml");
    const FEDI: &str = include_str!("../../../fedi.toml");

    /// Values of every type, some of which fit.
    const VALUES: [&str; 16] = [
        "1",
        "-1",
        "70000",
        "99999999999999999999",
        "1.5",
        "nan",
        "true",
        "\"\"",
        "\"text\"",
        "\"192.0.2.1\"",
        "\"example.test\"",
        "2026-01-01",
        "[]",
        "[\"a\", 1]",
        "{}",
        "{ file = \"a\" }",
    ];

    /// A file in which some lines are gone and some values are others.
    fn spoilt(text: &'static str) -> impl Strategy<Value = String> {
        let lines: Vec<&str> = text.lines().collect();
        let changes = prop::collection::vec((0..lines.len(), prop::option::of(0..VALUES.len())), 0..4);
        changes.prop_map(move |changes| {
            let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            for (line, value) in changes {
                lines[line] = match (value, lines[line].split_once(" = ")) {
                    (Some(value), Some((key, _))) => format!("{key} = {}", VALUES[value]),
                    _ => String::new(),
                };
            }
            lines.join("\n")
        })
    }

    /// What fits the shape is read, and what does not is told with a place in the file.
    fn check<T: InventoryFile>(text: &str) -> Result<(), TestCaseError> {
        let (read, problems) = parse_unchecked::<T>(Path::new("x.toml"), text.to_owned());
        prop_assert_eq!(read.is_none() && problems.is_empty(), false);
        for problem in &problems {
            let lines = text.lines().count().max(1);
            prop_assert!(problem.line.is_some_and(|line| (1..=lines + 1).contains(&line)), "{problem}");
            prop_assert!(problem.key.is_some() || problem.message.starts_with("This is no TOML"), "{}", problem);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_spoilt_host_file(text in spoilt(HOST)) {
            check::<HostFile>(&text)?;
        }

        #[test]
        fn a_spoilt_fedi_file(text in spoilt(FEDI)) {
            check::<FediFile>(&text)?;
        }

        #[test]
        fn any_text(text in "[a-z\\[\\]{}=\"'.,# \n\u{e9}0-9-]{0,80}") {
            check::<DeploymentFile>(&text)?;
        }
    }
}
