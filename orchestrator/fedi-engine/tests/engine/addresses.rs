//! The embedded address book, as a driver.

use fedi_engine::AddressTable;
use fedi_engine::drivers::{AddressBook, AddressRequest};
use fedi_model::inventory::AddressPool;
use fedi_model::resource::Family;

use crate::*;

fn pool() -> AddressPool {
    AddressPool {
        network: "192.0.2.0/24".parse().unwrap(),
        gateway: "192.0.2.1".parse().unwrap(),
        first: "192.0.2.10".parse().unwrap(),
        last: "192.0.2.11".parse().unwrap(),
        quarantine_hours: 24,
    }
}

#[tokio::test]
async fn from_reserving_to_exhaustion() {
    let context = TestContext::new();
    let book = AddressTable::new(context.store.clone(), Arc::new(context.clock.clone()));
    let (pools, host) = ([pool()], Sample::new("one").host);
    let names = ["one", "two", "three"].map(|name| Sample::new(name).deployment);
    let request = |deployment, family| AddressRequest { deployment, host: &host, family, pools: &pools };

    let one = book.reserve(request(&names[0], Family::Ipv4)).await.unwrap();
    assert_eq!(book.reserve(request(&names[0], Family::Ipv4)).await.unwrap(), one);
    assert_eq!(book.find(&names[0], &host, Family::Ipv4).await.unwrap(), Some(one.clone()));
    let two = book.reserve(request(&names[1], Family::Ipv4)).await.unwrap();
    assert_eq!(book.list().await.unwrap(), [one.clone(), two.clone()]);
    book.release(&one).await.unwrap();
    assert_eq!(book.list().await.unwrap(), std::slice::from_ref(&two));

    let error = book.reserve(request(&names[2], Family::Ipv4)).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Exhausted);
    assert_eq!(error.message, "Failed to reserve an ipv4 address for `three` on host `proxmox1`");
    assert_eq!(error.causes, ["The pool has 2 addresses: 1 are held and 1 rest from their last deployment"]);
    let hint = error.hint.unwrap();
    assert!(hint.starts_with("Widen a pool or add one under `[[addresses]]` in `hosts/proxmox1/host.toml`"), "{hint}");
    assert!(hint.ends_with("the next address is free again at 2026-01-02T00:00:00Z"), "{hint}");

    let error = book.reserve(request(&names[2], Family::Ipv6)).await.unwrap_err();
    assert_eq!(error.causes, ["The host has no usable ipv6 pool"]);

    let mut stolen = two.clone();
    stolen.deployment = names[2].clone();
    let error = book.ensure(&stolen).await.unwrap_err();
    assert_eq!((error.kind, error.causes[0].as_str()), (Foreign, "It is held by `two` on host `proxmox1`"));
    stolen.address = one.address;
    let error = book.ensure(&stolen).await.unwrap_err();
    assert!(error.causes[0].starts_with("It was held by `one` on host `proxmox1` and rests until"), "{error:?}");
    assert_eq!(book.ensure(&one).await.unwrap(), one);
}
