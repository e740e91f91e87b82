//! Nix's log in its form for programs (`--log-format internal-json`): lines that
//! begin with `@nix ` on standard error. Not documented, the same since Nix 2.0.
//! Source: src/libutil/logging.cc and logging.hh (ActivityType, ResultType).

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::Value;

// enum ActivityType
const COPY_PATH: u64 = 100;
const COPY_PATHS: u64 = 103;
const BUILDS: u64 = 104;
const BUILD: u64 = 105;
// enum ResultType
const BUILD_LOG_LINE: u64 = 101;
const PROGRESS: u64 = 105;
const POST_BUILD_LOG_LINE: u64 = 107;
// enum Verbosity
const ERROR: u64 = 0;
const WARNING: u64 = 1;

/// Builder's lines that are kept of each build.
const KEPT: usize = 50;
/// Lines of plain output that are kept.
const KEPT_PLAIN: usize = 100;

/// Something that happened while Nix works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A derivation is being built.
    Building {
        /// Its path.
        derivation: String,
    },
    /// A line that a builder wrote.
    BuildLine {
        /// The derivation's path.
        derivation: String,
        /// The line.
        line: String,
    },
    /// How many builds are done.
    Builds {
        /// Done.
        done: u64,
        /// In all, as far as Nix knows.
        expected: u64,
    },
    /// A path is being copied or fetched.
    Copying {
        /// The path.
        path: String,
    },
    /// How many paths are copied.
    Copied {
        /// Done.
        done: u64,
        /// In all, as far as Nix knows.
        expected: u64,
    },
    /// A warning.
    Warning {
        /// Without colours.
        text: String,
    },
}

/// What was learnt from a log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    activities: BTreeMap<u64, Activity>,
    /// The last lines of each build, by derivation.
    builds: BTreeMap<String, VecDeque<String>>,
    errors: Vec<String>,
    plain: VecDeque<String>,
    last: BTreeMap<u64, (u64, u64)>,
}

#[derive(Debug)]
struct Activity {
    kind: u64,
    subject: String,
}

#[derive(Deserialize)]
struct Line {
    action: String,
    #[serde(default)]
    id: u64,
    #[serde(default, rename = "type")]
    kind: u64,
    #[serde(default)]
    level: u64,
    #[serde(default)]
    fields: Vec<Value>,
    #[serde(default)]
    msg: String,
}

