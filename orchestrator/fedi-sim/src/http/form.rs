//! Parameters from query, form body and JSON body, with the errors Perl's parsers give.

use serde_json::{Map, Value};

/// A body that is no JSON object, in Perl's words.
#[derive(Debug)]
pub(crate) struct NotAnObject(pub(crate) String);

/// Percent-decodes to bytes.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

fn decode(text: &str) -> String {
    String::from_utf8_lossy(&percent_decode(&text.replace('+', " "))).into_owned()
}

/// Form encoding as pveproxy reads it: `;` divides like `&`, a value ends at its second `=`, a repeated key makes
/// a list.
pub(crate) fn decode_form(text: &str) -> Map<String, Value> {
    let mut params = Map::new();
    for pair in text.split(['&', ';']).filter(|pair| !pair.is_empty()) {
        let mut parts = pair.split('=');
        let key = decode(parts.next().unwrap_or_default());
        // Perl's `split` drops empty fields at the end, but a lone `=` still gives an empty value.
        let value = parts.next().map(decode);
        let Some(value) = value else {
            params.insert(key, Value::Null);
            continue;
        };
        match params.get_mut(&key) {
            Some(Value::Array(list)) => list.push(value.into()),
            Some(Value::String(old)) => {
                let list = vec![Value::from(std::mem::take(old)), value.into()];
                params.insert(key, list.into());
            }
            _ => {
                params.insert(key, value.into());
            }
        }
    }
    params
}

/// A JSON body. `lines` are the line numbers of this version's `AnyEvent.pm` that its errors name.
pub(crate) fn decode_json(body: &[u8], lines: JsonLines) -> Result<Map<String, Value>, NotAnObject> {
    let place = |line: u32| format!(" at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line {line}.\n");
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(Value::String(text)) => Err(NotAnObject(format!(
            "Can't use string (\"{text}\") as a HASH ref while \"strict refs\" in use{}",
            place(lines.merge)
        ))),
        Ok(Value::Number(number)) => Err(NotAnObject(format!(
            "Can't use string (\"{number}\") as a HASH ref while \"strict refs\" in use{}",
            place(lines.merge)
        ))),
        Ok(Value::Array(_) | Value::Bool(_)) => Err(NotAnObject(format!("Not a HASH reference{}", place(lines.merge)))),
        Ok(Value::Null) => Ok(Map::new()),
        Err(error) => {
            let text = String::from_utf8_lossy(body);
            let offset = if error.is_eof() { text.chars().count() } else { error.column().saturating_sub(1) };
            let rest: String = text.chars().skip(offset).take(20).collect();
            let before = if rest.is_empty() { "(end of string)".to_owned() } else { rest };
            Err(NotAnObject(format!(
                "malformed JSON string, neither tag, array, object, number, string or atom, at character \
                 offset {offset} (before \"{before}\"){}",
                place(lines.decode)
            )))
        }
    }
}

/// Line numbers in `AnyEvent.pm`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonLines {
    pub(crate) decode: u32,
    pub(crate) merge: u32,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_semicolon_divides_and_a_second_equals_sign_ends_a_value() {
        let params = decode_form("vmid=x&boot=order=scsi0;net0");
        assert_eq!(Value::from(params), json!({"vmid": "x", "boot": "order", "net0": null}));
    }

    #[test]
    fn a_repeated_key_makes_a_list() {
        let params = decode_form("command=sh&command=-c&command=true");
        assert_eq!(Value::from(params), json!({"command": ["sh", "-c", "true"]}));
    }

    #[test]
    fn json_errors_name_the_offset() {
        let lines = JsonLines { decode: 934, merge: 978 };
        let error = decode_json(br#"{"vmid":"#, lines).unwrap_err();
        assert!(error.0.contains("at character offset 8 (before \"(end of string)\")"), "{}", error.0);
        assert!(decode_json(br#""x""#, lines).unwrap_err().0.contains("line 978."));
    }
}
