//! Reads Proxmox's JSON, where numbers may be text and booleans may be numbers.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// A boolean as `true`, `1` or `"1"`; what is missing or null is false.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(value) => value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.as_str(), "" | "0"),
        _ => false,
    })
}

/// A number, or text that is one.
pub(crate) fn integer<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    let value = Value::deserialize(deserializer)?;
    convert(&value).ok_or_else(|| de::Error::custom(format!("`{value}` is not a number that fits")))
}

/// A number, text that is one, or nothing.
pub(crate) fn maybe_integer<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        value => {
            let number = convert(&value);
            Some(number.ok_or_else(|| de::Error::custom(format!("`{value}` is not a number that fits")))?)
        }
    })
}

/// The text of a scalar.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(u8::from(*value).to_string()),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a fraction of a count of bytes or seconds does not matter")]
fn convert<T: TryFrom<i128>>(value: &Value) -> Option<T> {
    let number = match value {
        Value::Number(number) => match number.as_i64() {
            Some(integer) => i128::from(integer),
            None => {
                number.as_u64().map_or_else(|| number.as_f64().map(|float| float as i128), |n| Some(i128::from(n)))?
            }
        },
        Value::String(text) => {
            text.trim().parse().ok().or_else(|| text.trim().parse::<f64>().ok().map(|f| f as i128))?
        }
        Value::Bool(value) => i128::from(*value),
        _ => return None,
    };
    T::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Answer {
        #[serde(default, deserialize_with = "flag")]
        on: bool,
        #[serde(deserialize_with = "integer")]
        size: u64,
        #[serde(default, deserialize_with = "maybe_integer")]
        vmid: Option<u32>,
    }

    fn read(value: Value) -> Result<Answer, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn each_way_of_writing_is_read() {
        let expected = Answer { on: true, size: 2048, vmid: Some(100) };
        for value in [
            json!({"on": true, "size": 2048, "vmid": 100}),
            json!({"on": 1, "size": "2048", "vmid": "100"}),
            json!({"on": "1", "size": 2048.0, "vmid": 100}),
        ] {
            assert_eq!(read(value).unwrap(), expected);
        }
        let bare = read(json!({"size": 0, "vmid": null})).unwrap();
        assert_eq!(bare, Answer { on: false, size: 0, vmid: None });
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for value in [json!({"size": "x"}), json!({"size": -1}), json!({"size": null}), json!({})] {
            assert!(read(value).is_err());
        }
    }
}
