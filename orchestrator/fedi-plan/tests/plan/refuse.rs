//! What is refused before anything is touched.

use fedi_model::inventory::{Deployment, DnsDriver};
use fedi_model::manifest::Generator;
use fedi_model::name::{AppName, HostName, SecretName};
use fedi_model::resource::{RecordSet, Records, Resource};
use fedi_plan::Refusal;

use crate::world::{World, address, deployed_world, domain, empty_world, name};

/// The plan is refused for these reasons; each is a message with its hint.
#[track_caller]
fn refused(world: &World, expected: &[(&str, &str)]) {
    let refusals = world.plan().unwrap_err().refusals;
    let found: Vec<_> = refusals.iter().map(|it| (it.to_string(), it.hint().unwrap_or_default())).collect();
    let expected: Vec<_> = expected.iter().map(|(text, hint)| ((*text).to_owned(), (*hint).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_application_that_the_system_does_not_have() {
    let mut world = empty_world();
    world.deployment.file.app = AppName::new("mastodon").unwrap();
    refused(
        &world,
        &[(
            "The system does not have the application `mastodon`",
            "The system has `matrix`; set `app` in the deployment's file to one of them",
        )],
    );
}

#[test]
fn a_domain_outside_every_zone() {
    let mut world = empty_world();
    world.deployment.file.domain = domain("matrix.example.org");
    refused(
        &world,
        &[(
            "`matrix.example.org` lies in no zone of host `proxmox1`",
            "`proxmox1` has `example.test` and `sub.example.test`; take a name in one, or add a zone to `host.toml`",
        )],
    );
}

#[test]
fn everything_at_once() {
    let mut world = empty_world();
    world.addresses.clear();
    world.taken.insert(domain("matrix.example.test"), name("chat"));
    let app = world.manifest.apps.values_mut().next().unwrap();
    let mut smtp = app.secrets.values().next().unwrap().clone();
    smtp.generator = Generator::Operator { describe: "password of the mail relay".to_owned(), optional: false };
    app.secrets.insert(SecretName::new("smtp-password").unwrap(), smtp);
    refused(
        &world,
        &[
            (
                "The domain `matrix.example.test` belongs to deployment `chat`",
                "Take another domain, or run `fedi destroy chat` first",
            ),
            ("Host `proxmox1` has no addresses to give", "Add `[[addresses]]` to `hosts/proxmox1/host.toml`"),
            (
                "Secrets are missing that only you can give: `smtp-password` (password of the mail relay)",
                "Run `fedi secret set matrix smtp-password`",
            ),
        ],
    );
}

#[test]
fn its_own_domain_is_not_taken() {
    let mut world = deployed_world();
    world.taken.insert(domain("matrix.example.test"), name("matrix"));
    assert!(world.plan().unwrap().is_empty());
}

#[test]
fn a_disk_never_shrinks() {
    let mut world = deployed_world();
    world.deployment.file.resources.state_gib = Some(10);
    refused(
        &world,
        &[(
            "The state disk has 20 GiB and would shrink to 10 GiB",
            "Set `state-gib` to 20 or more; a disk can grow, never shrink",
        )],
    );
}

#[test]
fn a_file_that_was_moved_to_another_host() {
    let mut world = deployed_world();
    world.deployment = Deployment { host: HostName::new("new-provider").unwrap(), ..world.deployment };
    let refusals = world.plan().unwrap_err().refusals;
    assert!(matches!(refusals[0], Refusal::OtherHost { .. }), "{refusals:?}");
    assert_eq!(refusals[0].hint().unwrap(), "Move its file back to `hosts/proxmox1/deployments/`");
}

#[test]
fn a_guest_keeps_its_addresses() {
    let mut world = deployed_world();
    world.addresses[0] = address("10.99.0.10/24", "10.99.0.1");
    refused(
        &world,
        &[(
            "Its guest was made with `10.78.1.10` and `fd78:1::10`, but it holds `10.99.0.10` and `fd78:1::10` now",
            "A guest keeps the addresses it was made with: put their pool back into `host.toml`",
        )],
    );
}

#[test]
fn an_application_keeps_its_domain() {
    let mut world = deployed_world();
    world.deployment.file.domain = domain("chat.example.test");
    let app = world.manifest.apps.values_mut().next().unwrap();
    app.records[0].name = "chat.example.test".to_owned();
    refused(
        &world,
        &[(
            "It was deployed under `matrix.example.test`, not under `chat.example.test`",
            "An application's domain is part of its identity: put the old one back, or deploy under another name",
        )],
    );
}

fn with_foreign_record() -> World {
    let mut world = empty_world();
    let records = Records {
        deployment: name("matrix"),
        host: world.deployment.host.clone(),
        zone: domain("example.test"),
        sets: vec![RecordSet {
            name: "matrix".to_owned(),
            kind: "A".to_owned(),
            ttl: 60,
            values: vec!["192.0.2.1".to_owned()],
        }],
    };
    world.known.saw(&Resource::Records(records.clone()), Some(Resource::Records(records)));
    world
}

#[test]
fn a_record_that_somebody_else_wrote() {
    refused(
        &with_foreign_record(),
        &[(
            "Zone `example.test` has the record `matrix.example.test` A `192.0.2.1`, which fedi did not write",
            "Delete it where the zone is kept if nobody needs it, or take another domain",
        )],
    );
}

#[test]
fn where_dns_is_written_by_hand_no_record_is_foreign() {
    let mut world = with_foreign_record();
    world.host.dns.driver = DnsDriver::Manual;
    assert!(world.plan().is_ok());
}

#[test]
fn caa_needs_an_issuer() {
    let mut world = empty_world();
    world.host.dns.caa_issuer = None;
    world.deployment.file.dns.caa = true;
    let refusals = world.plan().unwrap_err().refusals;
    assert!(matches!(refusals.as_slice(), [Refusal::NoCaaIssuer { .. }]), "{refusals:?}");
}
