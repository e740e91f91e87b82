//! Who has which address.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedi_engine::store::{Exhausted, Hold, Store};
use fedi_model::inventory::AddressPool;
use fedi_model::resource::{Address, Family};
use fedi_model::{DeploymentName, HostName};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::{StoreBed, start};

fn v4(network: &str, first: u8, last: u8) -> AddressPool {
    let at = |last: u8| format!("{network}.{last}").parse().unwrap();
    AddressPool {
        network: format!("{network}.0/24").parse().unwrap(),
        gateway: at(1),
        first: at(first),
        last: at(last),
        quarantine_hours: 24,
    }
}

fn v6() -> AddressPool {
    AddressPool {
        network: "2001:db8::/64".parse().unwrap(),
        gateway: "2001:db8::1".parse().unwrap(),
        first: "2001:db8::".parse().unwrap(),
        last: "2001:db8::ffff:ffff:ffff:ffff".parse().unwrap(),
        quarantine_hours: 24,
    }
}

/// Asks for `family` in the name of `deployment` on `proxmox1`.
async fn ask(
    store: &dyn Store,
    deployment: &str,
    family: Family,
    pools: &[AddressPool],
    now: Timestamp,
) -> Result<Address, Exhausted> {
    let (deployment, host) = (DeploymentName::new(deployment).unwrap(), HostName::new("proxmox1").unwrap());
    store.hold_address(Hold { deployment: &deployment, host: &host, family, pools }, now).await.unwrap()
}

async fn hold(store: &dyn Store, deployment: &str, pools: &[AddressPool], now: Timestamp) -> Address {
    ask(store, deployment, Family::Ipv4, pools, now).await.unwrap()
}

