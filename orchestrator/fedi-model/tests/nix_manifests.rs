//! Holds the manifests that the NixOS modules produce against the types that read
//! them. `tests/nix/run` writes the snapshots from the modules and fails when they
//! change; this test reads them with unknown fields refused. So neither side can
//! change alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use fedi_model::manifest::{Item, Manifest};
use serde_json::Value;

fn snapshots() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/nix/snapshots");
    let mut found: Vec<(String, Value)> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), value["manifest"].clone())
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

#[test]
fn every_manifest_of_the_modules_reads() {
    let all = snapshots();
    assert!(all.len() >= 10, "only {} snapshots in tests/nix/snapshots", all.len());
    for (name, value) in all {
        let text = serde_json::to_vec(&value).unwrap();
        let manifest = Manifest::from_json(&text).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(manifest.apps.len(), 1, "{name}");
    }
}

/// What Nix writes and what comes out of the types again is the same, but for fields
/// that say nothing. A field that the modules stop writing would be filled in here.
#[test]
fn nothing_is_lost_on_the_way() {
    for (name, value) in snapshots() {
        let manifest: Manifest = serde_json::from_value(value.clone()).unwrap();
        let again = serde_json::to_value(&manifest).unwrap();
        assert_eq!(again, value, "{name}");
    }
}

#[test]
fn all_kinds_and_all_applications_are_among_them() {
    let mut kinds = BTreeSet::new();
    let mut apps = BTreeSet::new();
    for (_, value) in snapshots() {
        let manifest: Manifest = serde_json::from_value(value).unwrap();
        for (name, app) in manifest.apps {
            apps.insert(name.to_string());
            kinds.extend(app.items.values().map(|item| match item {
                Item::Postgres(_) => "postgres",
                Item::Mysql(_) => "mysql",
                Item::Redis(_) => "redis",
                Item::Bucket(_) => "bucket",
                Item::Directory(_) => "directory",
                Item::Derived(_) => "derived",
            }));
        }
    }
    assert_eq!(apps.into_iter().collect::<Vec<_>>(), ["garage", "mastodon", "matrix", "peertube", "pixelfed"]);
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["bucket", "derived", "directory", "mysql", "postgres", "redis"]);
}
