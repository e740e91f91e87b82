//! Holds the tables against Proxmox's own schema of 8.4, 9.0 and 9.1.
//!
//! Those files are not part of the repository: they are read from `../shared/data/pve-api-*.json` beside the
//! checkout, and the test says so when they are not there.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use proxmox_schema::{Allow, Check, Endpoint, Format, Kind, Parameter, PveVersion, Schema};
use serde_json::Value;

type Parameters = BTreeMap<String, Arc<Parameter>>;

#[test]
fn the_tables_are_proxmoxs_schema() {
    let mut checked = 0;
    for version in &PveVersion::KNOWN[..3] {
        let Some(text) = common::shared_data(&format!("pve-api-{version}.json")) else {
            continue;
        };
        let theirs: Value = serde_json::from_str(&text).unwrap();
        let mut differences = Vec::new();
        for endpoint in Schema::for_version(*version).endpoints() {
            let Some(described) = theirs["paths"][&endpoint.path].get(endpoint.method.as_str()) else {
                continue;
            };
            checked += 1;
            let place = format!("{version} {} {}", endpoint.method, endpoint.path);
            differences.extend(facts(endpoint, described).into_iter().map(|text| format!("{place}: {text}")));
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
    eprintln!("{checked} endpoints are as Proxmox describes them");
}

fn facts(endpoint: &Endpoint, described: &Value) -> Vec<String> {
    let flag = |name: &str| truth(&described[name]);
    let mut differences = Vec::new();
    let mut same = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            differences.push(format!("{what}: {ours} here, {theirs} there"));
        }
    };
    same("name", endpoint.name.clone(), described["name"].as_str().unwrap_or_default().to_owned());
    same("protected", endpoint.protected.to_string(), flag("protected").to_string());
    same("proxied", endpoint.proxied.to_string(), described["proxyto"].is_string().to_string());
    same("token", endpoint.token_allowed.to_string(), flag("allowtoken").to_string());
    same("allow", format!("{:?}", endpoint.allow), format!("{:?}", allow(&described["permissions"])));
    let additional = truth(&described["parameters"]["additionalProperties"]);
    same("additional", endpoint.additional_parameters.to_string(), additional.to_string());
    let returns = format!("{:?}", endpoint.returns).to_lowercase().replace("upid", "string");
    let theirs = described["returns"]["type"].as_str().unwrap_or("any");
    same("returns", returns, theirs.to_owned());
    differences.extend(parameters("", &endpoint.parameters, &described["parameters"]["properties"]));
    differences
}

fn parameters(place: &str, ours: &Parameters, theirs: &Value) -> Vec<String> {
    let ours: BTreeMap<String, BTreeMap<&str, String>> =
        ours.iter().map(|(name, parameter)| (folded(name, parameter), our_facts(parameter))).collect();
    let theirs_by_name: BTreeMap<String, &Value> =
        theirs.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value)).collect();
    let mut differences = Vec::new();
    for name in ours.keys().chain(theirs_by_name.keys()) {
        match (ours.get(name), theirs_by_name.get(name)) {
            (Some(facts), Some(described)) => {
                let their_facts = their_facts(described);
                if *facts != their_facts {
                    differences.push(format!("{place}{name}: {facts:?} here, {their_facts:?} there"));
                }
            }
            (Some(_), None) => differences.push(format!("{place}{name} is only here")),
            (None, _) => differences.push(format!("{place}{name} is only there")),
        }
    }
    differences
}

/// `scsi7` is `scsi[n]` in Proxmox's schema.
fn folded(name: &str, parameter: &Parameter) -> String {
    parameter.series.as_ref().map_or_else(|| name.to_owned(), |series| format!("{}[n]", series.prefix))
}

