//! The protocol: what is written reads back, what is garbage is refused, and no
//! refusal quotes a secret.

use fedi_guest::protocol::{
    Activate, BackupConfig, BackupConfigure, ClientLine, Confirm, ErrorKind, ErrorReply, Event, FactsRequest, Gate,
    GateAction, GuestLine, HealthRequest, Hello, LeaseGrant, LeaseRevoke, Op, Phase, Reason, RepositoryAccess, Request,
    RestLogin, RunHook, S3Access, Secret, SecretValue, SecretsDeliver, SftpAccess, StateCapture, StateClear,
    StatePause, StateRestore, UnitsRequest,
};
use fedi_model::state::Consistency;
use fedi_model::{AppName, DeploymentName, SecretName};
use proptest::prelude::*;
use uuid::Uuid;

fn app() -> impl Strategy<Value = AppName> {
    "[a-z][a-z0-9]{0,12}".prop_map(|name| AppName::new(name).expect("a name"))
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn secret() -> impl Strategy<Value = Secret> {
    ("[a-z][a-z0-9]{0,12}", any::<u64>(), "\\PC*", prop::collection::vec(any::<u8>(), 0..64)).prop_map(
        |(name, version, fingerprint, value)| Secret {
            name: SecretName::new(name).expect("a name"),
            version,
            fingerprint,
            value: SecretValue::new(value),
            owner: "root".to_owned(),
            group: "root".to_owned(),
            mode: "0400".to_owned(),
        },
    )
}

fn value() -> impl Strategy<Value = SecretValue> {
    prop::collection::vec(any::<u8>(), 0..48).prop_map(SecretValue::new)
}

fn access() -> impl Strategy<Value = RepositoryAccess> {
    let rest = ("\\PC{0,8}", value()).prop_map(|(user, password)| RestLogin { user, password });
    let s3 = ("\\PC{0,8}", value(), "[a-z]{0,8}").prop_map(|(id, secret, region)| S3Access { id, secret, region });
    let sftp = (value(), "\\PC{0,8}").prop_map(|(private_key, known_hosts)| SftpAccess { private_key, known_hosts });
    let (rest, s3, sftp) = (prop::option::of(rest), prop::option::of(s3), prop::option::of(sftp));
    ("\\PC{0,16}", value(), rest, s3, sftp, prop::option::of("\\PC{0,16}")).prop_map(
        |(location, password, rest, s3, sftp, ca)| RepositoryAccess { location, password, rest, s3, sftp, ca },
    )
}

fn consistency() -> impl Strategy<Value = Consistency> {
    prop_oneof![Just(Consistency::Live), Just(Consistency::DumpThenFiles), Just(Consistency::Quiesced)]
}

fn state_op() -> impl Strategy<Value = Op> {
    let deployment = DeploymentName::new("matrix").expect("a name");
    let other = deployment.clone();
    prop_oneof![
        (app(), any::<bool>()).prop_map(|(app, drain)| StatePause { app, drain }.into()),
        (app(), access(), consistency(), value(), value(), "[a-z0-9-]{1,16}").prop_map(
            move |(app, repository, consistency, fingerprint_key, sealed_secrets, run)| {
                let deployment = deployment.clone();
                StateCapture { app, deployment, repository, consistency, fingerprint_key, sealed_secrets, run }.into()
            }
        ),
        (app(), access(), "[0-9a-f]{64}").prop_map(|(app, repository, snapshot)| StateRestore {
            app,
            repository,
            snapshot
        }
        .into()),
        (app(), access(), "[0-9a-f]{64}").prop_map(|(app, repository, fail_safe)| StateClear {
            app,
            repository,
            fail_safe
        }
        .into()),
        (app(), access(), consistency(), prop::option::of("\\PC{0,16}"), value(), value()).prop_map(
            move |(app, repository, consistency, schedule, fingerprint_key, sealed_secrets)| {
                let deployment = other.clone();
                let config =
                    BackupConfig { deployment, repository, consistency, schedule, fingerprint_key, sealed_secrets };
                BackupConfigure { app, config: Some(config) }.into()
            }
        ),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        state_op(),
        prop::option::of("/[a-z/]{0,20}").prop_map(|profile| FactsRequest { profile: profile.map(Into::into) }.into()),
        (app(), any::<u64>(), uuid()).prop_map(|(app, epoch, holder)| LeaseGrant { app, epoch, holder }.into()),
        (app(), any::<u64>()).prop_map(|(app, epoch)| LeaseRevoke { app, epoch }.into()),
        (app(), prop::collection::vec(secret(), 0..4))
            .prop_map(|(app, secrets)| SecretsDeliver { app, secrets }.into()),
        prop::collection::vec("\\PC*", 0..4).prop_map(|units| UnitsRequest { units }.into()),
        ("\\PC*", any::<u32>()).prop_map(|(unit, timeout_s)| RunHook { unit, timeout_s }.into()),
        (app(), any::<bool>(), any::<u32>()).prop_map(|(app, start, timeout_s)| {
            let action = if start { GateAction::Start } else { GateAction::Stop };
            Gate { app, action, timeout_s }.into()
        }),
        (prop::option::of(app()), any::<bool>()).prop_map(|(app, probe)| HealthRequest { app, probe }.into()),
        (uuid(), "/[a-z/]{0,20}", any::<u32>(), any::<u32>()).prop_map(
            |(token, system, confirm_within_s, timeout_s)| {
                let profile = "/nix/var/nix/profiles".into();
                Activate { token, system: system.into(), profile, confirm_within_s, timeout_s }.into()
            }
        ),
        uuid().prop_map(|token| Confirm { token }.into()),
    ]
}

fn guest_line() -> impl Strategy<Value = GuestLine> {
    let phase = prop_oneof![
        Just(Phase::Switching),
        any::<u64>().prop_map(|deadline_ms| Phase::Waiting { deadline_ms }),
        any::<u32>().prop_map(|seconds| Phase::RolledBack { reason: Reason::NotConfirmed { seconds } }),
        ("\\PC*", prop::collection::vec("\\PC*", 0..3)).prop_map(|(status, output)| Phase::RollbackFailed {
            reason: Reason::ActivationFailed { status, output },
            error: "x".to_owned(),
        }),
    ];
    prop_oneof![
        any::<u32>().prop_map(|protocol| GuestLine::Hello(Hello { protocol, version: "1".to_owned() })),
        (any::<u64>(), "\\PC*").prop_map(|(id, line)| GuestLine::Event { id, event: Event::Output { line } }),
        (any::<u64>(), "\\PC*", any::<u64>(), prop::option::of(any::<u64>()), any::<u64>(), any::<u64>()).prop_map(
            |(id, what, bytes, of_bytes, count, rate)| {
                GuestLine::Event { id, event: Event::Progress { what, bytes, of_bytes, count, rate } }
            }
        ),
        (any::<u64>(), "\\PC*").prop_map(|(id, message)| GuestLine::Event { id, event: Event::Notice { message } }),
        (any::<u64>(), phase).prop_map(|(id, phase)| GuestLine::Event { id, event: Event::Phase { phase } }),
        (any::<u64>(), "\\PC*")
            .prop_map(|(id, text)| GuestLine::Response { id: Some(id), result: Ok(serde_json::json!({ "a": text })) }),
        (prop::option::of(any::<u64>()), "\\PC*", prop::option::of("\\PC*")).prop_map(|(id, message, hint)| {
            let error = ErrorReply { kind: ErrorKind::DiskFull, message, causes: Vec::new(), hint };
            GuestLine::Response { id, result: Err(error) }
        }),
    ]
}

proptest! {
    #[test]
    fn requests_read_back(id: u64, op in op()) {
        let line = serde_json::to_string(&Request { id, op: op.clone() }).unwrap();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(ClientLine::parse(line.as_bytes()).unwrap(), ClientLine::Request(Request { id, op }));
    }

    #[test]
    fn guest_lines_read_back(line in guest_line()) {
        let text = serde_json::to_string(&line).unwrap();
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(GuestLine::parse(text.as_bytes()).unwrap(), line);
    }

    #[test]
    fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC*") {
        for line in [bytes.as_slice(), text.as_bytes()] {
            let _ = ClientLine::parse(line);
            let _ = GuestLine::parse(line);
        }
    }

    /// A request whose fields are of the wrong type, or that is cut off anywhere,
    /// is refused by its place, never by its content.
    #[test]
    fn no_refusal_quotes_a_secret(value in "[A-Za-z0-9]{12,40}", cut in 0.0_f64..1.0) {
        let wrong = [
            format!(r#"{{"id":1,"op":"secrets_deliver","app":"matrix","secrets":"{value}"}}"#),
            format!(r#"{{"id":1,"op":"secrets_deliver","app":"matrix","secrets":[{{"name":"key","version":"{value}","fingerprint":"f","value":"YQ=="}}]}}"#),
            format!(r#"{{"id":1,"op":"secrets_deliver","app":"matrix","secrets":[{{"name":"key","version":1,"fingerprint":"f","value":"{value}!"}}]}}"#),
            format!(r#"{{"id":1,"op":"secrets_deliver","app":"matrix","secrets":[{{"name":"K {value}","version":1,"fingerprint":"f","value":"YQ=="}}]}}"#),
        ];
        let access = format!(r#"{{"location":"/x","password":"{value}!"}}"#);
        let state = [
            format!(r#"{{"id":1,"op":"state_capture","app":"matrix","run":"x","repository":{access}}}"#),
            format!(r#"{{"id":1,"op":"state_restore","app":"matrix","snapshot":"x","repository":{access}}}"#),
            format!(r#"{{"id":1,"op":"state_verify","app":"matrix","snapshot":"x","repository":"{value}"}}"#),
            format!(r#"{{"id":1,"op":"state_clear","app":"matrix","fail_safe":"x","repository":{{"password":"{value}"}}}}"#),
            format!(r#"{{"id":1,"op":"backup_configure","app":"matrix","config":{{"repository":{access}}}}}"#),
            format!(r#"{{"id":1,"op":"backup_configure","app":"matrix","config":"{value}"}}"#),
        ];
        for line in wrong.iter().chain(&state) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let end = (line.len() as f64 * cut) as usize;
            for line in [line.as_bytes(), &line.as_bytes()[..end]] {
                let bad = ClientLine::parse(line).expect_err("it is malformed");
                let told = format!("{bad:?} {}", bad.error);
                prop_assert!(!told.contains(&value), "quoted in {}", told);
            }
        }
    }
}
