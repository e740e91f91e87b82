//! The same with real DNS: octoDNS, and a PowerDNS that goes away in the middle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fedi_drivers::dns::OctodnsDns;
use fedi_engine::Outcome;
use fedi_engine::drivers::Dns;
use fedi_model::inventory::{Credential, Dns as DnsSettings, DnsProvider, Zone};
use fedi_model::name::{Domain, HostName};
use fedi_model::run::Direction;
use fedi_testsite::{Setup, TestSite, Wires};
use octodns_client::testing::{Fault, Pdns, Proxy, is_http_write, process};

use super::{completed, nothing_is_left, unwound};

const ZONE: &str = "example.test";
const NAME: &str = "matrix.example.test";

/// The driver as `host.toml` would have it, through `port` where a proxy is in between.
async fn dns(pdns: &Pdns, port: Option<u16>) -> Option<Arc<dyn Dns>> {
    let process = process().await?;
    let provider = DnsProvider {
        class: "octodns_powerdns.PowerDnsProvider".into(),
        packages: Vec::new(),
        min_ttl: 0,
        settings: BTreeMap::from([
            ("host".into(), pdns.api().ip().to_string().into()),
            ("port".into(), port.unwrap_or(pdns.api().port()).into()),
            ("mode_of_operation".into(), "native".into()),
        ]),
        secrets: BTreeMap::from([("api_key".into(), Credential::Env("UNUSED".into()))]),
    };
    let zone =
        Zone { name: Domain::new(ZONE).unwrap(), provider: Some("power".into()), servers: vec![pdns.dns().ip()] };
    let settings = DnsSettings {
        zones: vec![zone],
        providers: BTreeMap::from([("power".into(), provider)]),
        ..DnsSettings::default()
    };
    let secrets = BTreeMap::from([(("power".to_owned(), "api_key".to_owned()), pdns.key().to_owned())]);
    let driver = OctodnsDns::new(HostName::new("proxmox1").unwrap(), settings, secrets, PathBuf::from("/nonexistent"));
    let driver = driver.with_process(process).with_port(pdns.dns().port()).with_patience(Duration::from_secs(10));
    Some(Arc::new(driver))
}

async fn site(dns: Arc<dyn Dns>) -> TestSite {
    TestSite::with(Setup::default(), Wires { dns: Some(dns), ..Wires::default() }).await
}

#[tokio::test]
async fn everything_goes_well() {
    let Some(pdns) = Pdns::start().unwrap() else { return };
    pdns.create_zone(ZONE).unwrap();
    let Some(dns) = dns(&pdns, None).await else { return };
    let site = site(dns).await;
    completed(&site.deploy("matrix").await.unwrap());
    assert_eq!(pdns.get(ZONE, NAME, "A").unwrap(), ["10.78.1.10"]);
    assert_eq!(site.deploy("matrix").await.unwrap(), Outcome::NothingToDo);
    completed(&site.destroy("matrix").await.unwrap());
    assert!(pdns.get(ZONE, NAME, "A").unwrap().is_empty() && pdns.get(ZONE, NAME, "AAAA").unwrap().is_empty());
    nothing_is_left(&site).await;
}

/// The API dies with the first write: what was written is not known until it is back.
#[tokio::test]
async fn it_goes_down_in_the_middle_of_an_apply() {
    let Some(pdns) = Pdns::start().unwrap() else { return };
    pdns.create_zone(ZONE).unwrap();
    for written in [true, false] {
        let fault = if written { Fault::LoseAnswerAndDie } else { Fault::LoseRequestAndDie };
        let proxy = Proxy::start(pdns.api(), is_http_write, fault).await.unwrap();
        let Some(broken) = dns(&pdns, Some(proxy.address().port())).await else { return };
        let mut site = site(broken).await;
        let outcome = site.deploy("matrix").await.unwrap();
        assert_eq!(outcome.exit_code(), 4, "{outcome:?}");
        let Outcome::Paused { run, direction: Direction::Backward, failure: Some(failure), .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(failure.message.contains("the DNS zone `example.test`"), "{failure:?}");
        assert_eq!(!pdns.get(ZONE, NAME, "A").unwrap().is_empty(), written, "{fault:?}");

        // It is back: what the run had begun is taken back, and the next one goes well.
        let Some(mended) = dns(&pdns, None).await else { return };
        site.reopen_with(Wires { dns: Some(mended), ..Wires::default() });
        unwound(&site.engine().resume(run).await.unwrap());
        site.wiring.desk.forget(&"matrix".parse().unwrap()).await.unwrap();
        assert!(pdns.get(ZONE, NAME, "A").unwrap().is_empty(), "{fault:?}");
        nothing_is_left(&site).await;
        completed(&site.deploy("matrix").await.unwrap());
        completed(&site.destroy("matrix").await.unwrap());
    }
}

#[tokio::test]
async fn it_is_down_from_the_start() {
    let Some(mut pdns) = Pdns::start().unwrap() else { return };
    pdns.create_zone(ZONE).unwrap();
    let Some(dns) = dns(&pdns, None).await else { return };
    let site = site(dns).await;
    let prepared = site.wiring.desk.deploy(&site.wiring.deployment("matrix")).await.unwrap();
    pdns.kill();
    let failure = unwound(&site.engine().start(&prepared.plan).await.unwrap());
    assert!(failure.message.contains("`example.test`"), "{failure:?}");
    site.wiring.desk.forget(&"matrix".parse().unwrap()).await.unwrap();
    nothing_is_left(&site).await;
}
