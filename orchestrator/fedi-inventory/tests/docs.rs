//! What is made from the types is as it stands in `docs/`. `FEDI_UPDATE_DOCS=1` renews it.

use std::fs;
use std::path::{Path, PathBuf};

use fedi_inventory::{FileKind, reference};

#[test]
fn docs_are_up_to_date() -> anyhow::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut files: Vec<(PathBuf, String)> = vec![(docs.join("inventory.md"), reference())];
    files.extend(FileKind::ALL.map(|kind| (docs.join("schema").join(kind.schema_file()), kind.json_schema())));
    for (path, content) in files {
        if std::env::var_os("FEDI_UPDATE_DOCS").is_some() {
            fs::create_dir_all(docs.join("schema"))?;
            fs::write(&path, &content)?;
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        anyhow::ensure!(
            there == content,
            "`{}` is not up to date: run `FEDI_UPDATE_DOCS=1 cargo test -p fedi-inventory --test docs`",
            path.display()
        );
    }
    Ok(())
}
