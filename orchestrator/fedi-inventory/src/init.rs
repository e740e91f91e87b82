//! Makes a new inventory, and the keys that fedi needs: what is there already stays as
//! it is, so that a second run changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use age::secrecy::ExposeSecret;
use fedi_model::name::HostName;
use zeroize::Zeroizing;

use crate::environment::{Environment, PathError};
use crate::folder::{Folder, LoadError, ROOT_FILE};
use crate::schema::FileKind;
use crate::template::{self, SCHEMA_DIR};
use crate::write;

/// Stands in `flake.nix` for the address of fedi's repository (RFC 2606) until the operator
/// writes the real one.
pub const FLAKE_PLACEHOLDER: &str = "git+https://git.example.org/fedi";

/// What a new inventory is to be like.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Its name; without one, that of the folder.
    pub name: Option<String>,
    /// The operator's mail address.
    pub email: Option<String>,
    /// Where fedi's flake is (a flake reference); without it, `flake.nix` has
    /// [`FLAKE_PLACEHOLDER`] to be replaced.
    pub flake_url: Option<String>,
    /// More files that belong into it, relative to its root, with their content.
    pub more: Vec<(PathBuf, String)>,
}

/// What there is afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InitReport {
    /// What was made.
    pub made: Vec<PathBuf>,
    /// What was there before and stays as it was.
    pub kept: Vec<PathBuf>,
    /// Public half of the age identity (`age1...`), where it was made now.
    pub age_recipient: Option<String>,
}

/// Why the inventory is not complete. What was made so far stays, and a second run goes
/// on from there.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// No name was given and the folder's is no good.
    #[error("`{name}` cannot name an inventory")]
    Name {
        /// The name.
        name: String,
    },
    /// What was given cannot stand in `flake.nix`.
    #[error("`{url}` is no flake reference")]
    FlakeUrl {
        /// What was given.
        url: String,
    },
    /// The inventory that is there has mistakes.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no place for keys.
    #[error("Failed to find fedi's configuration folder")]
    Path(#[from] PathError),
    /// Writing failed.
    #[error("Failed to make `{}`", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `ssh-keygen` failed.
    #[error("Failed to make the SSH key `{}`: {what}", path.display())]
    SshKey {
        /// The key.
        path: PathBuf,
        /// What it said.
        what: String,
    },
}

impl InitError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name { .. } => {
                "Give one: lower-case letters, digits and `-`, beginning with a letter, at most 40".to_owned()
            }
            Self::FlakeUrl { .. } => {
                "Write one as `git+https://...`, `git+file:///...` or `github:owner/name`".to_owned()
            }
            Self::Load(error) => return error.hint(),
            Self::Path(_) => "Set `HOME` or `FEDI_CONFIG_DIR`".to_owned(),
            Self::SshKey { path, .. } => {
                format!("Install OpenSSH's client, or make it yourself: `ssh-keygen -t ed25519 -f {}`", path.display())
            }
            Self::Io { .. } => return None,
        })
    }
}

/// Makes an inventory at `root` (the folder is made too), an age identity and an SSH
/// key, where they are missing.
pub fn init(root: &Path, options: &InitOptions, environment: &Environment) -> Result<InitReport, InitError> {
    let mut init = Init { root, report: InitReport::default() };
    let new = !root.join(ROOT_FILE).exists();
    let name = if new { Some(inventory_name(root, options)?) } else { None };
    let flake = flake(options.flake_url.as_deref())?;
    folder(root)?;
    folder(&root.join("hosts"))?;
    folder(&root.join(SCHEMA_DIR))?;
    for kind in FileKind::ALL {
        init.generated(&root.join(SCHEMA_DIR).join(kind.schema_file()), &kind.json_schema())?;
    }
    if let Some(name) = name {
        let schema = template::schema_line(root, &root.join(ROOT_FILE), FileKind::Fedi);
        init.file(&root.join(ROOT_FILE), &template::fedi(&name, options.email.as_deref(), &schema))?;
    } else {
        init.kept(&root.join(ROOT_FILE));
    }
    // Git keeps no empty folder.
    init.file(&root.join("hosts/.gitkeep"), "")?;
    init.file(&root.join(".gitignore"), template::GITIGNORE)?;
    init.file(&root.join("flake.nix"), &flake)?;
    for (path, content) in &options.more {
        init.file(&root.join(path), content)?;
    }
    // Read back: where the keys belong is for the file to say.
    let read = Folder::load(root, environment.clone())?;
    init.age_identity(&read.age_identity()?)?;
    init.ssh_key(&read.ssh_key()?, &read.fedi().name)?;
    Ok(init.report)
}

