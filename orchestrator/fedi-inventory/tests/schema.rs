//! The JSON Schemas say what the types say.

#![allow(clippy::unwrap_used)]

use fedi_inventory::FileKind;
use serde_json::Value;

fn walk(value: &Value, look: &mut dyn FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            look(map);
            map.values().for_each(|value| walk(value, look));
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, look)),
        _ => {}
    }
}

#[test]
fn every_key_is_described_and_none_may_be_null() {
    for kind in FileKind::ALL {
        let schema: Value = serde_json::from_str(&kind.json_schema()).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{}", kind.pattern());
        assert!(!kind.json_schema().contains("\"null\""));
        walk(&schema, &mut |map| {
            // The forms of an enum are described as a whole.
            if map.contains_key("description") || map.contains_key("$defs") {
                let keys = map.get("properties").and_then(Value::as_object);
                for (name, key) in keys.into_iter().flatten() {
                    let one_form =
                        map.get("required").is_some_and(|all| all.as_array().is_some_and(|it| it.len() == 1));
                    assert!(key.get("description").is_some() || one_form, "`{name}` has no description");
                }
            }
        });
    }
}
