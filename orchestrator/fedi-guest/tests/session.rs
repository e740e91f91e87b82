//! `fedi-guest serve` as a session sees it: greeting, refusals, and that a
//! session ends when its client does. The guest is a folder.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::io::Cursor;
use std::path::Path;

use fedi_guest::protocol::{ErrorKind, ErrorReply, GuestLine, Hello, PROTOCOL};
use fedi_guest::{Guest, serve};
use serde_json::{Value, json};

const HELLO: &str = r#"{"hello":{"protocol":1,"version":"test"}}"#;

fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/fedi")).unwrap();
    fs::write(root.path().join("etc/fedi/guest-uuid"), "00000000-0000-0000-0000-000000000007\n").unwrap();
    fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    root
}

fn talk(root: &Path, lines: &[&str]) -> Vec<GuestLine> {
    let guest = Guest::in_folder(root, &root.join("tools"));
    let mut output = Vec::new();
    serve(&guest, Cursor::new(lines.join("\n")), &mut output).unwrap();
    let text = String::from_utf8(output).unwrap();
    text.lines().map(|line| GuestLine::parse(line.as_bytes()).unwrap()).collect()
}

fn answer(line: &GuestLine) -> Result<&Value, &ErrorReply> {
    match line {
        GuestLine::Response { result, .. } => result.as_ref(),
        other => panic!("{other:?}"),
    }
}

fn error(line: &GuestLine) -> &ErrorReply {
    answer(line).expect_err("it fails")
}

#[test]
fn a_whole_conversation() {
    let root = folder();
    let said = talk(
        root.path(),
        &[
            HELLO,
            r#"{"id":1,"op":"lease_grant","app":"matrix","epoch":4,"holder":"00000000-0000-0000-0000-000000000007"}"#,
            "",
            r#"{"id":2,"op":"lease_grant","app":"matrix","epoch":3,"holder":"00000000-0000-0000-0000-000000000007"}"#,
            r#"{"id":3,"op":"lease_show"}"#,
        ],
    );
    assert_eq!(said[0], GuestLine::Hello(Hello::ours()));
    assert_eq!(answer(&said[1]).unwrap()["state"], "held");
    assert_eq!(error(&said[2]).kind, ErrorKind::StaleEpoch);
    assert_eq!(answer(&said[3]).unwrap()["leases"]["matrix"]["epoch"], 4);
    assert_eq!(said.len(), 4);
}

#[test]
fn a_newer_client_is_refused() {
    let root = folder();
    let newer = json!({ "hello": { "protocol": PROTOCOL + 1, "version": "9.0.0" } }).to_string();
    let said = talk(root.path(), &[&newer, r#"{"id":1,"op":"lease_show"}"#]);
    assert_eq!(said.len(), 2);
    let error = error(&said[1]);
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(error.message.contains("protocol 2 (fedi 9.0.0)"), "{}", error.message);
    assert!(error.hint.is_some());
}

#[test]
fn a_request_before_the_hello_ends_the_session() {
    let root = folder();
    let said = talk(root.path(), &[r#"{"id":1,"op":"lease_show"}"#, HELLO, r#"{"id":2,"op":"lease_show"}"#]);
    assert_eq!(said.len(), 2);
    assert_eq!(error(&said[1]).kind, ErrorKind::Protocol);
}

#[test]
fn bad_requests_are_answered_and_the_session_goes_on() {
    let root = folder();
    let said = talk(
        root.path(),
        &[
            HELLO,
            "no json",
            r#"{"id":2,"op":"explode"}"#,
            r#"{"id":3,"op":"units","units":["--help"]}"#,
            r#"{"id":4,"op":"lease_show","app":"../../etc/passwd"}"#,
            r#"{"id":5,"op":"confirm","token":"00000000-0000-0000-0000-000000000001"}"#,
            r#"{"id":6,"op":"run_hook","unit":"x.target","timeout_s":1}"#,
            r#"{"id":7,"op":"lease_show"}"#,
        ],
    );
    let kinds: Vec<_> = said[1..7].iter().map(|line| error(line).kind).collect();
    assert_eq!(
        kinds,
        [
            ErrorKind::Protocol,
            ErrorKind::Unsupported,
            ErrorKind::Invalid,
            ErrorKind::Invalid,
            ErrorKind::UnknownActivation,
            ErrorKind::Invalid,
        ]
    );
    assert!(error(&said[4]).message.contains("is no valid application name"), "{}", error(&said[4]));
    assert!(answer(&said[7]).is_ok());
}

#[test]
fn a_line_without_end_is_cut_off() {
    let root = folder();
    let endless = "x".repeat(fedi_guest::protocol::MAX_LINE + 10);
    let said = talk(root.path(), &[HELLO, &endless, r#"{"id":1,"op":"lease_show"}"#]);
    assert_eq!(said.len(), 2);
    assert!(error(&said[1]).message.contains("longer than"));
}

#[test]
fn a_client_that_goes_away_ends_the_session() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let root = folder();
    let guest = Guest::in_folder(root.path(), root.path());
    serve(&guest, Cursor::new(HELLO), &mut Gone).unwrap();
}
