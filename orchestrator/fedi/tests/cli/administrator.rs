//! Proxmox's administrator, who does what fedi's commands ask for.

use fedi_sim::SimHandle;
use proxmox_api::{Client, Credentials, Endpoint, Method, Options, Parameters, Request, Trust};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Does what the `pveum` commands in a text ask for, as Proxmox's administrator. Returns
/// the token, whole, where one was made.
pub(crate) fn administrate(runtime: &Runtime, sim: &SimHandle, text: &str) -> Option<String> {
    let client = administrator(sim);
    let mut made = None;
    for line in text.lines().map(str::trim).filter(|line| line.starts_with("pveum ")) {
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let with = Parameters::new();
        let done = match words.as_slice() {
            ["pveum", "pool", "add", pool] => {
                runtime.block_on(client.send(&Add("/pools", vec![], with.with("poolid", *pool))))
            }
            // The simulator has the user from its start.
            ["pveum", "user", "add", "fedi@pve"] => Ok(Value::Null),
            ["pveum", "user", "token", "add", user, token, "--privsep", privsep] => {
                let place = vec![(*user).to_owned(), (*token).to_owned()];
                let add = Add("/access/users/{userid}/token/{tokenid}", place, with.with("privsep", *privsep));
                let answer = runtime.block_on(client.send(&add));
                made = answer.as_ref().ok().map(|it| format!("{user}!{token}={}", it["value"].as_str().unwrap()));
                answer
            }
            ["pveum", "role", "add", role, "--privs", privileges] => {
                let with = with.with("roleid", *role).with("privs", *privileges);
                runtime.block_on(client.send(&Add("/access/roles", vec![], with)))
            }
            ["pveum", "acl", "modify", path, "--roles", role, who @ ("--users" | "--tokens"), name] => {
                let with = with.with("path", *path).with("roles", *role).with(who.trim_start_matches("--"), *name);
                runtime.block_on(client.send(&ModifyAcl(with)))
            }
            other => panic!("no command that this test knows: {other:?}"),
        };
        done.unwrap_or_else(|error| panic!("{line}: {error}: {}", error.message()));
    }
    made
}

/// What Proxmox's administrator works with.
pub(crate) fn administrator(sim: &SimHandle) -> Client {
    let token = sim.token("root@pam!admin").unwrap();
    let endpoint = Endpoint::parse(&sim.url()).unwrap();
    let trust = Trust::Fingerprints(vec![sim.fingerprint().parse().unwrap()]);
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(Options::new(endpoint, trust, Credentials::Token(token.parse().unwrap()))).unwrap()
}

/// A POST: its path, what fills the path's placeholders, its parameters.
struct Add(&'static str, Vec<String>, Parameters);

impl Request for Add {
    const METHOD: Method = Method::Post;
    type Answer = Value;

    fn template(&self) -> &'static str {
        self.0
    }

    fn placeholders(&self) -> Vec<String> {
        self.1.clone()
    }

    fn parameters(&self) -> Parameters {
        self.2.clone()
    }
}

/// Changes the token of fedi.
pub(crate) struct ModifyToken(pub(crate) Parameters);

impl Request for ModifyToken {
    const METHOD: Method = Method::Put;
    type Answer = Value;

    fn template(&self) -> &'static str {
        "/access/users/{userid}/token/{tokenid}"
    }

    fn placeholders(&self) -> Vec<String> {
        vec!["fedi@pve".to_owned(), "deploy".to_owned()]
    }

    fn parameters(&self) -> Parameters {
        self.0.clone()
    }
}

struct ModifyAcl(Parameters);

impl Request for ModifyAcl {
    const METHOD: Method = Method::Put;
    type Answer = Value;

    fn template(&self) -> &'static str {
        "/access/acl"
    }

    fn parameters(&self) -> Parameters {
        self.0.clone()
    }
}

/// The words of a command line, as a shell splits what is quoted simply.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words
}
