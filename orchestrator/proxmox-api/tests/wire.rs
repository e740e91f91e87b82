//! What the client does on the wire: with answers that come, come late, come broken, or do not come.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::server::{Identity, Received, Reply, Server};
use common::{options, setup, setup_with};
use proxmox_api::{
    Class, ConfigChange, Conflict, Credentials, Endpoint, Limits, Missing, Options, Secret, Trust,
    presented_fingerprint,
};
use serde_json::json;

const UPID: &str = "UPID:pve:00000A85:000B264E:6B014552:qmstart:100:fedi@pve!deploy:";

fn version() -> Reply {
    Reply::ok(&json!({"release": "9.2", "version": "9.2.11", "repoid": "14a22df35955d97d"}))
}

/// A server that gives these replies one after another, and the last one from then on.
async fn script(replies: Vec<Reply>) -> Server {
    let next = AtomicUsize::new(0);
    Server::start(move |_| {
        let index = next.fetch_add(1, Ordering::SeqCst).min(replies.len() - 1);
        replies[index].clone()
    })
    .await
}

#[tokio::test]
async fn a_request_is_what_proxmox_reads() {
    let server =
        Server::start(|request| if request.method == "GET" { version() } else { Reply::ok(&json!(null)) }).await;
    let client = setup(&server).client;
    client.version().await.unwrap();
    let vm = client.node("pve").vm(100);
    vm.set_config(&ConfigChange::new().set("onboot", true).set("name", "a;b&c")).await.unwrap();
    let _ = vm.destroy().await;
    let [version, config, destroy] = &server.received()[..] else { panic!("three requests") };
    assert_eq!((version.method.as_str(), version.target.as_str()), ("GET", "/api2/json/version"));
    assert_eq!(version.protocol, "HTTP/1.1");
    assert_eq!(version.headers["authorization"], "PVEAPIToken=fedi@pve!deploy=not-so-secret");
    assert!(!version.headers.contains_key("content-length"), "a GET with a body is refused");
    assert_eq!(config.headers["content-type"], "application/json");
    assert_eq!(config.json(), json!({"onboot": 1, "name": "a;b&c"}));
    assert_eq!(destroy.target, "/api2/json/nodes/pve/qemu/100?destroy-unreferenced-disks=0&purge=1");
    assert!(destroy.body.is_empty(), "a DELETE with a body is refused");
    assert_eq!(server.connections(), 1, "connections are used again");
}

#[tokio::test]
async fn the_reason_phrase_is_told() {
    let reason = "unable to create VM 100 - VM 100 already exists on node 'pve'";
    let server = script(vec![Reply::error(500, reason, "")]).await;
    let error = setup(&server).client.node("pve").vm(100).start().await.unwrap_err();
    assert_eq!(*error.class(), Class::Conflict(Conflict::Exists));
    assert_eq!(error.message(), reason);
    assert_eq!(error.status(), Some(500));
}

#[tokio::test]
async fn a_reason_that_cannot_be_read_is_in_the_body() {
    let body = r#"{"data":null,"message":"volume 'local:iso/é.iso' does not exist\n"}"#;
    let head = b"HTTP/1.1 500 volume 'local:iso/\xe9.iso' does not exist\r\n";
    let rest = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let server = script(vec![Reply::Last([head, rest.as_bytes()].concat())]).await;
    let error = setup(&server).client.node("pve").vm(100).start().await.unwrap_err();
    assert_eq!(error.message(), "volume 'local:iso/é.iso' does not exist");
    assert_eq!(*error.class(), Class::NotFound(Missing::Volume));
}

#[tokio::test]
async fn a_read_is_repeated_a_few_times() {
    let lost = Reply::error(596, "Connection timed out", "");
    let server = script(vec![lost.clone(), Reply::Drop, lost.clone(), lost.clone(), version()]).await;
    let setup_ = setup(&server);
    assert_eq!(setup_.client.version().await.unwrap().version, "9.2.11");
    assert_eq!(setup_.counter.total(), 5);

    let server = script(vec![lost]).await;
    let setup_ = setup(&server);
    let error = setup_.client.version().await.unwrap_err();
    assert_eq!(*error.class(), Class::Transient);
    assert_eq!(server.received().len(), 5);
}

#[tokio::test]
async fn an_unclear_write_is_sent_once() {
    for reply in [
        Reply::error(596, "Connection timed out", ""),
        Reply::error(596, "Broken pipe", ""),
        Reply::error(599, "Too many redirections", ""),
        Reply::Drop,
        Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"da".to_vec()),
        Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec()),
    ] {
        let server = script(vec![reply.clone()]).await;
        let error = setup(&server).client.node("pve").vm(100).start().await.unwrap_err();
        assert_eq!(*error.class(), Class::Ambiguous, "{reply:?}");
        assert_eq!(server.received().len(), 1, "{reply:?}");
    }
}

