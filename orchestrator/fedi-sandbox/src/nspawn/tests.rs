//! The backend against real containers: boot, agent, reboot, power cut, and nothing left behind.

use super::*;
use crate::testing::Lab;

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_lives_and_dies() {
    let Some(lab) = Lab::new("life") else { return };
    let spec = lab.spec();
    let uuid = spec.uuid;
    lab.backend.create(&spec).await.unwrap();
    assert!(!lab.backend.is_running(uuid).await);
    assert!(matches!(lab.backend.agent_ping(uuid).await, Err(BackendError::NotRunning(_))));

    lab.backend.start(&spec).await.unwrap();
    lab.up(uuid).await;
    lab.backend.start(&spec).await.unwrap();

    // What cloud-init would have set up, and the uuid that is the guest's identity.
    assert_eq!(lab.shell(uuid, "hostname").await, "matrix");
    assert_eq!(lab.shell(uuid, "cat /etc/machine-id").await, uuid.simple().to_string());
    assert_eq!(
        lab.shell(uuid, "stat -c %a / /etc/hostname /root/.ssh /root/.ssh/authorized_keys").await,
        "755\n644\n700\n600"
    );
    assert_eq!(lab.shell(uuid, "systemctl is-system-running --wait").await, "running");
    assert!(lab.shell(uuid, "cat /etc/resolv.conf").await.contains("10.78.0.53"));
    let nics = lab.backend.interfaces(uuid).await.unwrap();
    let nic = nics.iter().find(|nic| nic.mac == "bc:24:11:01:02:03").unwrap();
    assert!(nic.addresses.contains(&"10.78.1.20/24".parse().unwrap()));
    assert!(nic.addresses.contains(&"fd78:1::20/64".parse().unwrap()));

    // The agent's calls.
    let key = lab.backend.read_file(uuid, "/etc/ssh/ssh_host_ed25519_key.pub", 4096).await.unwrap();
    assert!(key.starts_with(b"ssh-ed25519 "));
    let missing = lab.backend.read_file(uuid, "/no/such", 10).await.unwrap_err();
    assert_eq!(missing.to_string(), "failed to open file '/no/such' (mode: 'r'): No such file or directory");
    lab.backend.write_file(uuid, "/var/lib/kept", b"state").await.unwrap();
    let out = lab.backend.exec(uuid, &["cat".to_owned()], b"through").await.unwrap();
    assert_eq!((out.status, out.stdout.as_slice()), (0, b"through".as_slice()));

    // The second disk is as large as it was asked to be.
    let full = lab.shell(uuid, "head -c 2G /dev/zero 2>&1 >/var/lib/zeroes || rm /var/lib/zeroes").await;
    assert!(full.contains("No space left on device"), "{full}");

    // Off and on again: the disks and the host key stay.
    assert!(lab.backend.shutdown(uuid, Duration::from_secs(30)).await.unwrap());
    assert_eq!(lab.leftovers(), Vec::<String>::new());
    lab.backend.start(&GuestSpec { first_boot: false, ..spec.clone() }).await.unwrap();
    lab.up(uuid).await;
    assert_eq!(lab.backend.read_file(uuid, "/etc/ssh/ssh_host_ed25519_key.pub", 4096).await.unwrap(), key);
    assert_eq!(lab.backend.read_file(uuid, "/var/lib/kept", 99).await.unwrap(), b"state");

    lab.backend.destroy(uuid).await.unwrap();
    lab.backend.destroy(uuid).await.unwrap();
    assert_eq!(lab.leftovers(), Vec::<String>::new());
    assert!(!lab.folder.path().join("guests").join(uuid.to_string()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reboots_and_survives_its_simulator() {
    let Some(lab) = Lab::new("boot") else { return };
    let spec = lab.spec();
    let uuid = spec.uuid;
    lab.backend.start(&spec).await.unwrap();
    lab.up(uuid).await;

    let boot = lab.shell(uuid, "cat /proc/1/stat | cut -d' ' -f22").await;
    lab.shell(uuid, "systemctl reboot").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(Instant::now() < deadline, "{:?}", lab.backend.inner.boot_error(uuid));
        if lab.backend.agent_ping(uuid).await.is_ok()
            && lab.shell(uuid, "cat /proc/1/stat | cut -d' ' -f22").await != boot
        {
            break;
        }
    }

    // Another backend over the same folder finds the guest running, and cuts its power.
    let second = NspawnBackend::new(Lab::settings(&lab.name, lab.folder.path())).unwrap();
    assert!(second.is_running(uuid).await);
    second.agent_ping(uuid).await.unwrap();
    second.stop(uuid).await.unwrap();
    assert!(!lab.backend.is_running(uuid).await);
    assert_eq!(lab.leftovers(), Vec::<String>::new());
    second.destroy(uuid).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_disk_runs_and_answers_nothing() {
    let Some(lab) = Lab::new("bare") else { return };
    let spec = GuestSpec { image_path: None, ..lab.spec() };
    lab.backend.start(&spec).await.unwrap();
    assert!(lab.backend.is_running(spec.uuid).await);
    assert!(matches!(lab.backend.agent_ping(spec.uuid).await, Err(BackendError::NoAgent)));
    lab.backend.destroy(spec.uuid).await.unwrap();
    assert_eq!(lab.leftovers(), Vec::<String>::new());
}
