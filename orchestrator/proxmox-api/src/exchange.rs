//! One request and its answer over HTTP, without repetition.

use std::collections::BTreeMap;
use std::error::Error as StdError;

use hyper::ext::ReasonPhrase;
use proxmox_schema::Method;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};
use serde_json::Value;

use crate::class::Class;
use crate::classify;
use crate::credentials::Credentials;
use crate::error::{During, Error};
use crate::lenient;
use crate::request::Call;
use crate::tls;

/// An answer as it came.
pub(crate) struct Raw {
    status: u16,
    reason: String,
    body: String,
}

impl Raw {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }
}

/// Reads the answer whole. A connection that breaks here leaves a write unclear.
pub(crate) async fn read(response: reqwest::Response) -> Result<Raw, reqwest::Error> {
    let status = response.status();
    let phrase = response.extensions().get::<ReasonPhrase>().map(|phrase| text(phrase.as_bytes()));
    let reason = phrase.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_owned());
    let body = response.bytes().await?;
    Ok(Raw { status: status.as_u16(), reason, body: text(&body) })
}

/// Proxmox writes UTF-8 or, for the characters it has, Latin-1.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// What the answer says: its data, or why there is none.
pub(crate) fn understand(call: &Call, raw: &Raw, credentials: &Credentials) -> Result<Value, Error> {
    let json: Option<Value> = serde_json::from_str(&raw.body).ok();
    if raw.status == 200 {
        return match json {
            Some(Value::Object(mut fields)) if fields.contains_key("data") => {
                Ok(fields.remove("data").unwrap_or_default())
            }
            _ => Err(unreadable(call).with_status(raw.status)),
        };
    }
    let json = json.unwrap_or_default();
    let message = json["message"].as_str().map(str::trim).filter(|message| !message.is_empty());
    let plain = raw.body.trim();
    let spoken = message.unwrap_or(if raw.reason.is_empty() { plain } else { &raw.reason });
    let spoken = if spoken.is_empty() { "no reason is given" } else { spoken };
    let errors: BTreeMap<String, String> = json["errors"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, text)| Some((name.clone(), lenient::text_of(text)?.trim().to_owned())))
        .collect();
    let class = classify::of_answer(call.method, raw.status, spoken, &errors);
    let text = explain(&class, spoken, &errors, credentials);
    Err(Error::new(class, during(call), text).with_status(raw.status).with_errors(errors))
}

fn during(call: &Call) -> During {
    During::Request { method: call.method, path: call.path.clone() }
}

/// Why, in one line.
fn explain(class: &Class, spoken: &str, errors: &BTreeMap<String, String>, credentials: &Credentials) -> String {
    let one = |(name, text): (&String, &String)| format!("`{name}`: {}", text.replace('\n', "; "));
    let said = match errors.iter().map(one).collect::<Vec<_>>() {
        errors if errors.is_empty() => spoken.replace('\n', " "),
        errors => errors.join("; "),
    };
    let principal = credentials.principal();
    match class {
        Class::Permission { path: Some(path), privilege: Some(privilege) } => {
            format!("{principal} lacks `{}` on `{path}`", privilege.replace('|', "` or `"))
        }
        Class::Permission { .. } => format!("{principal} lacks a right: {said}"),
        Class::Credentials => format!("{principal} is unknown, expired or has another secret"),
        _ => said,
    }
}

/// A success whose answer cannot be read: for a write, the name of its task is lost.
pub(crate) fn unreadable(call: &Call) -> Error {
    let class = if call.method == Method::Get { Class::Permanent } else { Class::Ambiguous };
    Error::new(class, during(call), "the answer is not what Proxmox VE answers")
}

/// Why no answer came.
pub(crate) fn broken(call: &Call, error: reqwest::Error) -> Error {
    // The URL is known from the context, and a query may be long.
    let error = error.without_url();
    if let Some((text, presented)) = tls::certificate_problem(&error) {
        return Error::new(Class::Certificate { presented }, during(call), text);
    }
    let class = if error.is_connect() {
        Class::NotSent
    } else if error.is_builder() {
        Class::Permanent
    } else if call.method == Method::Get {
        Class::Transient
    } else {
        Class::Ambiguous
    };
    let text = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(&error) };
    Error::new(class, during(call), text).with_cause(error)
}

