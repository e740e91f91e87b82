//! What an agent's refusal means for a step.

use fedi_engine::drivers::{DriverError, DriverErrorKind};
use fedi_guest::protocol::{ErrorKind, ErrorReply};

/// What the agent on the guest of `deployment` said, as a driver's error.
pub fn refusal(deployment: &str, error: ErrorReply) -> DriverError {
    let kind = match error.kind {
        ErrorKind::Busy | ErrorKind::Timeout | ErrorKind::Changed | ErrorKind::Locked | ErrorKind::Unreachable => {
            DriverErrorKind::Unavailable
        }
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
        // No room does not come by waiting a moment, and an application may be stopped meanwhile.
        _ => DriverErrorKind::Failed,
    };
    let message = format!("Guest `{deployment}`: {}", error.message);
    DriverError { message, causes: error.causes, hint: error.hint, left: None, kind }
}