fn our_facts(parameter: &Parameter) -> BTreeMap<&'static str, String> {
    let mut facts = BTreeMap::new();
    if let Some(alias) = &parameter.alias {
        facts.insert("alias", alias.target.clone());
        alias.key.clone().map(|key| facts.insert("keyAlias", key));
        return facts;
    }
    facts.insert("type", parameter.kind.as_str().to_owned());
    if parameter.optional {
        facts.insert("optional", "1".to_owned());
    }
    let mut put = |name, value: Option<String>| value.map(|value| facts.insert(name, value));
    put("minimum", parameter.minimum.map(|bound| bound.to_string()));
    put("maximum", parameter.maximum.map(|bound| bound.to_string()));
    put("minLength", parameter.min_length.map(|bound| bound.to_string()));
    put("maxLength", parameter.max_length.map(|bound| bound.to_string()));
    put("enum", (!parameter.choices.is_empty()).then(|| parameter.choices.join(" ")));
    put("pattern", parameter.pattern.as_ref().map(|pattern| pattern.source.clone()));
    put("default", parameter.default.clone());
    put("requires", parameter.requires.clone());
    put("default_key", parameter.default_key.then(|| "1".to_owned()));
    put(
        "format",
        parameter.format.as_ref().map(|format| match format {
            Format::Named(name) | Format::Properties { name: Some(name), .. } => name.clone(),
            Format::Properties { format, .. } => {
                let keys = format.keys.iter().map(|(name, key)| (name, our_facts(key)));
                format!("{:?}", keys.collect::<BTreeMap<_, _>>())
            }
        }),
    );
    if parameter.kind == Kind::List {
        facts.remove("format");
    }
    facts
}

fn their_facts(described: &Value) -> BTreeMap<&'static str, String> {
    let mut facts = BTreeMap::new();
    for name in ["alias", "keyAlias", "type", "requires"] {
        described[name].as_str().map(|text| facts.insert(name, text.to_owned()));
    }
    for name in ["minimum", "maximum", "minLength", "maxLength"] {
        let number = described[name].as_f64().or_else(|| described[name].as_str()?.parse().ok());
        number.map(|number| facts.insert(name, number.to_string()));
    }
    for name in ["optional", "default_key"] {
        truth(&described[name]).then(|| facts.insert(name, "1".to_owned()));
    }
    if !described["default"].is_null() {
        facts.insert("default", text(&described["default"]));
    }
    let choices: Vec<String> = described["enum"].as_array().into_iter().flatten().map(text).collect();
    if !choices.is_empty() {
        facts.insert("enum", choices.join(" "));
    }
    // Perl's `(?^i:` and `{,8}` are written otherwise elsewhere.
    if let Some(pattern) = described["pattern"].as_str() {
        facts.insert("pattern", pattern.replace("(?^", "(?").replace("{,", "{0,"));
    }
    match &described["format"] {
        Value::String(name) => {
            facts.insert("format", name.clone());
        }
        Value::Object(keys) => {
            let keys = keys.iter().map(|(name, key)| (name, their_facts(key)));
            facts.insert("format", format!("{:?}", keys.collect::<BTreeMap<_, _>>()));
        }
        _ => {}
    }
    facts
}

fn allow(permissions: &Value) -> Allow {
    match permissions["user"].as_str() {
        Some("world") => Allow::World,
        Some(_) => Allow::User,
        None if permissions.is_null() => Allow::Root,
        None => Allow::Check(check(&permissions["check"])),
    }
}

fn check(expression: &Value) -> Check {
    let items = expression.as_array().unwrap();
    let privileges = |value: &Value| value.as_array().unwrap().iter().map(text).collect();
    match items[0].as_str().unwrap() {
        "and" => Check::And(items[1..].iter().map(check).collect()),
        "or" => Check::Or(items[1..].iter().map(check).collect()),
        "perm" => {
            let option = |name: &str| {
                let place = items.iter().position(|item| item == name)?;
                Some(text(&items[place + 1]))
            };
            Check::Privileges {
                path: text(&items[1]),
                privileges: privileges(&items[2]),
                any: option("any").is_some(),
                if_given: option("require_param"),
            }
        }
        "perm-modify" => Check::ModifyAcl { path: text(&items[1]) },
        "userid-param" => Check::IsSelf,
        "userid-group" => Check::UserGroup(privileges(&items[1])),
        other => panic!("`{other}` is new"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn truth(value: &Value) -> bool {
    !matches!(text(value).as_str(), "null" | "0" | "false" | "")
}
