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
