//! Reads the files in `tables/`; their language is described in `tables/README.md`.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use crate::endpoint::{Endpoint, Method, Returns};
use crate::parameter::{Alias, Format, Kind, Parameter, Pattern, Series};
use crate::path::PathTemplate;
use crate::permission::Allow;
use crate::property_format::PropertyFormat;
use crate::token::{expand, parse_kind, parse_range, tokens};
use crate::version::{PveVersion, VersionRange};
use crate::words::Words;

/// A line of a table that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {reason}")]
pub struct TableError {
    pub file: String,
    pub line: usize,
    pub reason: String,
}

type Parameters = BTreeMap<String, Arc<Parameter>>;

/// A line without its comment and version, if it holds for the version at hand.
struct Line<'a> {
    file: &'a str,
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    fn error(&self, reason: impl Into<String>) -> TableError {
        TableError { file: self.file.to_owned(), line: self.number, reason: reason.into() }
    }
}

/// A header and the lines below it.
struct Block<'a> {
    head: Line<'a>,
    body: Vec<Line<'a>>,
}

/// Reads all tables as they hold for one release.
pub(crate) fn read(files: &[(&str, &str)], version: PveVersion) -> Result<Vec<Endpoint>, TableError> {
    let blocks = files
        .iter()
        .map(|(file, text)| blocks(file, text, version))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let mut reader = Reader {
        version,
        words: Arc::new(read_words(&blocks)),
        groups: BTreeMap::new(),
        formats: BTreeMap::new(),
        paths: Parameters::new(),
    };
    // What others refer to comes first: groups of keys, property strings, groups of parameters.
    for block in blocks.iter().filter(|block| block.head.text == "group drive") {
        reader.group(block)?;
    }
    for block in &blocks {
        if let Some(name) = block.head.text.strip_prefix("props ") {
            reader.properties(name, block)?;
        }
    }
    for block in &blocks {
        if block.head.text == "paths" {
            reader.paths = reader.parameters(&block.body)?;
        } else if block.head.text.starts_with("group ") {
            reader.group(block)?;
        }
    }
    let is_endpoint = |block: &&Block<'_>| {
        !["group ", "props ", "words ", "paths"].iter().any(|word| block.head.text.starts_with(word))
    };
    blocks.iter().filter(is_endpoint).map(|block| reader.endpoint(block)).collect()
}

fn blocks<'a>(file: &'a str, text: &'a str, version: PveVersion) -> Result<Vec<Block<'a>>, TableError> {
    let mut blocks: Vec<Block<'a>> = Vec::new();
    let mut wanted = false;
    for (index, raw) in text.lines().enumerate() {
        let trimmed = raw.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut line = Line { file, number: index + 1, text: trimmed };
        let mut holds = true;
        if let Some((rest, range)) = trimmed.rsplit_once(" @") {
            let range: VersionRange = range.parse().map_err(|error| line.error(format!("{error}")))?;
            line.text = rest.trim_end();
            holds = range.contains(version);
        }
        if !raw.starts_with(' ') {
            wanted = holds;
            if holds {
                blocks.push(Block { head: line, body: Vec::new() });
            }
        } else if wanted && holds {
            let block = blocks.last_mut().ok_or_else(|| line.error("a line before any header"))?;
            block.body.push(line);
        }
    }
    Ok(blocks)
}

