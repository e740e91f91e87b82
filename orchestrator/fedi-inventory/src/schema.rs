//! The shape of the three files, made from the types in `fedi_model::inventory`: as
//! JSON Schema for editors, and as [`Shape`] for the checks and the reference.

use std::sync::OnceLock;

use fedi_model::inventory::{DeploymentFile, FediFile, HostFile};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

/// One of the three kinds of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `fedi.toml`.
    Fedi,
    /// `hosts/<host>/host.toml`.
    Host,
    /// `hosts/<host>/deployments/<name>.toml`.
    Deployment,
}

impl FileKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fedi, Self::Host, Self::Deployment];

    /// Where such files lie.
    pub fn pattern(self) -> &'static str {
        match self {
            Self::Fedi => "fedi.toml",
            Self::Host => "hosts/<host>/host.toml",
            Self::Deployment => "hosts/<host>/deployments/<name>.toml",
        }
    }

    /// Name of its schema file: `host.json`.
    pub fn schema_file(self) -> &'static str {
        match self {
            Self::Fedi => "fedi.json",
            Self::Host => "host.json",
            Self::Deployment => "deployment.json",
        }
    }

    /// Its JSON Schema (draft 2020-12), as pretty JSON with a final newline.
    pub fn json_schema(self) -> String {
        let mut text = format!("{:#}", self.schema());
        text.push('\n');
        text
    }

    fn schema(self) -> Value {
        fn of<T: JsonSchema>() -> Schema {
            SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
        }
        let mut schema = match self {
            Self::Fedi => of::<FediFile>(),
            Self::Host => of::<HostFile>(),
            Self::Deployment => of::<DeploymentFile>(),
        };
        schema.insert("title".to_owned(), self.pattern().into());
        let mut value = schema.to_value();
        drop_null(&mut value);
        value
    }

    /// Its shape.
    pub(crate) fn shape(self) -> &'static Shape {
        static SHAPES: OnceLock<[Shape; 3]> = OnceLock::new();
        let shapes = SHAPES.get_or_init(|| {
            Self::ALL.map(|kind| {
                let root = kind.schema();
                let definitions = root.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
                Shape::read(&root, &definitions)
            })
        });
        &shapes[self as usize]
    }
}

/// TOML has no null: what may be left out is just left out.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    map.insert("type".to_owned(), one);
                }
            }
            if let Some(Value::Array(options)) = map.get_mut("anyOf") {
                options.retain(|option| option.get("type").is_none_or(|kind| kind != "null"));
                if let [one] = options.as_slice() {
                    let one = one.clone();
                    map.remove("anyOf");
                    if let Value::Object(one) = one {
                        for (key, value) in one {
                            map.entry(key).or_insert(value);
                        }
                    }
                }
            }
            map.values_mut().for_each(drop_null);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_null),
        _ => {}
    }
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Anything,
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    Number,
    /// A string; the name of its type (`Domain`) or format (`ip`), where it has one.
    Text(Option<String>),
    /// One of some words, or a table with exactly one of some keys.
    Choice {
        words: Vec<Described>,
        forms: Vec<Key>,
    },
    List(Box<Shape>),
    Table {
        keys: Vec<Key>,
        others: Option<Box<Shape>>,
    },
}

/// A word with what it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Described {
    pub(crate) word: String,
    pub(crate) description: String,
}

/// A key of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) required: bool,
    pub(crate) default: Option<Value>,
    pub(crate) shape: Shape,
}

impl Shape {
    fn read(schema: &Value, definitions: &Map<String, Value>) -> Self {
        let Value::Object(map) = schema else { return Self::Anything };
        if let Some(reference) = text(map, "$ref") {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return match definitions.get(name).map(|schema| Self::read(schema, definitions)) {
                Some(Self::Text(None)) => Self::Text(Some(name.to_owned())),
                Some(shape) => shape,
                None => Self::Anything,
            };
        }
        if let Some(options) = map.get("oneOf").and_then(Value::as_array) {
            return Self::choice(options, definitions);
        }
        match text(map, "type") {
            Some("string") if map.contains_key("enum") => {
                let words = map["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let words = words.map(|word| Described { word: word.to_owned(), description: String::new() });
                Self::Choice { words: words.collect(), forms: Vec::new() }
            }
            Some("string") => Self::Text(text(map, "format").map(str::to_owned)),
            Some("boolean") => Self::Boolean,
            Some("number") => Self::Number,
            Some("integer") => Self::Integer {
                min: map.get("minimum").and_then(Value::as_i64).unwrap_or(i64::MIN),
                max: map.get("maximum").and_then(Value::as_i64).unwrap_or(match text(map, "format") {
                    Some("uint32") => i64::from(u32::MAX),
                    _ => i64::MAX,
                }),
            },
            Some("array") => {
                let items = map.get("items").map_or(Self::Anything, |items| Self::read(items, definitions));
                Self::List(Box::new(items))
            }
            Some("object") => Self::Table {
                keys: keys(map, definitions),
                others: match map.get("additionalProperties") {
                    Some(Value::Bool(false)) => None,
                    Some(schema @ Value::Object(_)) => Some(Box::new(Self::read(schema, definitions))),
                    _ => Some(Box::new(Self::Anything)),
                },
            },
            _ => Self::Anything,
        }
    }

    fn choice(options: &[Value], definitions: &Map<String, Value>) -> Self {
        let (mut words, mut forms) = (Vec::new(), Vec::new());
        for option in options {
            let Value::Object(map) = option else { continue };
            let description = text(map, "description").unwrap_or_default().to_owned();
            if let Some(word) = text(map, "const") {
                words.push(Described { word: word.to_owned(), description });
            } else if let Some(all) = map.get("enum").and_then(Value::as_array) {
                let all = all.iter().filter_map(Value::as_str);
                words.extend(all.map(|word| Described { word: word.to_owned(), description: description.clone() }));
            } else {
                forms.extend(
                    keys(map, definitions).into_iter().map(|key| Key { description: description.clone(), ..key }),
                );
            }
        }
        Self::Choice { words, forms }
    }
}

fn keys(map: &Map<String, Value>, definitions: &Map<String, Value>) -> Vec<Key> {
    let required: Vec<&str> =
        map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = map.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties
        .map(|(name, schema)| Key {
            name: name.clone(),
            description: schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            required: required.contains(&name.as_str()),
            default: schema.get("default").cloned(),
            shape: Shape::read(schema, definitions),
        })
        .collect()
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str)
}
