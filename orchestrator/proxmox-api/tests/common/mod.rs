//! What the tests of this crate share: a small HTTPS server that says what it is told to, and a clock that does not
//! wait.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "test code")]

pub(crate) mod checked;
pub(crate) mod clock;
pub(crate) mod multipart;
pub(crate) mod server;

use std::path::Path;
use std::sync::Arc;

use proxmox_api::{Client, Counter, Credentials, Endpoint, Options, Trust};

use clock::TestClock;
use server::Server;

/// A client of the server, with its clock and a counter of its requests.
pub(crate) struct Setup {
    pub(crate) client: Client,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) counter: Arc<Counter>,
}

pub(crate) fn token() -> Credentials {
    Credentials::Token("fedi@pve!deploy=not-so-secret".parse().unwrap())
}

pub(crate) fn options(server: &Server) -> Options {
    let endpoint = Endpoint::parse(&server.url()).unwrap();
    Options::new(endpoint, Trust::Fingerprints(vec![server.fingerprint()]), token())
}

pub(crate) fn setup(server: &Server) -> Setup {
    setup_with(options(server))
}

pub(crate) fn setup_with(options: Options) -> Setup {
    let clock = Arc::new(TestClock::new());
    let counter = Arc::new(Counter::default());
    let options = options.with_clock(clock.clone()).with_observer(counter.clone());
    Setup { client: Client::new(options).unwrap(), clock, counter }
}

/// A file of the data folder beside the checkout; says so where it is not there.
pub(crate) fn shared_data(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) => {
            skip(&format!("{name} is not beside the checkout ({error})"));
            None
        }
    }
}

fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    let Ok(log) = std::env::var("FEDI_SKIP_LOG") else { return };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
    std::io::Write::write_all(&mut file, format!("proxmox-api: {reason}\n").as_bytes()).unwrap();
}