fn read_words(blocks: &[Block<'_>]) -> Words {
    let mut words = Words::default();
    for block in blocks {
        let Some(name) = block.head.text.strip_prefix("words ") else {
            continue;
        };
        for line in &block.body {
            line.text.split_whitespace().for_each(|word| words.add(name, word));
        }
    }
    words
}

struct Reader {
    version: PveVersion,
    words: Arc<Words>,
    groups: BTreeMap<String, Parameters>,
    formats: BTreeMap<String, Arc<PropertyFormat>>,
    paths: Parameters,
}

impl Reader {
    fn group(&mut self, block: &Block<'_>) -> Result<(), TableError> {
        let name = block.head.text.trim_start_matches("group ").to_owned();
        let parameters = self.parameters(&block.body)?;
        self.groups.insert(name, parameters);
        Ok(())
    }

    fn properties(&mut self, name: &str, block: &Block<'_>) -> Result<(), TableError> {
        let keys = self.parameters(&block.body)?;
        let format =
            PropertyFormat { name: name.to_owned(), keys, version: self.version, words: Arc::clone(&self.words) };
        self.formats.insert(name.to_owned(), Arc::new(format));
        Ok(())
    }

    /// The `- name ...` and `use: group` lines of a block.
    fn parameters(&self, lines: &[Line<'_>]) -> Result<Parameters, TableError> {
        let mut parameters = Parameters::new();
        for line in lines {
            if let Some(group) = line.text.strip_prefix("use: ") {
                let group = self.groups.get(group).ok_or_else(|| line.error(format!("no group `{group}`")))?;
                parameters.extend(group.iter().map(|(name, parameter)| (name.clone(), Arc::clone(parameter))));
            } else if let Some(text) = line.text.strip_prefix("- ") {
                let (names, parameter) = self.parameter(text).map_err(|reason| line.error(reason))?;
                let parameter = Arc::new(parameter);
                for name in names {
                    if parameters.insert(name.clone(), Arc::clone(&parameter)).is_some() {
                        return Err(line.error(format!("`{name}` stands here twice")));
                    }
                }
            }
        }
        Ok(parameters)
    }

    fn endpoint(&self, block: &Block<'_>) -> Result<Endpoint, TableError> {
        let head = &block.head;
        let (method, path) = head.text.split_once(' ').ok_or_else(|| head.error("a header needs two words"))?;
        let method = Method::from_str(method).map_err(|error| head.error(error.to_string()))?;
        let template = PathTemplate::new(path);
        let mut parameters = self.parameters(&block.body)?;
        for placeholder in template.placeholders() {
            if !parameters.contains_key(placeholder) {
                let standard = self.paths.get(placeholder);
                let standard = standard.ok_or_else(|| head.error(format!("what is `{placeholder}`?")))?;
                parameters.insert(placeholder.to_owned(), Arc::clone(standard));
            }
        }
        let mut endpoint = Endpoint {
            version: self.version,
            method,
            path: path.to_owned(),
            name: String::new(),
            protected: false,
            proxied: false,
            token_allowed: true,
            additional_parameters: false,
            allow: Allow::Root,
            returns: Returns::Any,
            parameters,
            template,
            words: Arc::clone(&self.words),
        };
        let mut allowed = false;
        for line in block.body.iter().filter(|line| !line.text.starts_with("- ")) {
            let (fact, value) = line.text.split_once(": ").ok_or_else(|| line.error("neither fact nor parameter"))?;
            match fact {
                "name" => value.clone_into(&mut endpoint.name),
                "flags" => set_flags(&mut endpoint, value).map_err(|reason| line.error(reason))?,
                "allow" => {
                    endpoint.allow = Allow::parse(value).map_err(|reason| line.error(reason))?;
                    allowed = true;
                }
                "returns" => {
                    endpoint.returns = value.parse().map_err(|reason: String| line.error(reason))?;
                }
                "use" => {}
                other => return Err(line.error(format!("`{other}` is no fact of an endpoint"))),
            }
        }
        if allowed { Ok(endpoint) } else { Err(head.error("nothing says who may call it")) }
    }

    /// Reads one parameter line; `scsi[0..30]` gives many names.
    fn parameter(&self, text: &str) -> Result<(Vec<String>, Parameter), String> {
        let tokens = tokens(text)?;
        let [name, rest @ ..] = tokens.as_slice() else {
            return Err("a parameter needs a name".to_owned());
        };
        if let [arrow, target, more @ ..] = rest
            && arrow == "->"
        {
            let key = match more {
                [] => None,
                [word, key] if word == "as" => Some(key.clone()),
                _ => return Err("an alias is `name -> other` or `name -> other as key`".to_owned()),
            };
            let mut parameter = Parameter::new(Kind::String);
            parameter.optional = true;
            parameter.alias = Some(Alias { target: target.clone(), key });
            return Ok((vec![name.clone()], parameter));
        }
        let [kind, rest @ ..] = rest else {
            return Err(format!("`{name}` needs a type"));
        };
        let mut parameter = Parameter::new(parse_kind(kind)?);
        let bare = name.strip_suffix('?').unwrap_or(name);
        parameter.optional = bare.len() < name.len();
        for token in rest {
            self.limit(&mut parameter, token)?;
        }
        let names = match bare.strip_suffix(']').and_then(|bare| bare.split_once("[0..")) {
            None => vec![bare.to_owned()],
            Some((prefix, last)) => {
                let last = last.parse().map_err(|_| format!("`{last}` is no number"))?;
                parameter.series = Some(Series { prefix: prefix.to_owned(), last });
                (0..=last).map(|number| format!("{prefix}{number}")).collect()
            }
        };
        Ok((names, parameter))
    }

    fn limit(&self, parameter: &mut Parameter, token: &str) -> Result<(), String> {
        if token == "default-key" {
            parameter.default_key = true;
        } else if let Some(range) = token.strip_prefix("len:") {
            (parameter.min_length, parameter.max_length) = parse_range(range)?;
        } else if let Some(name) = token.strip_prefix("props:") {
            let format = self.formats.get(name).ok_or_else(|| format!("no props `{name}`"))?;
            parameter.format = Some(Format::Properties { name: None, format: Arc::clone(format) });
        } else if let Some(name) = token.strip_prefix('<').and_then(|token| token.strip_suffix('>')) {
            parameter.format = Some(match self.formats.get(name) {
                Some(format) => Format::Properties { name: Some(name.to_owned()), format: Arc::clone(format) },
                None if crate::format::is_known(name) => Format::Named(name.to_owned()),
                None => return Err(format!("no format `{name}`")),
            });
        } else if let Some(source) = token.strip_prefix('~') {
            parameter.pattern = Some(Pattern::new(source).map_err(|error| error.to_string())?);
        } else if let Some(value) = token.strip_prefix('=') {
            parameter.default = Some(value.to_owned());
        } else if let Some(other) = token.strip_prefix("requires:") {
            parameter.requires = Some(other.to_owned());
        } else if let Some(choices) = token.strip_prefix('{').and_then(|token| token.strip_suffix('}')) {
            parameter.choices = choices.split_whitespace().flat_map(expand).collect();
        } else if token.contains("..") {
            (parameter.minimum, parameter.maximum) = parse_range(token)?;
        } else {
            return Err(format!("`{token}` says nothing about a parameter"));
        }
        Ok(())
    }
}

fn set_flags(endpoint: &mut Endpoint, flags: &str) -> Result<(), String> {
    for flag in flags.split_whitespace() {
        match flag {
            "protected" => endpoint.protected = true,
            "proxied" => endpoint.proxied = true,
            "no-token" => endpoint.token_allowed = false,
            "open" => endpoint.additional_parameters = true,
            other => return Err(format!("`{other}` is no flag")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &str, version: PveVersion) -> Result<Endpoint, TableError> {
        read(&[("t.pve", text)], version).map(|mut endpoints| endpoints.remove(0))
    }

    #[test]
    fn an_endpoint_is_read_for_a_release() {
        let text = "paths\n  - node string <pve-node>\n\n# comment\nPOST /nodes/{node}/x\n  name: x\n  flags: protected\n  allow: user @8.4\n  allow: world @9.0+\n  returns: upid\n  - disk[0..3]? string {ide0..2 none} =\"two words\"\n  - late? boolean @9.1+\n";
        let old = read_one(text, PveVersion::FLOOR).unwrap();
        assert_eq!(old.allow, Allow::User);
        assert!(old.protected && !old.parameters.contains_key("late"));
        let disk = &old.parameters["disk3"];
        assert_eq!(disk.choices, ["ide0", "ide1", "ide2", "none"]);
        assert_eq!(disk.default.as_deref(), Some("two words"));
        let new = read_one(text, PveVersion::new(9, 1)).unwrap();
        assert_eq!(new.allow, Allow::World);
        assert!(new.parameters.contains_key("late") && new.parameters.contains_key("node"));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let wrong = |line: &str| {
            let text = format!("GET /x\n  allow: user\n  {line}\n");
            read_one(&text, PveVersion::FLOOR).unwrap_err().to_string()
        };
        assert_eq!(wrong("- a strnig"), "t.pve, line 3: `strnig` is no type");
        assert_eq!(wrong("- a string <nope>"), "t.pve, line 3: no format `nope`");
        assert_eq!(wrong("- a string funny"), "t.pve, line 3: `funny` says nothing about a parameter");
        assert_eq!(wrong("flags: fast"), "t.pve, line 3: `fast` is no flag");
        assert_eq!(wrong("- a string {x y"), "t.pve, line 3: a brace or quote is not closed");
    }
}
