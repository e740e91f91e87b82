//! How long a run waits for an application that is not well depends on what is wrong.

use std::time::Duration;

use fedi_drivers::site::Patience;
use fedi_testsite::{GuestFault, Setup, TestSite, Wires};

#[tokio::test]
async fn what_waiting_does_not_mend_is_not_waited_for() {
    // More than any test may take, were it waited for.
    let long = Duration::from_secs(24 * 60 * 60);
    let patience = Patience { healthy: long, lasting: Duration::ZERO, ..Wires::default().patience };
    let wires = || Wires { patience, ..Wires::default() };
    let mut site = TestSite::with(Setup::default(), wires()).await;
    assert_eq!(site.deploy("matrix").await.unwrap().exit_code(), 0);
    let more = "[resources]\nmemory-mib = 4096\n";
    site.wiring.layout.write_deployment("proxmox1", "matrix", "matrix.example.test", more);
    site.reopen_with(wires());
    site.wiring.guests.set_fault("matrix", Some(GuestFault::UnitFailed));
    let outcome = site.deploy("matrix").await.unwrap();
    let said = format!("{outcome:?}");
    assert_eq!(outcome.exit_code(), 6, "{said}");
    assert!(said.contains("waiting does not mend it") && said.contains("matrix.service"), "{said}");
}
