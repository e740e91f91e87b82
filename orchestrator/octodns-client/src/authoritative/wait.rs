//! Waits until every authoritative server shows what was written.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, Authoritative, QueryError, Seen};
use crate::record::{RecordKey, RecordSet};

/// What the servers should come to answer. Times to live are not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// These values and no others.
    Present(RecordSet),
    /// No records of this name and type.
    Absent(RecordKey),
}

impl Expected {
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Present(set) => set.key(),
            Self::Absent(key) => key.clone(),
        }
    }

    /// Whether `answer` is what was expected.
    pub fn is_met_by(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Present(wanted), Answer::Records(found)) => wanted.same_values(found),
            (Self::Absent(_), Answer::NoData { .. } | Answer::NxDomain { .. }) => true,
            _ => false,
        }
    }
}

/// How long and how often to look.
#[derive(Debug, Clone, Copy)]
pub struct WaitOptions {
    pub deadline: Duration,
    /// The first pause between two looks; it grows up to `slowest`.
    pub fastest: Duration,
    pub slowest: Duration,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(120), fastest: Duration::from_millis(50), slowest: Duration::from_secs(5) }
    }
}

/// One server that does not show what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unseen {
    pub server: String,
    pub key: RecordKey,
    /// What it answered instead.
    pub answer: Result<Answer, QueryError>,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Ok(answer) => write!(f, "`{}` on {}: {answer}", self.key, self.server),
            Err(error) => write!(f, "`{}`: {} {error}", self.key, self.server),
        }
    }
}

/// The deadline passed first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} not visible after {} s: {}", count(unseen.len()), waited.as_secs(), first(unseen))]
pub struct NotVisible {
    pub unseen: Vec<Unseen>,
    pub waited: Duration,
}

fn count(answers: usize) -> String {
    match answers {
        1 => "1 answer is".to_owned(),
        more => format!("{more} answers are"),
    }
}

fn first(unseen: &[Unseen]) -> String {
    unseen.first().map(ToString::to_string).unwrap_or_default()
}

impl Authoritative {
    /// Looks once: what is not yet as expected, on which server.
    pub async fn unseen(&self, expected: &[Expected]) -> Vec<Unseen> {
        let keys: Vec<RecordKey> = expected.iter().map(Expected::key).collect();
        let mut unseen = Vec::new();
        for (expected, seen) in expected.iter().zip(self.ask_all(&keys).await) {
            for Seen { server, answer } in seen {
                if !answer.as_ref().is_ok_and(|a| expected.is_met_by(a)) {
                    unseen.push(Unseen { server, key: expected.key(), answer });
                }
            }
        }
        unseen
    }

    /// Looks until every server answers as expected, and tells `progress`
    /// what is missing each time that changes.
    ///
    /// # Errors
    /// What was still missing at the deadline.
    pub async fn wait_until_visible(
        &self,
        expected: &[Expected],
        options: WaitOptions,
        mut progress: impl FnMut(&[Unseen]),
    ) -> Result<Duration, NotVisible> {
        let start = Instant::now();
        let deadline = start + options.deadline;
        let mut pause = options.fastest;
        let mut last = None;
        loop {
            let unseen = self.unseen(expected).await;
            if unseen.is_empty() {
                return Ok(start.elapsed());
            }
            if last.as_ref() != Some(&unseen) {
                progress(&unseen);
            }
            let next = Instant::now() + pause;
            if next >= deadline {
                return Err(NotVisible { unseen, waited: start.elapsed() });
            }
            last = Some(unseen);
            tokio::time::sleep_until(next).await;
            pause = pause.mul_f64(1.6).min(options.slowest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::RecordName;
    use crate::record::RecordType;

    fn set(value: &str, ttl: u32) -> RecordSet {
        let name = RecordName::new("m.example.org").unwrap();
        RecordSet::new(name, RecordType::A, ttl, [value]).unwrap()
    }

    #[test]
    fn the_time_to_live_does_not_count() {
        let expected = Expected::Present(set("192.0.2.1", 300));
        assert!(expected.is_met_by(&Answer::Records(set("192.0.2.1", 60))));
        assert!(!expected.is_met_by(&Answer::Records(set("192.0.2.2", 300))));
        assert!(!expected.is_met_by(&Answer::NoData { negative_ttl: None }));
    }

    #[test]
    fn absent_means_no_records_and_no_alias() {
        let expected = Expected::Absent(set("192.0.2.1", 1).key());
        assert!(expected.is_met_by(&Answer::NxDomain { negative_ttl: None }));
        assert!(!expected.is_met_by(&Answer::Records(set("192.0.2.1", 60))));
        assert!(!expected.is_met_by(&Answer::Alias(set("192.0.2.1", 60))));
    }

    #[tokio::test]
    async fn the_deadline_says_who_lags() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let servers = Authoritative::new([address]);
        let options = WaitOptions {
            deadline: Duration::from_millis(30),
            fastest: Duration::from_millis(10),
            ..WaitOptions::default()
        };
        let mut calls = 0;
        let expected = [Expected::Present(set("192.0.2.1", 300))];
        let error = servers.wait_until_visible(&expected, options, |_| calls += 1).await.unwrap_err();
        assert_eq!(calls, 1, "the same lack is told once");
        let text = error.to_string();
        assert!(text.starts_with("1 answer is not visible after 0 s: `m.example.org A`: 127.0.0.1:"), "{text}");
    }
}
