//! The answers a worker may give, good and bad.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::Secret;

fn zone() -> ZoneName {
    ZoneName::new("example.org").unwrap()
}

fn reply(value: &serde_json::Value) -> Reply {
    parse(value.to_string().as_bytes()).unwrap()
}

fn record(name: &str, ttl: u32, value: &str) -> serde_json::Value {
    json!({"name": name, "type": "A", "ttl": ttl, "values": [value]})
}

#[test]
fn a_request_says_names_as_octodns_does() {
    let provider = Provider::new("x.Y").secret("api_key", Secret::new("hush"));
    let name = RecordName::new("m.example.org").unwrap();
    let set = RecordSet::new(name, RecordType::A, 300, ["192.0.2.1"]).unwrap();
    let apex = RecordKey::new(RecordName::new("example.org").unwrap(), RecordType::Txt);
    let scope = Scope { owned: &[apex], desired: &[set], limits: Limits { deletes: 3 } };
    let line =
        request(7, &zone(), &provider, Operation::Apply(&scope, &PlanToken("abc".into())), Duration::from_secs(5))
            .unwrap();
    assert_eq!(line.last(), Some(&b'\n'));
    let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(
        value,
        json!({
            "id": 7, "op": "apply", "zone": "example.org.", "checksum": "abc",
            "provider": {"class": "x.Y", "settings": {}, "secrets": {"api_key": "hush"}},
            "owned": [["", "TXT"]],
            "desired": [{"name": "m", "type": "A", "ttl": 300, "values": ["192.0.2.1"]}],
            "max_deletes": 3, "timeout": 5.0,
        })
    );
}

#[test]
fn a_record_outside_the_zone_never_leaves() {
    let name = RecordName::new("m.example.net").unwrap();
    let set = RecordSet::new(name, RecordType::A, 300, ["192.0.2.1"]).unwrap();
    let scope = Scope { owned: &[], desired: &[set], limits: Limits::KEEP };
    let timeout = Duration::from_secs(5);
    let provider = Provider::new("x.Y");
    let error = request(1, &zone(), &provider, Operation::Plan(&scope), timeout).unwrap_err();
    assert_eq!(error.to_string(), "A record was refused: `m.example.net` is not in zone `example.org`");
}

#[test]
fn a_plan_becomes_changes() {
    let plan = reply(&json!({
        "id": 1, "ok": true, "checksum": "c0ffee", "conflicts": [],
        "changes": [
            {"before": null, "after": record("m", 300, "192.0.2.1")},
            {"before": record("", 60, "192.0.2.1"), "after": record("", 60, "192.0.2.2")},
            {"before": record("old", 60, "192.0.2.3"), "after": null},
        ],
    }))
    .into_plan(&zone())
    .unwrap();
    let lines: Vec<String> = plan.changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "+ m.example.org 300 A 192.0.2.1",
            "~ example.org 60 A 192.0.2.2 (was 192.0.2.1)",
            "- old.example.org 60 A 192.0.2.3",
        ]
    );
    assert_eq!(plan.token.unwrap().to_string(), "c0ffee");
}

#[test]
fn a_conflict_takes_the_token_away() {
    let plan = reply(&json!({
        "id": 1, "ok": true, "checksum": "c0ffee",
        "changes": [{"before": null, "after": record("n", 300, "192.0.2.1")}],
        "conflicts": [{
            "wanted": ["m", "A"], "reason": "exists", "identical": false,
            "existing": record("m", 60, "192.0.2.9"),
        }],
    }))
    .into_plan(&zone())
    .unwrap();
    assert_eq!(plan.token, None);
    assert_eq!(plan.conflicts[0].wanted.to_string(), "m.example.org A");
}

#[test]
fn changes_without_a_checksum_are_not_believed() {
    let changes = json!([{"before": null, "after": record("m", 300, "192.0.2.1")}]);
    for reply_text in [
        json!({"ok": true, "changes": changes}),
        json!({"ok": true, "changes": changes, "checksum": ""}),
        json!({"ok": true, "checksum": "x", "changes": [{"before": null, "after": null}]}),
        json!({"ok": true, "checksum": "x", "changes": [
            {"before": record("a", 1, "192.0.2.1"), "after": record("b", 1, "192.0.2.1")}]}),
        json!({"ok": false}),
    ] {
        let error = reply(&reply_text).into_plan(&zone()).unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error}");
    }
}

