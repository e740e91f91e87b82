//! What is made from the code is as it stands in `docs/`, and the crates are layered as
//! docs/architecture.md says. `FEDI_UPDATE_DOCS=1` renews the generated parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The generated part of docs/architecture.md stands between these.
const MARKS: (&str, &str) = ("<!-- crates: made by `cargo test -p fedi --test docs` -->\n", "<!-- crates end -->\n");

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Compares a file with what it should be, or renews it.
fn up_to_date(path: &Path, wanted: &str) -> Result<()> {
    if std::env::var_os("FEDI_UPDATE_DOCS").is_some() {
        fs::write(path, wanted)?;
    }
    let there = fs::read_to_string(path).unwrap_or_default();
    ensure!(
        there == wanted,
        "`{}` is not up to date: run `FEDI_UPDATE_DOCS=1 cargo test -p fedi --test docs`",
        path.display()
    );
    Ok(())
}

#[test]
fn cli_reference() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_fedi")).arg("reference").output()?;
    ensure!(output.status.success());
    up_to_date(&docs().join("cli.md"), &String::from_utf8(output.stdout)?)
}

/// Every command that the reference has prints its help.
#[test]
fn every_command_has_help() -> Result<()> {
    let reference = fs::read_to_string(docs().join("cli.md"))?;
    let commands: Vec<&str> = reference.lines().filter_map(|line| line.strip_prefix("## `fedi ")).collect();
    ensure!(commands.len() > 25, "{commands:?}");
    for command in commands {
        let words = command.trim_end_matches('`').split_whitespace();
        let output = Command::new(env!("CARGO_BIN_EXE_fedi")).args(words).arg("--help").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && text.contains("Usage: fedi"), "fedi {command} --help: {text}");
    }
    Ok(())
}