fn text(address: &Address) -> String {
    address.address.to_string()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// Peeking tells what would be given, and holds nothing.
pub async fn peeking_holds_nothing(bed: impl StoreBed) {
    let store = bed.open().await;
    let pools = [v4("192.0.2", 10, 11)];
    let (deployment, host) = (DeploymentName::new("one").unwrap(), HostName::new("proxmox1").unwrap());
    let wish = Hold { deployment: &deployment, host: &host, family: Family::Ipv4, pools: &pools };
    let told = store.peek_address(wish, start()).await.unwrap().unwrap();
    assert_eq!(store.addresses().await.unwrap(), []);
    let held = hold(store.as_ref(), "one", &pools, start()).await;
    assert_eq!(held, told);
    assert_eq!(store.peek_address(wish, start()).await.unwrap().unwrap(), held);
    // What it held last is what it is told again, though a lower one is free.
    let lowest = hold(store.as_ref(), "two", &pools, start()).await;
    store.release_address(&held, start()).await.unwrap();
    store.release_address(&lowest, start()).await.unwrap();
    let before = store.addresses().await.unwrap();
    assert_eq!(store.peek_address(wish, start() + hours(48)).await.unwrap().unwrap(), held);
    assert_eq!(store.addresses().await.unwrap(), before);
    let three = DeploymentName::new("three").unwrap();
    let wish = Hold { deployment: &three, ..wish };
    assert_eq!(store.peek_address(wish, start()).await.unwrap().unwrap_err().resting, 2);
}

/// Deployment, host and family are the key.
pub async fn the_same_request_gets_the_same(bed: impl StoreBed) {
    let pools = [v4("192.0.2", 10, 20)];
    let one = hold(bed.open().await.as_ref(), "one", &pools, start()).await;
    let store = bed.open().await;
    assert_eq!(hold(store.as_ref(), "one", &pools, start() + hours(99)).await, one);
    let (deployment, host) = (one.deployment.clone(), one.host.clone());
    assert_eq!(store.held_address(&deployment, &host, Family::Ipv4).await.unwrap(), Some(one.clone()));
    assert_eq!(store.held_address(&deployment, &host, Family::Ipv6).await.unwrap(), None);
    // Settings of the pool are followed.
    let mut other = v4("192.0.2", 10, 20);
    other.gateway = "192.0.2.254".parse().unwrap();
    other.quarantine_hours = 1;
    let again = hold(store.as_ref(), "one", std::slice::from_ref(&other), start()).await;
    assert_eq!((again.address, again.gateway, again.quarantine_hours), (one.address, other.gateway, 1));
    assert_eq!(store.addresses().await.unwrap().len(), 1);
    // The same name on another host is another.
    let elsewhere = HostName::new("new-provider").unwrap();
    let hold = Hold { deployment: &deployment, host: &elsewhere, family: Family::Ipv4, pools: &pools };
    assert_ne!(store.hold_address(hold, start()).await.unwrap().unwrap().address, one.address);
}

/// The lowest free address of the first pool that has one, never the router's.
pub async fn gives_the_lowest(bed: impl StoreBed) {
    let store = bed.open().await;
    let pools = [v4("192.0.2", 0, 2), v4("198.51.100", 10, 11)];
    let mut given = Vec::new();
    for name in ["a", "b", "c"] {
        given.push(text(&hold(store.as_ref(), name, &pools, start()).await));
    }
    assert_eq!(given, ["192.0.2.2/24", "198.51.100.10/24", "198.51.100.11/24"]);
}

/// A released address goes to nobody else until its rest is over.
pub async fn rests_before_re_use(bed: impl StoreBed) {
    let store = bed.open().await;
    let pools = [v4("192.0.2", 10, 11)];
    let one = hold(store.as_ref(), "one", &pools, start()).await;
    store.release_address(&one, start()).await.unwrap();
    let held = store.held_address(&one.deployment, &one.host, Family::Ipv4).await.unwrap();
    assert_eq!(held, None);
    let resting = store.addresses().await.unwrap();
    assert_eq!(resting[0].rests_until, Some(start() + hours(24)));
    assert_eq!(text(&hold(store.as_ref(), "two", &pools, start()).await), "192.0.2.11/24");
    assert!(ask(store.as_ref(), "three", Family::Ipv4, &pools, start() + hours(23)).await.is_err());
    assert_eq!(text(&hold(store.as_ref(), "three", &pools, start() + hours(24)).await), "192.0.2.10/24");
}

/// Its last holder may have it again, also while it rests, but not once it is somebody
/// else's.
pub async fn its_last_holder_comes_back(bed: impl StoreBed) {
    let store = bed.open().await;
    let pools = [v4("192.0.2", 10, 12)];
    let one = hold(store.as_ref(), "one", &pools, start()).await;
    let two = hold(store.as_ref(), "two", &pools, start()).await;
    store.release_address(&one, start()).await.unwrap();
    store.release_address(&two, start()).await.unwrap();
    assert_eq!(hold(store.as_ref(), "two", &pools, start()).await, two);
    assert_eq!(text(&hold(store.as_ref(), "three", &pools, start() + hours(25)).await), "192.0.2.10/24");
    assert_eq!(text(&hold(store.as_ref(), "one", &pools, start() + hours(25)).await), "192.0.2.12/24");
}

/// When nothing is left it says how many are held and how many rest until when.
pub async fn says_how_many_are_left(bed: impl StoreBed) {
    let store = bed.open().await;
    let pools = [v4("192.0.2", 0, 3), v6()];
    let one = hold(store.as_ref(), "one", &pools, start()).await;
    hold(store.as_ref(), "two", &pools, start()).await;
    store.release_address(&one, start()).await.unwrap();
    let refused = ask(store.as_ref(), "three", Family::Ipv4, &pools, start()).await;
    let told = Exhausted { pools: 1, size: 2, held: 1, resting: 1, next: Some(start() + hours(24)) };
    assert_eq!(refused, Err(told));
    let refused = ask(store.as_ref(), "three", Family::Ipv6, &pools[..1], start()).await;
    assert_eq!(refused, Err(Exhausted { pools: 0, size: 0, held: 0, resting: 0, next: None }));
}

/// An address of a pool that is gone is replaced, and rests.
pub async fn a_pool_that_is_gone(bed: impl StoreBed) {
    let store = bed.open().await;
    let old = hold(store.as_ref(), "one", &[v4("192.0.2", 10, 20)], start()).await;
    let pools = [v4("198.51.100", 10, 10)];
    let new = hold(store.as_ref(), "one", &pools, start()).await;
    assert_eq!(text(&new), "198.51.100.10/24");
    let all = store.addresses().await.unwrap();
    assert!(all.iter().any(|it| it.address == old && it.rests_until.is_some()), "{all:?}");
    // Where the new pools have nothing, the old one stays held.
    let other = hold(store.as_ref(), "two", &[v4("192.0.2", 10, 20)], start()).await;
    assert!(ask(store.as_ref(), "two", Family::Ipv4, &pools, start()).await.is_err());
    assert_eq!(store.held_address(&other.deployment, &other.host, Family::Ipv4).await.unwrap(), Some(other));
}

/// Exactly this address and no other.
pub async fn holds_exactly(bed: impl StoreBed) {
    let store = bed.open().await;
    let pools = [v4("192.0.2", 10, 20)];
    let one = hold(store.as_ref(), "one", &pools, start()).await;
    let exactly = |address: Address, now| {
        let store = store.clone();
        async move { store.hold_exactly(&address, now).await.unwrap() }
    };
    assert_eq!(exactly(one.clone(), start()).await.unwrap(), one);
    let mut two = one.clone();
    two.deployment = DeploymentName::new("two").unwrap();
    let holder = exactly(two.clone(), start()).await.unwrap_err();
    assert_eq!((holder.address, holder.rests_until), (one.clone(), None));
    store.release_address(&one, start()).await.unwrap();
    let rests = exactly(two.clone(), start()).await.unwrap_err();
    assert_eq!(rests.rests_until, Some(start() + hours(24)));
    // Its last holder may have it back; afterwards anybody.
    assert_eq!(exactly(one.clone(), start()).await.unwrap(), one);
    store.release_address(&one, start()).await.unwrap();
    assert_eq!(exactly(two.clone(), start() + hours(24)).await.unwrap(), two);
    // Who holds another lets that go.
    let mut other = two.clone();
    other.address = "192.0.2.15/24".parse().unwrap();
    assert_eq!(exactly(other.clone(), start() + hours(24)).await.unwrap(), other);
    let held = store.held_address(&two.deployment, &two.host, Family::Ipv4).await.unwrap();
    assert_eq!(held, Some(other));
}

/// What is not held is not released, and what somebody else holds stays theirs.
pub async fn release_is_idempotent(bed: impl StoreBed) {
    let store = bed.open().await;
    let pools = [v4("192.0.2", 10, 20)];
    let one = hold(store.as_ref(), "one", &pools, start()).await;
    let mut stranger = one.clone();
    stranger.deployment = DeploymentName::new("stranger").unwrap();
    store.release_address(&stranger, start()).await.unwrap();
    let mut other = one.clone();
    other.address = "192.0.2.19/24".parse().unwrap();
    store.release_address(&other, start()).await.unwrap();
    assert_eq!(store.held_address(&one.deployment, &one.host, Family::Ipv4).await.unwrap(), Some(one.clone()));
    store.release_address(&one, start()).await.unwrap();
    let resting = store.addresses().await.unwrap();
    // A second time does not make the rest longer.
    store.release_address(&one, start() + hours(5)).await.unwrap();
    assert_eq!(store.addresses().await.unwrap(), resting);
}

/// One of each family.
pub async fn both_families(bed: impl StoreBed) {
    let store = bed.open().await;
    let pools = [v6(), v4("192.0.2", 10, 20)];
    let four = ask(store.as_ref(), "one", Family::Ipv4, &pools, start()).await.unwrap();
    let six = ask(store.as_ref(), "one", Family::Ipv6, &pools, start()).await.unwrap();
    assert_eq!((text(&four).as_str(), text(&six).as_str()), ("192.0.2.10/24", "2001:db8::2/64"));
    assert_eq!((four.family, six.family), (Family::Ipv4, Family::Ipv6));
    assert_eq!(store.addresses().await.unwrap().len(), 2);
}

/// A pool of 2^64 addresses is no slower than a small one: were it walked through, this
/// would never end.
pub async fn huge_pools_are_quick(bed: impl StoreBed) {
    let store = bed.open().await;
    let mut pool = v6();
    let mut given = BTreeSet::new();
    for number in 0..20 {
        let one = ask(store.as_ref(), &format!("a{number}"), Family::Ipv6, std::slice::from_ref(&pool), start()).await;
        given.insert(text(&one.unwrap()));
    }
    assert_eq!(given.len(), 20);
    pool.first = "2001:db8::ffff:ffff:ffff:fffe".parse().unwrap();
    let pools = [pool];
    let last = ask(store.as_ref(), "b", Family::Ipv6, &pools, start()).await.unwrap();
    assert_eq!(text(&last), "2001:db8::ffff:ffff:ffff:fffe/64");
    ask(store.as_ref(), "c", Family::Ipv6, &pools, start()).await.unwrap();
    assert!(ask(store.as_ref(), "d", Family::Ipv6, &pools, start()).await.is_err());
}

/// Many that ask at the same moment, each through a way of its own, get one each.
pub async fn of_many_at_once_each_gets_its_own(bed: impl StoreBed) {
    let pools = Arc::new([v4("192.0.2", 10, 41)]);
    let mut asking = Vec::new();
    for number in 0..40 {
        let (store, pools) = (bed.open().await, pools.clone());
        asking.push(tokio::spawn(async move {
            ask(store.as_ref(), &format!("d{number}"), Family::Ipv4, &pools[..], start()).await
        }));
    }
    let answers: Vec<_> = join_all(asking).await.into_iter().map(Result::unwrap).collect();
    let given: BTreeSet<String> = answers.iter().flatten().map(text).collect();
    assert_eq!(given.len(), 32);
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 8);
}