impl Log {
    /// Takes a line of standard error.
    pub(crate) fn take(&mut self, line: &str, emit: &mut dyn FnMut(Event)) {
        let Some(line) = line.strip_prefix("@nix ").and_then(|json| serde_json::from_str::<Line>(json).ok()) else {
            if self.plain.len() == KEPT_PLAIN {
                self.plain.pop_front();
            }
            self.plain.push_back(plain_text(line));
            return;
        };
        match line.action.as_str() {
            "start" => self.start(&line, emit),
            "result" => self.result(&line, emit),
            "stop" => {
                self.activities.remove(&line.id);
                self.last.remove(&line.id);
            }
            "msg" => {
                let text = plain_text(&line.msg);
                match line.level {
                    ERROR => self.errors.push(text.strip_prefix("error: ").unwrap_or(&text).trim().to_owned()),
                    WARNING => {
                        let text = text.strip_prefix("warning: ").unwrap_or(&text).to_owned();
                        emit(Event::Warning { text });
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn start(&mut self, line: &Line, emit: &mut dyn FnMut(Event)) {
        let subject = text(&line.fields, 0);
        match line.kind {
            BUILD => {
                self.builds.entry(subject.clone()).or_default();
                emit(Event::Building { derivation: subject.clone() });
            }
            COPY_PATH => emit(Event::Copying { path: subject.clone() }),
            _ => {}
        }
        self.activities.insert(line.id, Activity { kind: line.kind, subject });
    }

    fn result(&mut self, line: &Line, emit: &mut dyn FnMut(Event)) {
        let Some(activity) = self.activities.get(&line.id) else { return };
        match (line.kind, activity.kind) {
            (BUILD_LOG_LINE | POST_BUILD_LOG_LINE, BUILD) => {
                let (derivation, line) = (activity.subject.clone(), plain_text(&text(&line.fields, 0)));
                let kept = self.builds.entry(derivation.clone()).or_default();
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                kept.push_back(line.clone());
                emit(Event::BuildLine { derivation, line });
            }
            (PROGRESS, kind @ (BUILDS | COPY_PATHS)) => {
                let (done, expected) = (number(&line.fields, 0), number(&line.fields, 1));
                if expected > 0 && self.last.insert(line.id, (done, expected)) != Some((done, expected)) {
                    emit(if kind == BUILDS {
                        Event::Builds { done, expected }
                    } else {
                        Event::Copied { done, expected }
                    });
                }
            }
            _ => {}
        }
    }

    /// What went wrong: Nix's errors in either form, or else the last plain lines.
    pub(crate) fn message(&self) -> String {
        let plain = self.plain.iter().filter_map(|line| line.strip_prefix("error: "));
        let errors: Vec<&str> = self.errors.iter().map(String::as_str).chain(plain).collect();
        if !errors.is_empty() {
            return errors.join("\n");
        }
        let start = self.plain.len().saturating_sub(5);
        let lines: Vec<&str> = self.plain.iter().skip(start).map(String::as_str).collect();
        if lines.is_empty() { "it said nothing".to_owned() } else { lines.join("\n") }
    }

    /// What did not come from Nix itself: `ssh`, a crash.
    pub(crate) fn plain(&self) -> String {
        self.plain.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Whether any build was begun.
    pub(crate) fn has_builds(&self) -> bool {
        !self.builds.is_empty()
    }

    /// The last lines of a derivation's builder.
    pub(crate) fn of_build(&self, derivation: &str) -> Vec<String> {
        self.builds.get(derivation).map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }
}

fn text(fields: &[Value], at: usize) -> String {
    fields.get(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(fields: &[Value], at: usize) -> u64 {
    fields.get(at).and_then(Value::as_u64).unwrap_or(0)
}

/// Without escape sequences (ECMA-48) and other control characters but line feed and tab.
pub(crate) fn plain_text(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            if !c.is_control() || c == '\n' || c == '\t' {
                plain.push(c);
            }
            continue;
        }
        match rest.next() {
            // CSI: up to a final byte.
            Some('[') => {
                rest.by_ref().find(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
            // OSC: up to BEL or ST.
            Some(']') => {
                while let Some(c) = rest.next() {
                    if c == '\u{7}' || (c == '\u{1b}' && rest.next().is_some()) {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> (Log, Vec<Event>) {
        let (mut log, mut events) = (Log::default(), Vec::new());
        for line in lines {
            log.take(line, &mut |event| events.push(event));
        }
        (log, events)
    }

    #[test]
    fn a_build_that_fails() {
        let (log, events) = read(&[
            r#"@nix {"action":"start","id":1,"level":0,"text":"","type":104}"#,
            r#"@nix {"action":"result","fields":[0,1,0,0],"id":1,"type":105}"#,
            r#"@nix {"action":"result","fields":[0,1,1,0],"id":1,"type":105}"#,
            r#"@nix {"action":"start","fields":["/nix/store/l59-bad.drv","",1,1],"id":2,"level":3,"text":"building","type":105}"#,
            r#"@nix {"action":"result","fields":["about to fail"],"id":2,"type":101}"#,
            r#"@nix {"action":"stop","id":2}"#,
            r#"@nix {"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m builder for '\u001b[35;1m/nix/store/l59-bad.drv\u001b[0m' failed"}"#,
        ]);
        let derivation = "/nix/store/l59-bad.drv".to_owned();
        assert_eq!(
            events,
            [
                Event::Builds { done: 0, expected: 1 },
                Event::Building { derivation: derivation.clone() },
                Event::BuildLine { derivation: derivation.clone(), line: "about to fail".to_owned() },
            ]
        );
        assert_eq!(log.message(), "builder for '/nix/store/l59-bad.drv' failed");
        assert_eq!(log.of_build(&derivation), ["about to fail"]);
    }

    #[test]
    fn plain_lines_are_kept_when_nix_says_nothing() {
        let (log, _) = read(&["ssh: connect to host x port 22: Connection refused", "@nix {broken"]);
        assert!(log.message().contains("Connection refused"));
    }

    #[test]
    fn escapes_are_removed() {
        assert_eq!(
            plain_text("\u{1b}[31;1merror:\u{1b}[0m a\tb\r \u{1b}]8;;http://x\u{1b}\\link\u{7}"),
            "error: a\tb link"
        );
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "\\PC*", json in "@nix \\{\"action\":\"(start|result|msg|stop)\",\"id\":[0-9]{1,3},\"type\":10[0-9],\"fields\":\\[[0-9\",a]{0,8}\\]\\}") {
            read(&[&line, &json]);
        }

        #[test]
        fn no_escape_is_left(text in any::<String>()) {
            let escapes = plain_text(&text).matches('\u{1b}').count();
            prop_assert_eq!(escapes, 0);
        }
    }
}
