//! Tickets and CSRF tokens. They have PVE's shape; the signature is the simulator's own.

use sha2::{Digest, Sha256};

use crate::sim::Sim;

/// Seconds a ticket is good for.
const LIFETIME: u64 = 2 * 3600;
/// Seconds a ticket may seem to come from the future.
const GRACE: u64 = 300;

fn signature(key: &str, purpose: &str, data: &str) -> String {
    hex::encode(Sha256::digest(format!("{key}\0{purpose}\0{data}\0{key}")))
}

fn is_timely(stamp: &str, now: u64) -> bool {
    u64::from_str_radix(stamp, 16).is_ok_and(|time| time < now + GRACE && now < time + LIFETIME)
}

/// `PVE:user@realm:TIME::signature`
pub(crate) fn new_ticket(key: &str, user: &str, now: u64) -> String {
    let plain = format!("PVE:{user}:{now:08X}");
    let signed = signature(key, "ticket", &plain);
    format!("{plain}::{signed}")
}

/// Whose ticket this is, if it is good.
pub(crate) fn verify_ticket(key: &str, ticket: &str, now: u64) -> Option<String> {
    let (plain, signed) = ticket.split_once("::")?;
    let rest = plain.strip_prefix("PVE:")?;
    let (user, stamp) = rest.rsplit_once(':')?;
    let good = signature(key, "ticket", plain) == signed && is_timely(stamp, now);
    good.then(|| user.to_owned())
}

/// `TIME:signature`
pub(crate) fn csrf_token(key: &str, user: &str, now: u64) -> String {
    let stamp = format!("{now:08X}");
    let signed = signature(key, "csrf", &format!("{stamp}:{user}"));
    format!("{stamp}:{signed}")
}

/// Checks the token that must accompany writes made with a ticket.
pub(crate) fn check_csrf(sim: &Sim, user: &str, token: Option<&str>) -> Result<(), ()> {
    let (stamp, signed) = token.and_then(|token| token.split_once(':')).ok_or(())?;
    let key = sim.read().ticket_key.clone();
    let good = signature(&key, "csrf", &format!("{stamp}:{user}")) == signed && is_timely(stamp, sim.clock.seconds());
    if good { Ok(()) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_two_hours_and_not_when_changed() {
        let ticket = new_ticket("key", "root@pam", 1_000_000);
        let holder = |ticket: &str, now| verify_ticket("key", ticket, now);
        assert_eq!(holder(&ticket, 1_000_100).as_deref(), Some("root@pam"));
        assert_eq!(holder(&ticket, 1_000_000 + LIFETIME), None);
        assert_eq!(holder(&ticket.replace("root", "fedi"), 1_000_100), None);
        assert_eq!(holder("garbage", 1_000_100), None);
    }
}