#[test]
fn each_error_class_has_its_variant() {
    let error = |class: &str, more: serde_json::Value| {
        let mut inner = json!({"class": class, "msg": "why"});
        for (key, value) in more.as_object().unwrap() {
            inner[key] = value.clone();
        }
        reply(&json!({"ok": false, "error": inner})).into_applied(&zone()).unwrap_err()
    };
    let none = json!({});
    assert!(matches!(error("drift", none.clone()), Error::Drift { .. }));
    assert!(matches!(error("auth", none.clone()), Error::Auth { .. }));
    assert!(matches!(error("config", none.clone()), Error::Config { .. }));
    assert!(matches!(error("not_found", none.clone()), Error::NotFound { .. }));
    assert!(matches!(error("validation", none.clone()), Error::Validation { .. }));
    assert!(matches!(error("never heard of", none.clone()), Error::Protocol { .. }));
    let timeout = error("timeout", json!({"effect": "unknown"}));
    assert!(timeout.is_retryable());
    assert_eq!(timeout.effect(), Effect::Unknown);
    let down = error("unavailable", json!({"effect": {"applied": [["m", "A"]], "pending": [["", "TXT"]]}}));
    assert!(down.is_retryable());
    assert_eq!(down.effect().to_string(), "1 of 2 changes were made");
    let much = error("too_much_change", json!({"records": [["m", "A"]], "limit": 0}));
    assert_eq!(much.to_string(), "1 would be deleted or touched, 0 allowed: m.example.org A");
}

#[test]
fn names_nobody_here_writes_are_left_out_of_a_read() {
    let records = reply(&json!({"ok": true, "records": [
        record("m", 300, "192.0.2.1"),
        {"name": "0/25", "type": "NS", "ttl": 60, "values": ["ns.example.org."]},
        {"name": "geo", "type": "PowerDnsProvider/LUA", "ttl": 60, "values": ["A \"x\""]},
    ]}))
    .into_records(&zone())
    .unwrap();
    let lines: Vec<String> = records.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["m.example.org 300 A 192.0.2.1", "geo.example.org 60 PowerDnsProvider/LUA A \"x\"",]);
}

/// Any JSON at all.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::hash_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// An answer whose known fields hold anything.
fn any_reply() -> impl Strategy<Value = serde_json::Value> {
    let fields = vec!["ok", "changes", "conflicts", "checksum", "error", "records", "id"];
    proptest::collection::vec((proptest::sample::select(fields), any_json()), 0..7).prop_map(|pairs| {
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
    })
}

fn any_change() -> impl Strategy<Value = serde_json::Value> {
    let side = || {
        proptest::option::of((0u32..100_000, any::<[u8; 4]>()).prop_map(|(ttl, octets)| {
            let [a, b, c, d] = octets;
            (ttl, format!("{a}.{b}.{c}.{d}"))
        }))
    };
    ("[a-z]{0,8}", side(), side()).prop_map(|(name, before, after)| {
        let side = |part: Option<(u32, String)>| part.map(|(ttl, value)| record(&name, ttl, &value));
        json!({"before": side(before), "after": side(after)})
    })
}

proptest! {
    #[test]
    fn any_line_is_an_answer_or_an_error(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(reply) = parse(&line) {
            let _ = reply.into_plan(&zone());
        }
    }

    #[test]
    fn any_json_is_an_answer_or_an_error(value in any_reply()) {
        for which in 0..3 {
            if let Ok(reply) = parse(value.to_string().as_bytes()) {
                match which {
                    0 => drop(reply.into_plan(&zone())),
                    1 => drop(reply.into_applied(&zone())),
                    _ => drop(reply.into_records(&zone())),
                }
            }
        }
    }

    #[test]
    fn no_change_is_lost_or_invented(list in proptest::collection::vec(any_change(), 0..8)) {
        let parsed = reply(&json!({"ok": true, "checksum": "x", "changes": list})).into_plan(&zone());
        let empty = |c: &serde_json::Value| c["before"].is_null() && c["after"].is_null();
        match parsed {
            Err(_) => prop_assert!(list.iter().any(empty)),
            Ok(plan) => {
                prop_assert!(!list.iter().any(empty));
                prop_assert_eq!(plan.changes.len(), list.len());
                for (change, from) in plan.changes.iter().zip(&list) {
                    prop_assert_eq!(change.before().is_none(), from["before"].is_null());
                    prop_assert_eq!(change.after().is_none(), from["after"].is_null());
                    if let Some(after) = change.after() {
                        prop_assert_eq!(&after.values[0], from["after"]["values"][0].as_str().unwrap());
                    }
                }
            }
        }
    }
}
