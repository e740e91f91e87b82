//! An answer and its bytes.

use serde_json::{Map, Value};

use crate::call::Reply;
use crate::error::ApiError;

/// An answer before it is written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Reason phrase; `None` = the status' own words.
    pub(crate) reason: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) location: Option<String>,
    /// Came through pvedaemon, whose `Connection: close` is passed on beside pveproxy's own header.
    pub(crate) proxied: bool,
    /// Seconds (of simulated time) before it is sent.
    pub(crate) delay: u64,
    /// The connection ends without an answer instead.
    pub(crate) cut: bool,
}

pub(crate) const JSON: &str = "application/json;charset=UTF-8";

/// The words that belong to a status.
fn words(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        501 => "Not Implemented",
        506 => "Variant Also Negotiates",
        _ => "Internal Server Error",
    }
}

impl Response {
    /// An error outside the API: its text is reason and body at once.
    pub(crate) fn error(status: u16, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { status, body: text.clone().into_bytes(), reason: Some(text), ..Self::default() }
    }

    /// An answer with a reason and nothing else.
    pub(crate) fn bare(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: Some(reason.into()), ..Self::default() }
    }

    /// Nothing; the connection ends.
    pub(crate) fn cut() -> Self {
        Self { cut: true, ..Self::default() }
    }

    /// The answer of an API call in the format of its path (`json`, `extjs` ...).
    pub(crate) fn api(format: &str, result: Result<Reply, ApiError>) -> Self {
        let mut object = Map::new();
        let extjs = matches!(format, "extjs" | "htmljs");
        let (mut status, mut reason) = (200, None);
        match result {
            Ok(reply) => {
                object.insert("data".to_owned(), reply.data);
                if let Some(total) = reply.total {
                    object.insert("total".to_owned(), total.into());
                }
                if extjs {
                    object.insert("success".to_owned(), 1.into());
                }
            }
            Err(error) => {
                object.insert("data".to_owned(), Value::Null);
                object.insert("message".to_owned(), error.message.clone().into());
                if !error.errors.is_empty() {
                    let errors: Map<String, Value> =
                        error.errors.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect();
                    object.insert("errors".to_owned(), errors.into());
                }
                if extjs {
                    object.insert("status".to_owned(), error.http_status().into());
                    object.insert("success".to_owned(), 0.into());
                } else {
                    status = error.http_status();
                    reason = Some(error.message);
                }
            }
        }
        let body = Value::from(object).to_string().into_bytes();
        match format {
            "html" => {
                let shown = reason.as_deref().unwrap_or("OK").trim_end().to_owned();
                let page = format!("<!DOCTYPE html>\n<html lang=\"en\"><body>{shown}</body></html>\n");
                let content_type = Some("text/html;charset=UTF-8");
                Self { status, reason, body: page.into_bytes(), content_type, ..Self::default() }
            }
            "htmljs" => {
                let content_type = Some("text/html;charset=UTF-8");
                Self { status, reason, body, content_type, ..Self::default() }
            }
            _ => {
                let delay = if status == 401 { 3 } else { 0 };
                Self { status, reason, body, content_type: Some(JSON), delay, ..Self::default() }
            }
        }
    }

    /// The first line of the reason. A carriage return in it turns the whole answer into a bare 400.
    fn settle(&mut self) -> String {
        let reason = self.reason.take().filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or_else(|| words(self.status).to_owned());
        let first = reason.split('\n').next().unwrap_or_default();
        if first.contains('\r') {
            self.status = 400;
            self.body.clear();
            return words(400).to_owned();
        }
        first.to_owned()
    }

    /// Whether the reason holds a character that pvedaemon cannot write: the worker dies of it.
    pub(crate) fn has_wide_reason(&self) -> bool {
        let first = self.reason.as_deref().and_then(|reason| reason.split('\n').next());
        first.is_some_and(|first| first.chars().any(|c| u32::from(c) > 0xff))
    }

    /// The bytes on the wire. Latin-1 characters of the reason go out as single bytes.
    pub(crate) fn bytes(mut self, protocol: &str, keep_alive: bool, now: &str) -> Vec<u8> {
        let reason = self.settle();
        let mut head = format!("{protocol} {} ", self.status).into_bytes();
        head.extend(reason.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')));
        let mut lines = String::from("\r\nCache-Control: max-age=0\r\n");
        if self.proxied && self.status < 400 {
            lines.push_str("Connection: close\r\n");
        }
        if keep_alive {
            lines.push_str("Connection: Keep-Alive\r\n");
        } else if !(self.proxied && self.status < 400) {
            lines.push_str("Connection: close\r\n");
        }
        lines.push_str(&format!("Date: {now}\r\nPragma: no-cache\r\n"));
        if let Some(location) = &self.location {
            lines.push_str(&format!("Location: {location}\r\n"));
        }
        lines.push_str("Server: pve-api-daemon/3.0\r\n");
        if !self.body.is_empty() {
            lines.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if let Some(kind) = self.content_type.filter(|_| !self.body.is_empty()) {
            lines.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        lines.push_str(&format!("Expires: {now}\r\n\r\n"));
        head.extend(lines.into_bytes());
        head.extend(self.body);
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_error_is_the_reason() {
        let error = ApiError::die("first\nsecond");
        let bytes = Response::api("json", Err(error)).bytes("HTTP/1.1", false, "now");
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 500 first\r\n"), "{text}");
        assert!(text.ends_with(r#"{"data":null,"message":"first\nsecond\n"}"#), "{text}");
    }

    #[test]
    fn a_carriage_return_in_the_reason_is_a_bad_request() {
        let bytes = Response::error(500, "a 'x\r\ny'").bytes("HTTP/1.1", false, "now");
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
