//! The manifest on the guest: what the applications of its system are.

use fedi_model::AppName;
use fedi_model::manifest::{App, Manifest};

use crate::error::GuestError;
use crate::file;
use crate::guest::Guest;
use crate::protocol::ErrorKind;

/// Where the manifest is.
pub(crate) const PATH: &str = "/etc/fedi/manifest.json";

/// The manifest, `None` where the system carries none.
pub(crate) fn load(guest: &Guest) -> Result<Option<Manifest>, GuestError> {
    let path = guest.path(PATH);
    let Some(bytes) = file::read(&path)? else { return Ok(None) };
    Manifest::from_json(&bytes).map(Some).map_err(|error| {
        let mut what = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            what = format!("{what}: {cause}");
        }
        GuestError::Damaged { path, what }
    })
}

/// One application of the manifest.
pub(crate) fn app(guest: &Guest, name: &AppName) -> Result<App, GuestError> {
    let mut manifest = load(guest)?.ok_or_else(|| {
        GuestError::refused(ErrorKind::Missing, format!("The guest has no `{PATH}`"))
            .with_hint("Activate a system that declares its applications first")
    })?;
    manifest.apps.remove(name).ok_or_else(|| {
        let known: Vec<&str> = manifest.apps.keys().map(AppName::as_str).collect();
        GuestError::refused(ErrorKind::Missing, format!("The manifest has no application `{name}`"))
            .with_hint(format!("It has: {}", known.join(", ")))
    })
}