/// The last cause says most: `Connection refused`.
fn innermost(error: &reqwest::Error) -> String {
    let mut last: &(dyn StdError + 'static) = error;
    while let Some(next) = tls::cause(last) {
        last = next;
    }
    last.to_string()
}

/// The headers that say who calls.
pub(crate) fn login_headers(token: Option<&str>, ticket: Option<(&str, &str)>) -> Result<HeaderMap, Error> {
    let secret = |text: &str| {
        let mut value =
            HeaderValue::from_str(text).map_err(|_| Error::preparation("The credentials hold a line break"))?;
        value.set_sensitive(true);
        Ok::<_, Error>(value)
    };
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert(reqwest::header::AUTHORIZATION, secret(token)?);
    }
    if let Some((ticket, csrf)) = ticket {
        headers.insert(COOKIE, secret(&format!("PVEAuthCookie={}", crate::request::encode(ticket)))?);
        headers.insert("CSRFPreventionToken", secret(csrf)?);
    }
    Ok(headers)
}

/// The body of a request that has one; always JSON, so that nothing needs to be encoded twice.
pub(crate) fn with_body(builder: reqwest::RequestBuilder, call: &Call) -> reqwest::RequestBuilder {
    if !call.has_body() {
        return builder;
    }
    let body = Value::Object(call.parameters.as_map().clone()).to_string();
    builder.header(CONTENT_TYPE, "application/json").body(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Parameters;

    fn understand_text(method: Method, status: u16, reason: &str, body: &str) -> Result<Value, Error> {
        let call = Call { method, template: "/x", path: "/x".to_owned(), parameters: Parameters::new() };
        let raw = Raw { status, reason: reason.to_owned(), body: body.to_owned() };
        let credentials = Credentials::Token("fedi@pve!deploy=secret".parse().unwrap());
        understand(&call, &raw, &credentials)
    }

    fn why(method: Method, status: u16, reason: &str, body: &str) -> String {
        let error = understand_text(method, status, reason, body).unwrap_err();
        format!("{error}: {}", error.message())
    }

    #[test]
    fn data_is_read() {
        let data = understand_text(Method::Get, 200, "OK", r#"{"data":[{"n":1}],"total":7}"#).unwrap();
        assert_eq!(data[0]["n"], 1);
        assert!(understand_text(Method::Put, 200, "OK", r#"{"data":null}"#).unwrap().is_null());
    }

    #[test]
    fn errors_read_as_sentences() {
        let body = r#"{"data":null,"message":"Permission check failed (/pool/fedi, VM.Allocate)\n"}"#;
        assert_eq!(
            why(Method::Post, 403, "Permission check failed (/pool/fedi, VM.Allocate)", body),
            "Proxmox refused the request (403): Token `fedi@pve!deploy` lacks `VM.Allocate` on `/pool/fedi`"
        );
        assert_eq!(
            why(Method::Get, 401, "Authentication failed!", ""),
            "Proxmox refused the credentials (401): Token `fedi@pve!deploy` is unknown, expired or has another secret"
        );
        let body = r#"{"data":null,"errors":{"cores":"value must have a minimum value of 1"},"message":"Parameter verification failed.\n"}"#;
        assert_eq!(
            why(Method::Post, 400, "Parameter verification failed.", body),
            "Proxmox refused the request (400): `cores`: value must have a minimum value of 1"
        );
        assert_eq!(
            why(Method::Post, 596, "Connection timed out", ""),
            "Proxmox may or may not have carried out the request: Connection timed out"
        );
        assert_eq!(
            why(Method::Get, 595, "No route to host", ""),
            "Proxmox could not answer the request (595): No route to host"
        );
    }

    #[test]
    fn a_lost_answer_of_a_write_is_unclear() {
        let error = understand_text(Method::Post, 200, "OK", "<html>").unwrap_err();
        assert_eq!(*error.class(), Class::Ambiguous);
        let error = understand_text(Method::Get, 200, "OK", "<html>").unwrap_err();
        assert_eq!(*error.class(), Class::Permanent);
    }

    #[test]
    fn latin_1_is_read() {
        assert_eq!(text(b"disk '\xe9'"), "disk 'é'");
        assert_eq!(text("disk 'é'".as_bytes()), "disk 'é'");
    }
}
