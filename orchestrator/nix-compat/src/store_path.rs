//! Paths of a Nix store: `<store folder>/<32 digits>-<name>`.
//! Source: the Nix manual, "Store Path" (nix.dev/manual/nix/2.34/store/store-path).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Digits of Nix's base 32: no `e`, `o`, `t`, `u`.
const DIGITS: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";
const DIGEST_LENGTH: usize = 32;
const NAME_MAX: usize = 211;

/// A path that lies directly in a Nix store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath {
    text: String,
    /// Where the base name begins in `text`.
    base: usize,
}

/// Why a text is no store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no store path: {reason}", text.escape_default())]
pub struct StorePathError {
    /// The text.
    pub text: String,
    /// The rule that it breaks.
    pub reason: &'static str,
}

impl StorePath {
    /// The usual store.
    pub const STORE: &'static str = "/nix/store";

    /// Reads an absolute path.
    pub fn parse(text: &str) -> Result<Self, StorePathError> {
        let refuse = |reason| Err(StorePathError { text: text.to_owned(), reason });
        let Some((store, base)) = text.rsplit_once('/') else { return refuse("it is not absolute") };
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control);
        if !store.starts_with('/') || !store[1..].split('/').all(plain) {
            return refuse("its folder is not an absolute path");
        }
        match check_base(base) {
            Ok(()) => Ok(Self { text: text.to_owned(), base: store.len() + 1 }),
            Err(reason) => refuse(reason),
        }
    }

    /// Reads a path or, as newer Nix writes in JSON, a base name in `store`.
    pub(crate) fn parse_in(text: &str, store: &str) -> Result<Self, StorePathError> {
        if text.starts_with('/') { Self::parse(text) } else { Self::parse(&format!("{store}/{text}")) }
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.text)
    }

    /// The folder of the store.
    pub fn store(&self) -> &str {
        &self.text[..self.base - 1]
    }

    /// Digest and name: the last part of the path.
    pub fn base_name(&self) -> &str {
        &self.text[self.base..]
    }

    /// The digest's 32 digits.
    pub fn digest(&self) -> &str {
        &self.base_name()[..DIGEST_LENGTH]
    }

    /// The name after the digest.
    pub fn name(&self) -> &str {
        &self.base_name()[DIGEST_LENGTH + 1..]
    }

    /// Whether it is a derivation.
    pub fn is_derivation(&self) -> bool {
        self.name().strip_suffix(".drv").is_some_and(|name| !name.is_empty())
    }
}

fn check_base(base: &str) -> Result<(), &'static str> {
    let bytes = base.as_bytes();
    if bytes.len() <= DIGEST_LENGTH + 1 || bytes[DIGEST_LENGTH] != b'-' {
        return Err("it does not begin with a digest of 32 digits and a `-`");
    }
    if !bytes[..DIGEST_LENGTH].iter().all(|byte| DIGITS.contains(byte)) {
        return Err("its digest has a character that is no digit of Nix's base 32");
    }
    let name = &bytes[DIGEST_LENGTH + 1..];
    if name.len() > NAME_MAX {
        return Err("its name is longer than 211 bytes");
    }
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-._?=".contains(byte)) {
        return Err("its name has a character that is not allowed");
    }
    // `.` and `..`, alone or before a dash, would be folders of their own.
    let first = name.split(|byte| *byte == b'-').next().unwrap_or_default();
    if first == b"." || first == b".." {
        return Err("its name is `.` or `..`, or begins so");
    }
    Ok(())
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for StorePath {
    type Err = StorePathError;
    fn from_str(text: &str) -> Result<Self, StorePathError> {
        Self::parse(text)
    }
}

impl From<StorePath> for PathBuf {
    fn from(path: StorePath) -> Self {
        Self::from(path.text)
    }
}

impl AsRef<Path> for StorePath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: &str = "/nix/store/5r7jmrdk3cdd3vy3min1n6f9gi28vvhx-hello-2.12.drv";

    #[test]
    fn its_parts() {
        let path = StorePath::parse(HELLO).unwrap();
        assert_eq!(path.store(), "/nix/store");
        assert_eq!(path.digest(), "5r7jmrdk3cdd3vy3min1n6f9gi28vvhx");
        assert_eq!(path.name(), "hello-2.12.drv");
        assert!(path.is_derivation());
    }

    #[test]
    fn what_is_none() {
        let digest = "5r7jmrdk3cdd3vy3min1n6f9gi28vvhx";
        for bad in [
            "",
            "/",
            "hello",
            "/nix/store",
            "/nix/store/hello",
            &format!("/nix/store/{digest}"),
            &format!("/nix/store/{digest}-"),
            &format!("/nix/store/{digest}-a/bin"),
            &format!("/nix/../store/{digest}-a"),
            &format!("nix/store/{digest}-a"),
            &format!("/nix/store/{}-a", digest.replace('5', "e")),
            &format!("/nix/store/{digest}-a b"),
            &format!("/nix/store/{digest}-."),
            &format!("/nix/store/{digest}-..-a"),
            &format!("/nix/store/{digest}-{}", "a".repeat(212)),
        ] {
            assert!(StorePath::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_path_reads_back(store in "(/[a-z]{1,8}){1,3}", digest in "[0-9a-df-np-sv-z]{32}", name in "[A-Za-z0-9+_?=][A-Za-z0-9+._?=-]{0,40}") {
            let text = format!("{store}/{digest}-{name}");
            let path = StorePath::parse(&text).unwrap();
            prop_assert_eq!(path.to_string(), text);
            prop_assert_eq!((path.store(), path.digest(), path.name()), (store.as_str(), digest.as_str(), name.as_str()));
        }

        #[test]
        fn any_text_is_read(text in "\\PC*", bytes in "(/nix/store/)?[0-9a-z]{30,34}-?.{0,4}") {
            for text in [text, bytes] {
                if let Ok(path) = StorePath::parse(&text) {
                    prop_assert_eq!(path.as_str(), text);
                    prop_assert!(!path.name().contains('/'));
                }
            }
        }
    }
}
