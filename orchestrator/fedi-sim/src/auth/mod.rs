//! Logging in: API tokens, tickets and the CSRF token, with pveproxy's order and words.

mod ticket;

use std::sync::Arc;

use serde_json::json;

pub(crate) use ticket::{check_csrf, csrf_token, new_ticket, verify_ticket};

use crate::access::capabilities;
use crate::call::{Call, Reply};
use crate::error::{ApiError, ApiResult};
use crate::http::percent_decoded;
use crate::sim::Sim;

/// What a request shows of itself.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    ticket: Option<String>,
    /// What follows `PVEAPIToken`.
    pub(crate) token: Option<String>,
}

/// Finds `name=value` or `name value` at the beginning of a header or after white space.
fn extract(header: &str, name: &str) -> Option<String> {
    let mut from = 0;
    while let Some(at) = header[from..].find(name).map(|at| at + from) {
        let begins = at == 0 || header[..at].ends_with(char::is_whitespace);
        let rest = &header[at + name.len()..];
        if begins && rest.starts_with(['=', ' ']) {
            let value = rest[1..].split(';').next().unwrap_or_default();
            return Some(percent_decoded(value)).filter(|value| !value.is_empty());
        }
        from = at + name.len();
    }
    None
}

impl Credentials {
    pub(crate) fn of<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        const COOKIE: &str = "PVEAuthCookie";
        let authorization = header("Authorization");
        let ticket = header("Cookie")
            .and_then(|cookie| extract(cookie, COOKIE))
            .or_else(|| authorization.and_then(|value| extract(value, COOKIE)));
        let token = match ticket {
            Some(_) => None,
            None => authorization.and_then(|value| extract(value, "PVEAPIToken")),
        };
        Self { ticket, token }
    }
}

/// Calls that need no login.
pub(crate) fn is_open(method: &str, path: &str) -> bool {
    matches!((method, path.trim_end_matches('/')), ("GET", "/access/domains") | ("GET" | "POST", "/access/ticket"))
}

/// Who this is, and whether a token said so; else the reason of the 401.
pub(crate) fn login(sim: &Arc<Sim>, credentials: &Credentials) -> Result<(String, bool), &'static str> {
    const FAILED: &str = "Authentication failed!";
    let now = sim.clock.seconds();
    let state = sim.read();
    if let Some(token) = &credentials.token {
        let (id, secret) = token.rsplit_once('=').ok_or(FAILED)?;
        let (owner, name) = id.split_once('!').ok_or(FAILED)?;
        if !state.access.is_enabled(owner, now) {
            return Err(FAILED);
        }
        let known = state.access.users.get(owner).and_then(|user| user.tokens.get(name)).ok_or(FAILED)?;
        let expired = known.expire > 0 && known.expire < now;
        if expired || !known.secret.matches(secret) {
            return Err(FAILED);
        }
        return Ok((id.to_owned(), true));
    }
    let ticket = credentials.ticket.as_ref().ok_or("No ticket")?;
    let user = verify_ticket(&state.ticket_key, ticket, now).ok_or(FAILED)?;
    if !state.access.is_enabled(&user, now) {
        return Err(FAILED);
    }
    Ok((user, false))
}

/// `POST /access/ticket`
pub(crate) fn create_ticket(call: &Call) -> ApiResult<Reply> {
    let failed = || ApiError { code: Some(401), ..ApiError::die("authentication failure") };
    let params = &call.params;
    let mut user = params.need("username");
    if let Some(realm) = params.text("realm").filter(|realm| !realm.is_empty()) {
        user = format!("{user}@{realm}");
    }
    let password = params.need("password");
    let now = call.sim.clock.seconds();
    let state = call.sim.read();
    let renews = verify_ticket(&state.ticket_key, &password, now).is_some_and(|holder| holder == user);
    let known = state.access.users.get(&user).and_then(|user| user.password.as_ref());
    let matches = renews || known.is_some_and(|hash| hash.matches(&password));
    if !matches || !state.access.is_enabled(&user, now) {
        return Err(failed());
    }
    let mut data = json!({
        "username": user,
        "ticket": new_ticket(&state.ticket_key, &user, now),
        "CSRFPreventionToken": csrf_token(&state.ticket_key, &user, now),
        "cap": capabilities(&state.access, call.sim.version, &user),
    });
    if state.nodes.len() > 1 {
        data["clustername"] = "fedi-sim".into();
    }
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(authorization: &str) -> Credentials {
        Credentials::of(|name| (name == "Authorization").then_some(authorization))
    }

    #[test]
    fn the_scheme_may_be_followed_by_a_space_but_keeps_its_case() {
        assert_eq!(of("PVEAPIToken root@pam!full=x").token.as_deref(), Some("root@pam!full=x"));
        assert_eq!(of("PVEAPIToken=root@pam!full=x").token.as_deref(), Some("root@pam!full=x"));
        assert_eq!(of("pveapitoken=root@pam!full=x").token, None);
        assert_eq!(of("Bearer abc").token, None);
    }

    #[test]
    fn a_cookie_beats_a_token() {
        let both = Credentials::of(|name| match name {
            "Cookie" => Some("a=b; PVEAuthCookie=PVE%3Ax"),
            _ => Some("PVEAPIToken=root@pam!full=x"),
        });
        assert_eq!((both.ticket.as_deref(), both.token), (Some("PVE:x"), None));
    }
}