/// Every `fedi` command that the README shows is one that fedi takes. `--help` at the end
/// has it understood and not carried out.
#[test]
fn the_commands_of_the_readme_are_taken() -> Result<()> {
    let readme = fs::read_to_string(docs().join("../README.md"))?.replace("\\\n", " ");
    let fenced = readme.split("```").skip(1).step_by(2).flat_map(str::lines).map(str::trim);
    let indented = readme.lines().filter_map(|line| line.strip_prefix("    $ "));
    let commands: Vec<&str> = fenced.chain(indented).filter_map(|line| line.strip_prefix("fedi ")).collect();
    ensure!(commands.len() >= 8, "{commands:?}");
    for command in &commands {
        let inner = command.rsplit_once("sandbox run fedi ").map_or(*command, |(_, inner)| inner);
        let words = inner.split_whitespace().map(|word| word.trim_matches('\''));
        let output = Command::new(env!("CARGO_BIN_EXE_fedi")).args(words).arg("--help").output()?;
        ensure!(output.status.success(), "`fedi {command}`: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// What Markdown files lead to is there.
#[test]
fn links_lead_somewhere() -> Result<()> {
    let root = docs().join("..");
    let mut files = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    for folder in [docs(), docs().join("decisions")] {
        let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        files.extend(
            entries.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|it| it.extension() == Some("md".as_ref())),
        );
    }
    for file in files {
        let text = fs::read_to_string(&file)?;
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            let path = target.split('#').next().unwrap_or_default();
            let is_here = !path.is_empty() && !path.contains("://") && !path.contains(' ');
            let leads = file.parent().is_some_and(|folder| folder.join(path).exists());
            ensure!(!is_here || leads, "`{}` leads to `{target}`, which is not there", file.display());
        }
    }
    Ok(())
}

/// The workspace as cargo sees it.
struct Workspace {
    /// Description of each member.
    members: BTreeMap<String, String>,
    /// What each member uses, members and others, without what only its tests use.
    uses: BTreeMap<String, BTreeSet<String>>,
    /// What each package is built from, by id; and its name.
    closure: BTreeMap<String, (String, Vec<String>)>,
}

impl Workspace {
    fn read() -> Result<Self> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(cargo)
            .args(["metadata", "--offline", "--locked", "--format-version=1", "--filter-platform", &platform])
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let ids: BTreeSet<&str> = list(&metadata["workspace_members"]).filter_map(Value::as_str).collect();
        let (mut members, mut uses) = (BTreeMap::new(), BTreeMap::new());
        for package in list(&metadata["packages"]).filter(|package| ids.contains(text(&package["id"]))) {
            let name = text(&package["name"]).to_owned();
            let normal = list(&package["dependencies"]).filter(|it| it["kind"].is_null());
            uses.insert(name.clone(), normal.map(|it| text(&it["name"]).to_owned()).collect());
            members.insert(name, text(&package["description"]).to_owned());
        }
        let closure = list(&metadata["resolve"]["nodes"]).map(|node| {
            let is_normal = |it: &&Value| list(&it["dep_kinds"]).any(|kind| kind["kind"].is_null());
            let below = list(&node["deps"]).filter(is_normal).map(|it| text(&it["pkg"]).to_owned());
            (text(&node["id"]).to_owned(), (name_of(&metadata, text(&node["id"])), below.collect()))
        });
        Ok(Self { members, uses, closure: closure.collect() })
    }

    /// The members that `member` uses.
    fn arrows<'a>(&'a self, member: &str) -> impl Iterator<Item = &'a String> {
        self.uses[member].iter().filter(|name| self.members.contains_key(*name))
    }

    /// The names of all that a member is built from.
    fn built_from(&self, member: &str) -> BTreeSet<&str> {
        let is_member =
            |(id, (name, _)): &(&String, &(String, Vec<String>))| name == member && id.contains("path+file");
        let mut left: Vec<&String> = self.closure.iter().filter(is_member).map(|(id, _)| id).collect();
        let (mut seen, mut names) = (BTreeSet::new(), BTreeSet::new());
        while let Some(id) = left.pop() {
            if let Some((name, below)) = self.closure.get(id).filter(|_| seen.insert(id)) {
                names.insert(name.as_str());
                left.extend(below);
            }
        }
        names
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn name_of(metadata: &Value, id: &str) -> String {
    let found = list(&metadata["packages"]).find(|package| package["id"] == id);
    found.map(|package| text(&package["name"]).to_owned()).unwrap_or_default()
}

/// The members, each after all that it uses.
fn layers(workspace: &Workspace) -> Result<Vec<&String>> {
    let mut order: Vec<&String> = Vec::new();
    while order.len() < workspace.members.len() {
        let is_next = |name: &&String| !order.contains(name) && workspace.arrows(name).all(|it| order.contains(&it));
        let next = workspace.members.keys().find(is_next);
        order.push(next.with_context(|| format!("There is a circle above {order:?}"))?);
    }
    Ok(order)
}

#[test]
fn the_crates_are_as_the_architecture_says() -> Result<()> {
    let workspace = Workspace::read()?;
    let mut table = String::from("| crate | uses | what it is |\n|---|---|---|\n");
    for name in layers(&workspace)?.iter().rev() {
        let arrows: Vec<String> = workspace.arrows(name).map(|it| format!("`{it}`")).collect();
        let _ = writeln!(table, "| `{name}` | {} | {} |", arrows.join(" "), workspace.members[*name]);
    }
    let path = docs().join("architecture.md");
    let there = fs::read_to_string(&path)?;
    let (before, rest) = there.split_once(MARKS.0).context("docs/architecture.md has lost its first mark")?;
    let (_, after) = rest.split_once(MARKS.1).context("docs/architecture.md has lost its second mark")?;
    for name in workspace.members.keys() {
        ensure!(before.contains(name.as_str()), "the picture in docs/architecture.md does not have `{name}`");
    }
    up_to_date(&path, &format!("{before}{}{table}{}{after}", MARKS.0, MARKS.1))
}

#[test]
fn the_layers_hold() -> Result<()> {
    let workspace = Workspace::read()?;
    layers(&workspace)?;
    for pure in ["fedi-model", "fedi-plan"] {
        let built_from = workspace.built_from(pure);
        ensure!(built_from.contains("serde"), "{pure} is built from {built_from:?}");
        for io in ["tokio", "reqwest", "hyper", "rusqlite", "rustix"] {
            ensure!(!built_from.contains(io), "`{pure}` is pure, but is built from `{io}`");
        }
    }
    for client in ["proxmox-api", "proxmox-schema", "octodns-client", "nix-compat"] {
        let fedi = workspace.arrows(client).find(|name| name.starts_with("fedi"));
        ensure!(fedi.is_none(), "`{client}` is a plain client, but uses `{fedi:?}`");
    }
    for (member, uses) in &workspace.uses {
        // A whole site for tests is a front end of its own.
        let may_name = ["fedi", "fedi-testsite"].contains(&member.as_str());
        ensure!(may_name || !uses.contains("fedi-drivers"), "`{member}` names concrete drivers");
        // The measurements compare with a bare database.
        let may_open = ["fedi-engine", "fedi-bench"].contains(&member.as_str());
        ensure!(may_open || !uses.contains("rusqlite"), "`{member}` opens databases");
        ensure!(!uses.contains("fedi"), "`{member}` uses the command line");
    }
    let guest = workspace.built_from("fedi-guest");
    // It speaks S3 through `fedi-state`; it keeps no journal and plans nothing.
    for foreign in ["fedi-engine", "fedi-plan", "rusqlite", "aws-lc-rs", "openssl-sys"] {
        ensure!(!guest.contains(foreign), "the agent on guests is built from `{foreign}`");
    }
    Ok(())
}
