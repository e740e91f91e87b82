//! What an agent's refusal means for a step.

use fedi_engine::drivers::{DriverError, DriverErrorKind};
use fedi_guest::protocol::{ErrorKind, ErrorReply};

use crate::repository::LOCKED;

/// What the agent on the guest of `deployment` said, as a driver's error.
pub fn refusal(deployment: &str, error: ErrorReply) -> DriverError {
    let kind = match error.kind {
        ErrorKind::DiskFull
        | ErrorKind::Busy
        | ErrorKind::Timeout
        | ErrorKind::Changed
        | ErrorKind::Locked
        | ErrorKind::Unreachable => DriverErrorKind::Unavailable,
        ErrorKind::Permission | ErrorKind::Password | ErrorKind::Denied => DriverErrorKind::Denied,
        ErrorKind::WrongGuest | ErrorKind::StaleEpoch | ErrorKind::NotEmpty | ErrorKind::Untrusted => {
            DriverErrorKind::Foreign
        }
        ErrorKind::Held | ErrorKind::Running => DriverErrorKind::Drift,
        ErrorKind::Cancelled => DriverErrorKind::Interrupted,
        ErrorKind::Invalid
        | ErrorKind::Unsupported
        | ErrorKind::Protocol
        | ErrorKind::Missing
        | ErrorKind::Incompatible => DriverErrorKind::Invalid,
        _ => DriverErrorKind::Failed,
    };
    // The guest knows no commands of the operator's.
    let hint = if error.kind == ErrorKind::Locked { Some(LOCKED.to_owned()) } else { error.hint };
    let message = format!("Guest `{deployment}`: {}", error.message);
    DriverError { message, causes: error.causes, hint, left: None, kind }
}
