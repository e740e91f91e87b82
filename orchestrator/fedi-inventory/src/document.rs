//! A TOML file as a tree that remembers where everything stands.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::Problem;

/// A value and the byte offset that it begins at.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) start: usize,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Value {
    String(String),
    Integer(Option<i64>),
    Float(f64),
    Boolean,
    Datetime,
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table with its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) start: usize,
    pub(crate) key: String,
    pub(crate) node: Node,
}

impl Value {
    /// The kind of value, in words with their article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean => "true or false",
            Self::Datetime => "a date or time",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The way from the root of a file to a value: `addresses[0].first`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
}

impl Place {
    pub(crate) fn root() -> Self {
        Self::default()
    }

    pub(crate) fn key(&self, key: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(Part::Key(key.to_owned()));
        Self(parts)
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        let mut parts = self.0.clone();
        parts.push(Part::Index(index));
        Self(parts)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            match part {
                Part::Key(key) if number == 0 => f.write_str(key)?,
                Part::Key(key) => write!(f, ".{key}")?,
                Part::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A TOML file that could be read as TOML.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) root: Node,
}

impl Document {
    /// Reads `text`; every mistake in its TOML becomes a problem.
    pub(crate) fn parse(file: &Path, text: String) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(&text);
        if errors.is_empty() {
            let root = Node { start: 0, value: convert_table(table.get_ref()) };
            return Ok(Self { file: file.to_owned(), text, root });
        }
        let problem = |error: &toml::de::Error| {
            let (line, column) = line_and_column(&text, error.span().map_or(0, |span| span.start));
            let message = format!("This is no TOML: {}", error.message());
            Problem { line: Some(line), column: Some(column), ..Problem::with_file(file, message) }
        };
        Err(errors.iter().map(problem).collect())
    }

    /// The line and column, from 1, of a byte offset.
    pub(crate) fn line_and_column(&self, offset: usize) -> (usize, usize) {
        line_and_column(&self.text, offset)
    }

    /// A problem at a byte offset.
    pub(crate) fn problem_at(&self, offset: usize, place: &Place, message: impl Into<String>) -> Problem {
        let (line, column) = self.line_and_column(offset);
        let key = place.to_string();
        Problem {
            line: Some(line),
            column: Some(column),
            key: (!key.is_empty()).then_some(key),
            ..Problem::with_file(&self.file, message)
        }
    }

    /// The line, from 1, of what is at `place` or of what it would stand in.
    pub(crate) fn line(&self, place: &Place) -> usize {
        self.line_and_column(self.offset(place)).0
    }

    /// A problem at `place`; where that is not in the file, at what it would stand in.
    pub(crate) fn problem(&self, place: &Place, message: impl Into<String>) -> Problem {
        self.problem_at(self.offset(place), place, message)
    }

    /// The file's content with some of its keys renamed, or taken out where they get
    /// no other name.
    pub(crate) fn with_renamed(&self, renamed: &[(Place, Option<String>)]) -> Option<toml::Table> {
        let mut table: toml::Table = toml::from_str(&self.text).ok()?;
        for (place, name) in renamed {
            let (last, parents) = place.0.split_last()?;
            let mut value = None;
            for part in parents {
                value = Some(match (part, value) {
                    (Part::Key(key), None) => table.get_mut(key)?,
                    (Part::Key(key), Some(value)) => toml::Value::get_mut(value, key)?,
                    (Part::Index(index), Some(value)) => toml::Value::get_mut(value, *index)?,
                    (Part::Index(_), None) => return None,
                });
            }
            let parent = match value {
                Some(value) => value.as_table_mut()?,
                None => &mut table,
            };
            if let Part::Key(key) = last
                && let Some(value) = parent.remove(key)
                && let Some(name) = name
            {
                parent.insert(name.clone(), value);
            }
        }
        Some(table)
    }

    /// Lets a key be found under the name that was meant.
    pub(crate) fn rename(&mut self, place: &Place, name: &str) {
        let Some((last, parents)) = place.0.split_last() else { return };
        let mut node = &mut self.root;
        for part in parents {
            let next = match (part, &mut node.value) {
                (Part::Key(key), Value::Table(entries)) => {
                    entries.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.node)
                }
                (Part::Index(index), Value::Array(nodes)) => nodes.get_mut(*index),
                _ => None,
            };
            let Some(next) = next else { return };
            node = next;
        }
        if let (Part::Key(key), Value::Table(entries)) = (last, &mut node.value)
            && let Some(entry) = entries.iter_mut().find(|entry| entry.key == *key)
        {
            name.clone_into(&mut entry.key);
        }
    }

    fn offset(&self, place: &Place) -> usize {
        let mut node = &self.root;
        let mut offset = node.start;
        for part in &place.0 {
            let next = match (part, &node.value) {
                (Part::Key(key), Value::Table(entries)) => {
                    entries.iter().find(|entry| entry.key == *key).map(|entry| (&entry.node, entry.start))
                }
                (Part::Index(index), Value::Array(nodes)) => nodes.get(*index).map(|node| (node, node.start)),
                _ => None,
            };
            let Some((found, start)) = next else { break };
            (node, offset) = (found, start);
        }
        offset
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn convert_table(table: &DeTable<'_>) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry { start: key.span().start, key: key.get_ref().to_string(), node: convert(value) })
        .collect();
    entries.sort_by_key(|entry| entry.start);
    Value::Table(entries)
}

fn convert(value: &Spanned<DeValue<'_>>) -> Node {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(_) => Value::Boolean,
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(values) => Value::Array(values.iter().map(convert).collect()),
        DeValue::Table(table) => convert_table(table),
    };
    Node { start: value.span().start, value: converted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(Path::new("x.toml"), text.to_owned()).unwrap()
    }

    #[test]
    fn finds_places() {
        let document = parse("a = 1\n[b]\n\"ü\" = [1,\n  { c = 2 }]\n[[d]]\ne = 3\n[[d]]\ne = 4\n");
        let at = |place: &Place| {
            let problem = document.problem(place, "x");
            (problem.line.unwrap(), problem.column.unwrap())
        };
        let root = Place::root();
        assert_eq!(at(&root.key("a")), (1, 1));
        assert_eq!(at(&root.key("b").key("ü").index(1).key("c")), (4, 5));
        assert_eq!(at(&root.key("d").index(1).key("e")), (8, 1));
        assert_eq!(at(&root.key("d").index(1).key("missing")).0, 7);
        assert_eq!(root.key("d").index(1).key("e").to_string(), "d[1].e");
    }

    #[test]
    fn tells_every_mistake_of_toml_at_once() {
        let problems = Document::parse(Path::new("x.toml"), "a = \nb = 1\nc = 'x\n".to_owned()).unwrap_err();
        let lines: Vec<_> = problems.iter().map(|problem| problem.line.unwrap()).collect();
        assert_eq!(lines, [1, 3]);
    }
}