fn flake(url: Option<&str>) -> Result<String, InitError> {
    let Some(url) = url else { return Ok(template::FLAKE.to_owned()) };
    // It stands between quotes in the language of Nix.
    if !url.contains([':', '/']) || !url.chars().all(|c| c.is_ascii_graphic() && !"\"\\$".contains(c)) {
        return Err(InitError::FlakeUrl { url: url.to_owned() });
    }
    Ok(template::FLAKE.replace(FLAKE_PLACEHOLDER, url))
}

fn inventory_name(root: &Path, options: &InitOptions) -> Result<String, InitError> {
    let name = options.name.clone().unwrap_or_else(|| {
        let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let folder = absolute.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let plain = folder.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        plain.collect::<String>().trim_matches('-').to_owned()
    });
    match HostName::new(name.as_str()) {
        Ok(_) => Ok(name),
        Err(_) => Err(InitError::Name { name }),
    }
}

fn folder(path: &Path) -> Result<(), InitError> {
    fs::create_dir_all(path).map_err(|source| InitError::Io { path: path.to_owned(), source })
}

fn private_parent(path: &Path) -> Result<(), InitError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    write::private_folder(parent).map_err(|source| InitError::Io { path: parent.to_owned(), source })
}

struct Init<'a> {
    root: &'a Path,
    report: InitReport,
}

impl Init<'_> {
    fn file(&mut self, path: &Path, content: &str) -> Result<(), InitError> {
        if let Some(parent) = path.parent() {
            folder(parent)?;
        }
        self.written(path, write::create(path, content.as_bytes(), 0o644))
    }

    /// A file that is fedi's own: brought up to date where it is an older one.
    fn generated(&mut self, path: &Path, content: &str) -> Result<(), InitError> {
        match fs::read_to_string(path) {
            Ok(old) if old != content => self.written(path, write::replace(path, content.as_bytes())),
            _ => self.file(path, content),
        }
    }

    fn age_identity(&mut self, path: &Path) -> Result<(), InitError> {
        if path.exists() {
            self.kept(path);
            return Ok(());
        }
        private_parent(path)?;
        let identity = age::x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        // The form that `age-keygen` writes.
        let text = Zeroizing::new(format!("# public key: {recipient}\n{}\n", identity.to_string().expose_secret()));
        self.written(path, write::create(path, text.as_bytes(), 0o600))?;
        self.report.age_recipient = Some(recipient);
        Ok(())
    }

    fn ssh_key(&mut self, path: &Path, name: &str) -> Result<(), InitError> {
        if path.exists() {
            self.kept(path);
            return Ok(());
        }
        private_parent(path)?;
        let failed = |what: String| InitError::SshKey { path: path.to_owned(), what };
        let output = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C"])
            .arg(format!("fedi {name}"))
            .arg("-f")
            .arg(path)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        self.report.made.push(path.to_owned());
        Ok(())
    }

    fn written(&mut self, path: &Path, result: io::Result<()>) -> Result<(), InitError> {
        match result {
            Ok(()) => self.report.made.push(self.shown(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.kept(path),
            Err(source) => return Err(InitError::Io { path: path.to_owned(), source }),
        }
        Ok(())
    }

    fn kept(&mut self, path: &Path) {
        self.report.kept.push(self.shown(path));
    }

    /// Relative to the inventory, where it lies there.
    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.root).unwrap_or(path).to_owned()
    }
}
