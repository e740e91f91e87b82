//! Records about connections rather than calls: raw bytes out, raw bytes and the closing back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::Client;
use crate::compare::{Normaliser, Shape};
use crate::install::IDLE;
use crate::record::Record;

/// Plays a record with raw bytes; `token` is `user@realm!name=SECRET`.
pub(crate) async fn raw(client: &Client, record: &Record, token: &str, normaliser: &Normaliser) -> Vec<String> {
    let pieces: Vec<String> = record
        .request
        .raw
        .iter()
        .flatten()
        .map(|piece| piece.replace("<token>\n", &format!("{token}\r\n")).replace("root@pam!full=<secret>", token))
        .collect();
    let (bytes, took) = if record.request.tls.is_some() {
        let mut connection = client.connect().await;
        for piece in &pieces {
            connection.send(piece.as_bytes()).await;
        }
        connection.until_closed().await
    } else {
        plain(client, &pieces).await
    };
    let mut wrong = compare(record.response.raw.as_deref().unwrap_or_default(), &bytes, normaliser);
    let last_data = record.response.events.iter().rev().find(|(what, _)| what.is_number()).map_or(0.0, |(_, at)| *at);
    let closed = record.response.events.iter().find(|(what, _)| what == "closed").map(|(_, at)| *at);
    let idles = closed.is_some_and(|at| at - last_data > 4.0);
    if idles != (took >= IDLE) {
        wrong.push(format!("closed after {took:?}, recorded {:?}", record.response.events));
    }
    wrong
}

async fn plain(client: &Client, pieces: &[String]) -> (Vec<u8>, Duration) {
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    for piece in pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    let (start, mut bytes) = (Instant::now(), Vec::new());
    // How it ends is part of what came before.
    let _ = stream.read_to_end(&mut bytes).await;
    (bytes, start.elapsed())
}

fn split(raw: &str) -> (&str, BTreeMap<String, Vec<String>>, &str) {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or((raw, ""));
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in rest.split("\r\n").filter_map(|line| line.split_once(": ")) {
        // Times differ, and so does the length of what is in them.
        let fixed = !["Date", "Expires", "Content-Length"].contains(&name);
        headers.entry(name.to_owned()).or_default().push(if fixed { value.to_owned() } else { String::new() });
    }
    (first, headers, body)
}

fn compare(recorded: &str, bytes: &[u8], normaliser: &Normaliser) -> Vec<String> {
    let ours = normaliser.text(&String::from_utf8_lossy(bytes));
    let (first, headers, body) = split(&ours);
    let (expected_first, expected_headers, expected_body) = split(recorded);
    let mut wrong = Vec::new();
    if first != expected_first {
        wrong.push(format!("`{first}` for `{expected_first}`"));
    }
    if headers != expected_headers {
        wrong.push(format!("headers {headers:?} for {expected_headers:?}"));
    }
    let shape = |text: &str| serde_json::from_str(text).map(|value| Shape::of(&value)).ok();
    if shape(body) != shape(expected_body) || (shape(body).is_none() && body != expected_body) {
        wrong.push(format!("body `{body}` for `{expected_body}`"));
    }
    wrong
}

/// Requests on one connection until the server ends it.
pub(crate) async fn repeated(client: &Client, record: &Record, headers: &[(String, String)]) -> Vec<String> {
    let mut connection = client.connect().await;
    let mut answered = 0;
    loop {
        let answer = connection.request("GET", &record.request.path, headers, b"").await;
        if answer.status == 0 {
            break;
        }
        answered += 1;
        if answer.header("Connection").contains(&"close") {
            break;
        }
    }
    if Some(answered) == record.response.requests_answered {
        return Vec::new();
    }
    vec![format!("{answered} requests answered, recorded {:?}", record.response.requests_answered)]
}

/// A second request on a connection that was left alone for longer than it may be.
pub(crate) async fn reused(client: &Client, record: &Record, headers: &[(String, String)]) -> Vec<String> {
    let mut connection = client.connect().await;
    let first = connection.request("GET", &record.request.path, headers, b"").await;
    tokio::time::sleep(IDLE.mul_f64(1.5)).await;
    let second = connection.request("GET", &record.request.path, headers, b"").await;
    if first.status == 200 && second.status == 0 {
        return Vec::new();
    }
    vec![format!("the second request was answered with {}", second.status)]
}
