//! The words of a parameter line in a table.

use std::str::FromStr;

use crate::parameter::Kind;

pub(crate) fn parse_kind(word: &str) -> Result<Kind, String> {
    Ok(match word {
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Boolean,
        "list" => Kind::List,
        other => return Err(format!("`{other}` is no type")),
    })
}

pub(crate) fn parse_range<T: FromStr>(text: &str) -> Result<(Option<T>, Option<T>), String> {
    let (from, to) = text.split_once("..").ok_or_else(|| format!("`{text}` is no range"))?;
    let end = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("`{text}` is no number")),
    };
    Ok((end(from)?, end(to)?))
}

/// `scsi0..3` is scsi0 scsi1 scsi2 scsi3.
pub(crate) fn expand(word: &str) -> Vec<String> {
    let numbered = word.split_once("..").and_then(|(first, last)| {
        let digits = first.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (prefix, start) = first.split_at(digits);
        Some((prefix, start.parse::<u16>().ok()?, last.parse::<u16>().ok()?))
    });
    match numbered {
        Some((prefix, start, last)) => (start..=last).map(|number| format!("{prefix}{number}")).collect(),
        None => vec![word.to_owned()],
    }
}

/// Splits at white space, but keeps `{a b}` and `="a b"` whole.
pub(crate) fn tokens(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = if rest.starts_with('{') {
            rest.find('}').map(|end| end + 1)
        } else if let Some(quoted) = rest.strip_prefix("=\"") {
            quoted.find('"').map(|end| end + 3)
        } else {
            Some(rest.find(char::is_whitespace).unwrap_or(rest.len()))
        };
        let (token, remainder) = rest.split_at(end.ok_or("a brace or quote is not closed")?);
        tokens.push(token.replace('"', ""));
        rest = remainder.trim_start();
    }
    Ok(tokens)
}
