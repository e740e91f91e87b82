//! Reads a credential that fedi itself needs, from a file that only its owner can
//! read or from a variable. The value is wiped when dropped and never printed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fedi_model::inventory::Credential;
use zeroize::{Zeroize, Zeroizing};

use crate::environment::{Environment, PathError};

/// No token is as long as this, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A credential's value.
#[derive(Clone)]
pub struct CredentialText(Zeroizing<String>);

impl CredentialText {
    /// The value, without spaces and newlines around it. Do not copy it anywhere that
    /// outlives this.
    pub fn expose(&self) -> &str {
        self.0.trim()
    }
}

impl fmt::Debug for CredentialText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialText(..)")
    }
}

/// Why a credential could not be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Its path leans on something that is not there.
    #[error("Failed to find the credential")]
    Path(#[from] PathError),
    /// The file is not there or cannot be read.
    #[error("Failed to read the credential file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else can read the file.
    #[error("The credential file `{}` can be read by others (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user, who could change it.
    #[error("The credential file `{}` belongs to user {owner}, not to the user that runs fedi", path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
        /// The numeric user id.
        owner: u32,
    },
    /// The variable is not set, or empty.
    #[error("The environment variable `{name}`, which holds a credential, is not set")]
    Unset {
        /// The variable.
        name: String,
    },
    /// There is nothing in it, or it is no text, or far too long.
    #[error("The credential in `{place}` is {what}")]
    Unusable {
        /// The file or variable.
        place: String,
        /// In words.
        what: &'static str,
    },
}

impl CredentialError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Path(_) => return None,
            Self::Read { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
                format!("Write the credential to `{0}` and run `chmod 600 {0}`", path.display())
            }
            Self::Read { path, .. } => format!("Run `ls -l {}` to see who may read it", path.display()),
            Self::Exposed { path, .. } => format!("Run `chmod 600 {}`", path.display()),
            Self::Stranger { path, .. } => format!("Run `chown $(id -u) {}`", path.display()),
            Self::Unset { name } => format!("Run `export {name}=...` before fedi, or name a file instead"),
            Self::Unusable { place, .. } => format!("Write the credential to `{place}`, and nothing else"),
        })
    }
}

/// Reads the credential. A relative file name starts at fedi's configuration folder.
pub(crate) fn read(credential: &Credential, environment: &Environment) -> Result<CredentialText, CredentialError> {
    match credential {
        Credential::File(text) => {
            let config = if text.starts_with(['/', '~', '$']) { PathBuf::new() } else { environment.config_dir()? };
            read_file(&environment.resolve(&config, text)?)
        }
        Credential::Env(name) => match environment.variable(name) {
            Some(value) => check(name, Zeroizing::new(value)),
            None => Err(CredentialError::Unset { name: name.clone() }),
        },
    }
}

fn read_file(path: &Path) -> Result<CredentialText, CredentialError> {
    let failed = |source| CredentialError::Read { path: path.to_owned(), source };
    // Opened first and asked then, so that what is checked is what is read.
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(CredentialError::Exposed { path: path.to_owned(), mode });
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me && metadata.uid() != 0 {
        return Err(CredentialError::Stranger { path: path.to_owned(), owner: metadata.uid() });
    }
    let place = path.display().to_string();
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => check(&place, Zeroizing::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Err(CredentialError::Unusable { place, what: "no text" })
        }
    }
}

fn check(place: &str, text: Zeroizing<String>) -> Result<CredentialText, CredentialError> {
    let unusable = |what| Err(CredentialError::Unusable { place: place.to_owned(), what });
    let value = text.trim();
    if value.is_empty() {
        return unusable("empty");
    }
    if text.len() as u64 >= LONGEST {
        return unusable("too long");
    }
    Ok(CredentialText(text))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn from_file(content: &[u8], mode: u32) -> Result<CredentialText, CredentialError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let environment = Environment::fixed([("FEDI_CONFIG_DIR", folder.path().to_str().unwrap())]);
        read(&Credential::File("token".to_owned()), &environment)
    }

    #[test]
    fn a_private_file_is_read_and_trimmed() {
        assert_eq!(from_file(b" s3cret\n", 0o600).unwrap().expose(), "s3cret");
        assert_eq!(from_file(b"s3cret", 0o400).unwrap().expose(), "s3cret");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o660] {
            let error = from_file(b"s3cret", mode).unwrap_err();
            assert!(matches!(error, CredentialError::Exposed { .. }), "{mode:o}");
            assert!(error.hint().unwrap().starts_with("Run `chmod 600 /"));
        }
    }

    #[test]
    fn nothing_useful_in_the_file() {
        for content in [&b""[..], b" \n", b"\xff\xfe"] {
            assert!(matches!(from_file(content, 0o600), Err(CredentialError::Unusable { .. })));
        }
    }

    #[test]
    fn from_a_variable() {
        let environment = Environment::fixed([("TOKEN", "s3cret")]);
        assert_eq!(read(&Credential::Env("TOKEN".to_owned()), &environment).unwrap().expose(), "s3cret");
        let error = read(&Credential::Env("OTHER".to_owned()), &environment).unwrap_err();
        assert_eq!(error.to_string(), "The environment variable `OTHER`, which holds a credential, is not set");
    }

    #[test]
    fn no_print_shows_it() {
        let text = from_file(b"s3cret", 0o600).unwrap();
        assert!(!format!("{text:?}").contains("s3cret"));
    }
}
