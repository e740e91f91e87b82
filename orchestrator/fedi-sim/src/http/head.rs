//! The head of a request, read line by line.

use crate::http::Limits;

/// Request line and header lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// As sent.
    pub(crate) target: String,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    headers: Vec<(String, String)>,
    bytes: usize,
    lines: usize,
}

/// What a line made of the head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    More,
    Done,
    /// Answered with this status and text, then closed.
    Refuse(u16, String),
    /// Over a limit: no answer, the connection just times out.
    Stall,
}

impl Head {
    /// Reads a request line; empty lines before it are skipped by the caller.
    pub(crate) fn start(line: &str) -> Result<Self, (u16, String)> {
        let bad = || (400, "bad request".to_owned());
        let position = line.find(" HTTP/").ok_or_else(bad)?;
        let (before, protocol) = (&line[..position], &line[position + 6..]);
        let target = before.rsplit(char::is_whitespace).next().unwrap_or_default();
        let method = before[..before.len() - target.len()].trim_end().rsplit(' ').next().unwrap_or_default();
        let (major, minor) = protocol.split_once('.').ok_or_else(bad)?;
        let digits = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse::<u32>().map_err(|_| bad())
        };
        let (major, minor) = (digits(major)?, digits(minor)?);
        if method.is_empty() || target.is_empty() {
            return Err(bad());
        }
        if major != 1 {
            return Err((506, format!("http protocol version {major}.{minor} not supported")));
        }
        if target.split('/').next().is_some_and(|authority| authority.contains('@')) {
            return Err((400, "invalid url".to_owned()));
        }
        Ok(Self { method: method.to_owned(), target: target.to_owned(), major, minor, ..Self::default() })
    }

    /// Takes the next line.
    pub(crate) fn add(&mut self, line: &str, limits: &Limits) -> Step {
        self.lines += 1;
        self.bytes += line.len();
        if self.lines >= limits.header_lines || self.bytes >= limits.header_bytes {
            return Step::Stall;
        }
        if line.is_empty() {
            return Step::Done;
        }
        if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = self.headers.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
            return Step::More;
        }
        match line.split_once(':') {
            Some((name, value)) if !name.trim_end().is_empty() && !name.trim_end().contains(' ') => {
                self.headers.push((name.trim_end().to_owned(), value.trim().to_owned()));
                Step::More
            }
            _ => Step::Refuse(506, "unable to parse request header".to_owned()),
        }
    }

    /// A header's value, by any case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `HTTP/1.1`
    pub(crate) fn protocol(&self) -> String {
        format!("HTTP/{}.{}", self.major, self.minor)
    }

    /// Path and query, without the scheme and host of an absolute URI.
    pub(crate) fn path_and_query(&self) -> (&str, Option<&str>) {
        let target = match self.target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |start| &rest[start..]),
            _ => &self.target,
        };
        let target = target.split('#').next().unwrap_or_default();
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
    }

    /// Length of the body as announced.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("Content-Length")?.parse().ok().filter(|length| *length > 0)
    }

    /// Media type and boundary of the content type.
    pub(crate) fn content_type(&self) -> (Option<String>, Option<String>) {
        let Some(header) = self.header("Content-Type") else { return (None, None) };
        let mut parts = header.split([';', ',']).map(str::trim);
        let kind = parts.next().map(str::to_owned);
        let boundary = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            (name.trim() == "boundary").then(|| value.trim().to_owned())
        });
        (kind, boundary.filter(|boundary| !boundary.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_are_read_as_loosely_as_pveproxy_does() {
        let head = Head::start("GET /api2/json/version HTTP/1.1").unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "/api2/json/version"));
        assert_eq!(Head::start("hello").unwrap_err().0, 400);
        assert_eq!(Head::start("PRI * HTTP/2.0").unwrap_err().0, 506);
    }

    #[test]
    fn an_absolute_uri_is_a_path() {
        let head = Head::start("GET https://10.0.0.1:8006/api2/json/version?x=1 HTTP/1.1").unwrap();
        assert_eq!(head.path_and_query(), ("/api2/json/version", Some("x=1")));
    }
}