#[tokio::test]
async fn a_write_that_never_began_is_sent_again() {
    let unreachable = Reply::error(595, "No route to host", "");
    let no_worker = Reply::error(500, "got no worker upid - start worker failed", "");
    let server = script(vec![unreachable.clone(), no_worker, Reply::ok(&json!(UPID))]).await;
    let upid = setup(&server).client.node("pve").vm(100).start().await.unwrap();
    assert_eq!(upid.to_string(), UPID);
    assert_eq!(server.received().len(), 3);

    let server = script(vec![unreachable]).await;
    let error = setup(&server).client.node("pve").vm(100).start().await.unwrap_err();
    assert_eq!(*error.class(), Class::NotSent);
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn what_is_refused_is_not_repeated() {
    for (reply, class) in [
        (Reply::error(401, "Authentication failed!", ""), Class::Credentials),
        (Reply::error(501, "Method 'GET /version' not implemented", ""), Class::Permanent),
        (Reply::error(500, "cluster not ready - no quorum?", ""), Class::Quorum),
    ] {
        let server = script(vec![reply]).await;
        let error = setup(&server).client.version().await.unwrap_err();
        assert_eq!(*error.class(), class);
        assert_eq!(server.received().len(), 1);
    }
}

#[tokio::test]
async fn nobody_there_is_not_sent() {
    let server = script(vec![version()]).await;
    let options = options(&server);
    let url = server.url();
    drop(server);
    let error = setup_with(options).client.node("pve").vm(100).start().await.unwrap_err();
    assert_eq!(*error.class(), Class::NotSent, "{url}: {error:?}");
    assert_eq!(error.to_string(), "Proxmox could not be reached");
    assert!(error.message().contains("refused"), "{}", error.message());
}

#[tokio::test]
async fn silence_ends_in_time() {
    let server = script(vec![Reply::Silence]).await;
    let short = Duration::from_millis(50);
    let limits = Limits { read: short, write: short, ..Limits::default() };
    let client = setup_with(options(&server).with_limits(limits)).client;
    let error = client.node("pve").vm(100).start().await.unwrap_err();
    assert_eq!(*error.class(), Class::Ambiguous);
    assert_eq!(error.message(), "no answer in time");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_does_no_harm() {
    let body = br#"{"data":{"release":"9.2","version":"9.2.11"}}"#;
    let mut last = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    last.extend_from_slice(body);
    let server = script(vec![Reply::Last(last), Reply::ok(&json!(UPID))]).await;
    let client = setup(&server).client;
    client.version().await.unwrap();
    // The server says nothing of it and closes; the client learns of it only when it looks.
    while server.connections() == 1 {
        if client.node("pve").vm(100).start().await.is_ok() {
            break;
        }
    }
    assert_eq!(server.received().iter().filter(|request| request.method == "POST").count(), 1);
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let server = script(vec![version()]).await;
    let other = script(vec![version()]).await;
    let pinned =
        |pins| Options::new(Endpoint::parse(&server.url()).unwrap(), Trust::Fingerprints(pins), common::token());
    let setup_ = setup_with(pinned(vec![other.fingerprint()]));
    let error = setup_.client.version().await.unwrap_err();
    assert_eq!(*error.class(), Class::Certificate { presented: Some(server.fingerprint()) });
    assert_eq!(error.to_string(), "The server is not the expected one");
    assert!(error.message().contains(&server.fingerprint().to_string()));
    assert_eq!(setup_.counter.total(), 1, "a wrong certificate will not become right");
    assert!(server.received().is_empty(), "the token was not sent");

    let renewal = pinned(vec![other.fingerprint(), server.fingerprint()]);
    assert!(setup_with(renewal).client.version().await.is_ok());
}

#[tokio::test]
async fn an_authority_vouches_for_the_name() {
    let trust = |server: &Server, authority: &Server| {
        let endpoint = Endpoint::parse(&server.url()).unwrap();
        Options::new(endpoint, Trust::Authority(authority.authority_pem()), common::token())
    };
    let server = script(vec![version()]).await;
    assert!(setup_with(trust(&server, &server)).client.version().await.is_ok());
    let other = script(vec![version()]).await;
    let error = setup_with(trust(&server, &other)).client.version().await.unwrap_err();
    assert_eq!(*error.class(), Class::Certificate { presented: None });
    let misnamed = Server::start_as(Identity::new("pve.example.org"), |_| version()).await;
    let error = setup_with(trust(&misnamed, &misnamed)).client.version().await.unwrap_err();
    assert_eq!(*error.class(), Class::Certificate { presented: None });
    assert!(misnamed.received().is_empty());
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    for identity in [Identity::new("127.0.0.1"), Identity::new("127.0.0.1").old()] {
        let server = Server::start_as(identity.stolen(), |_| version()).await;
        let error = setup(&server).client.version().await.unwrap_err();
        assert_eq!(*error.class(), Class::Certificate { presented: None }, "{error:?}");
        assert!(server.received().is_empty());
    }
}

#[tokio::test]
async fn an_older_tls_does() {
    let server = Server::start_as(Identity::new("127.0.0.1").old(), |_| version()).await;
    setup(&server).client.version().await.unwrap();
}

#[tokio::test]
async fn a_fingerprint_can_be_asked_for() {
    let server = script(vec![version()]).await;
    let endpoint = Endpoint::parse(&server.url()).unwrap();
    assert_eq!(presented_fingerprint(&endpoint).await.unwrap(), server.fingerprint());
    assert!(server.received().is_empty());
    drop(server);
    let error = presented_fingerprint(&endpoint).await.unwrap_err();
    assert_eq!(*error.class(), Class::NotSent);
}

/// Answers logins with tickets that are numbered, and takes only the newest.
fn ticket_server(request: &Received, logins: &AtomicUsize) -> Reply {
    if request.target == "/api2/json/access/ticket" {
        let body = request.json();
        let number = logins.fetch_add(1, Ordering::SeqCst) + 1;
        let old = format!("PVE:root@pam:{}", number - 1);
        let good = body["password"] == "secret" || (number > 1 && body["password"] == old.as_str());
        if body["username"] != "root@pam" || !good {
            return Reply::error(
                401,
                "authentication failure",
                r#"{"data":null,"message":"authentication failure\n"}"#,
            );
        }
        let ticket = format!("PVE:root@pam:{number}");
        return Reply::ok(
            &json!({"ticket": ticket, "CSRFPreventionToken": format!("csrf{number}"), "username": "root@pam"}),
        );
    }
    let number = logins.load(Ordering::SeqCst);
    let cookie = format!("PVEAuthCookie=PVE%3Aroot%40pam%3A{number}");
    let csrf = format!("csrf{number}");
    if request.headers.get("cookie") != Some(&cookie) || request.headers.get("csrfpreventiontoken") != Some(&csrf) {
        return Reply::error(401, "permission denied - invalid PVE ticket", "");
    }
    if request.method == "GET" { version() } else { Reply::ok(&json!(UPID)) }
}

#[tokio::test]
async fn a_ticket_is_fetched_used_and_renewed() {
    let logins = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = logins.clone();
    let server = Server::start(move |request| ticket_server(request, &counted)).await;
    let mut credentials = Credentials::Password { user: "root@pam".to_owned(), password: Secret::new("secret") };
    let with = |credentials| {
        let endpoint = Endpoint::parse(&server.url()).unwrap();
        setup_with(Options::new(endpoint, Trust::Fingerprints(vec![server.fingerprint()]), credentials))
    };
    let setup_ = with(credentials.clone());
    setup_.client.version().await.unwrap();
    setup_.client.node("pve").vm(100).start().await.unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 1);
    setup_.clock.advance(Duration::from_secs(3700));
    setup_.client.version().await.unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 2, "an old ticket is renewed with itself");
    logins.fetch_add(5, Ordering::SeqCst);
    setup_.client.node("pve").vm(100).start().await.unwrap();
    assert_eq!(logins.load(Ordering::SeqCst), 8, "a ticket that is refused is fetched anew");
    if let Credentials::Password { password, .. } = &mut credentials {
        *password = Secret::new("wrong");
    }
    let error = with(credentials).client.version().await.unwrap_err();
    assert_eq!(*error.class(), Class::Credentials);
    assert_eq!(error.message(), "User `root@pam` is unknown, expired or has another secret");
}

#[tokio::test]
async fn only_so_many_requests_are_sent_at_once() {
    let server = Server::start(|_| version()).await;
    let client = setup(&server).client;
    let requests = (0..40).map(|_| client.version());
    for answer in futures::future::join_all(requests).await {
        answer.unwrap();
    }
    assert!(server.connections() <= Limits::default().at_once, "{}", server.connections());
}
