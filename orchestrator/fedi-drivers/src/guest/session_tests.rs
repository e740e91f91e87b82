//! Conversations with stand-ins of the agent: shell scripts.

use fedi_guest::protocol::Activation as Made;
use fedi_model::name::{DeploymentName, HostName};
use fedi_model::resource::GuestRef;
use tokio::process::Command;

use super::*;

/// A session with what `script` says.
fn session(script: &str, limits: Limits) -> AgentSession {
    let key = tempfile::NamedTempFile::new().unwrap();
    let guest = GuestRef {
        deployment: DeploymentName::new("matrix").unwrap(),
        host: HostName::new("here").unwrap(),
        uuid: Uuid::from_u128(7),
        addresses: Vec::new(),
    };
    let target = SshTarget::new(&guest, [127, 0, 0, 1].into(), "ssh-ed25519 AAAA", key.path()).unwrap();
    let mut sh = Command::new("sh");
    sh.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = sh.spawn().unwrap();
    let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
    AgentSession {
        target,
        child,
        input,
        output: BufReader::new(output),
        partial: Vec::new(),
        stderr: Arc::default(),
        next: 1,
        limits,
    }
}

/// A session whose agent says a line for each that it hears.
fn answering(lines: &[&str]) -> AgentSession {
    let say = |line: &&str| format!("read -r heard; printf '%s\\n' '{}'; ", line.replace('\'', r"'\''"));
    let script = lines.iter().map(say).collect::<String>();
    session(&script, LIMITS)
}

#[tokio::test]
async fn an_agent_of_a_newer_protocol_is_refused() {
    let mut session = answering(&[r#"{"hello":{"protocol":2,"version":"9.0.0"}}"#]);
    let error = session.greet().await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Invalid);
    assert_eq!(error.message, "Failed to talk to the agent on the guest `matrix`");
    assert!(error.causes[0].contains("speaks protocol 2 (fedi 9.0.0); this one speaks 1 (fedi "), "{error:?}");
    assert_eq!(error.hint.as_deref(), Some("Update fedi here, or deploy the guest's system anew"));
    // And one that is no agent of fedi's at all, or greets differently.
    for line in ["Welcome to Debian", r#"{"hello":{"protocol":"new"}}"#, r#"{"id":1,"ok":{}}"#] {
        let error = answering(&[line]).greet().await.unwrap_err();
        assert_eq!(error.message, "Failed to understand the agent on the guest `matrix`");
        assert!(error.hint.is_some() && !error.causes.is_empty(), "{error:?}");
    }
}

#[tokio::test]
async fn an_older_agent_that_lacks_an_operation_says_so() {
    // The words of the agent itself, see `fedi-guest/tests/session.rs`.
    let words = "This guest's fedi does not know the operation `state_pause`";
    let line = format!(
        r#"{{"id":1,"error":{{"kind":"unsupported","message":"{words}","hint":"Update the guest's system"}}}}"#
    );
    let mut session = answering(&[&line]);
    let app = AppName::new("matrix").unwrap();
    let error = session.pause(&app, true, &NoStep::default()).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Invalid);
    assert_eq!(error.message, "Guest `matrix`: This guest's fedi does not know the operation `state_pause`");
    assert_eq!(error.hint.as_deref(), Some("Update the guest's system"));
}

#[tokio::test]
async fn what_a_newer_agent_says_beside_is_not_heard() {
    let lines = concat!(
        r#"{"id":1,"event":{"weather":{"is":"fine"}}}"#,
        "\n",
        r#"{"id":1,"ok":{"queued":{"queue/default":3},"since":"yesterday"},"signed":true}"#
    );
    let mut session = answering(&[lines]);
    let paused = session.pause(&AppName::new("matrix").unwrap(), true, &NoStep::default()).await.unwrap();
    assert_eq!(paused.queued["queue/default"], 3);
}

#[tokio::test]
async fn an_answer_of_another_form_is_never_taken_for_success() {
    let app = AppName::new("matrix").unwrap();
    for line in
        [r#"{"id":1,"ok":{"depth":3}}"#, r#"{"id":1,"ok":null}"#, r#"{"id":1,"done":{}}"#, r#"{"id":9,"ok":{}}"#]
    {
        let error = answering(&[line]).backups(&app, &NoStep::default()).await.unwrap_err();
        assert_eq!(error.message, "Failed to understand the agent on the guest `matrix`", "{line}");
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("different versions")), "{error:?}");
    }
    // An error of a kind that is not known yet keeps its own words.
    let line = r#"{"id":1,"error":{"kind":"too_windy","message":"It blows","hint":"Wait"}}"#;
    let error = answering(&[line]).backups(&app, &NoStep::default()).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (DriverErrorKind::Failed, "Guest `matrix`: It blows"));
    assert_eq!(error.hint.as_deref(), Some("Wait"));
}

#[tokio::test]
async fn making_a_system_permanent_may_take_as_long_as_switching_to_it() {
    let token = Uuid::from_u128(8);
    let made =
        Made { token, system: "/nix/store/system".into(), previous: None, phase: Phase::Confirmed { generation: 2 } };
    let answer = GuestLine::Response { id: Some(1), result: Ok(serde_json::to_value(made).unwrap()) };
    let answer = serde_json::to_string(&answer).unwrap();
    // An activation script that takes its time, and a limit for quick answers that is over by then.
    let script = format!("read -r request; sleep 1; echo '{answer}'");
    let limits = Limits { quick: Duration::from_millis(50), switch: Duration::from_secs(60) };
    let mut session = session(&script, limits);
    session.confirm(&Confirm { token: token.to_string() }).await.unwrap();
}
