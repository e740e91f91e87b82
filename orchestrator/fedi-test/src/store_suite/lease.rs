//! One writer at a time.

use fedi_engine::store::{LEASE_EXPIRES, StoreError};
use futures::future::join_all;
use jiff::SignedDuration;

use super::{StoreBed, holder, start};

fn expiry() -> SignedDuration {
    SignedDuration::try_from(LEASE_EXPIRES).unwrap()
}

/// A second holder is refused and told who the first is, since when.
pub async fn has_one_holder(bed: impl StoreBed) {
    let (one, two) = (bed.open().await, bed.open().await);
    assert_eq!(one.lease().await.unwrap(), None);
    let alice = holder("alice");
    let fence = one.acquire(&alice, start(), None).await.unwrap();
    let now = start() + SignedDuration::from_secs(5);
    one.heartbeat(fence, now).await.unwrap();
    let refused = two.acquire(&holder("bob"), now, None).await;
    let Err(error @ StoreError::Held(_)) = refused else { panic!("{refused:?}") };
    let text = error.to_string();
    assert!(text.contains("alice@testing (pid 4711)") && text.contains("2026-01-01T00:00:00Z"), "{text}");
    let lease = two.lease().await.unwrap().unwrap();
    assert_eq!((lease.fence, lease.holder, lease.acquired, lease.heartbeat), (fence, alice, start(), now));
    one.release(fence).await.unwrap();
    assert_eq!(two.lease().await.unwrap(), None);
    two.acquire(&holder("bob"), now, None).await.unwrap();
}

/// Every holder has a greater fence than those before, and an old one is good for
/// nothing: not for a sign of life, and not for giving back what another holds.
pub async fn fences_grow(bed: impl StoreBed) {
    let store = bed.open().await;
    let one = store.acquire(&holder("alice"), start(), None).await.unwrap();
    store.release(one).await.unwrap();
    assert!(matches!(store.heartbeat(one, start()).await, Err(StoreError::Stale { .. })));
    let store = bed.open().await;
    let two = store.acquire(&holder("bob"), start(), None).await.unwrap();
    assert!(two > one);
    assert!(matches!(store.heartbeat(one, start()).await, Err(StoreError::Stale { .. })));
    store.release(one).await.unwrap();
    assert_eq!(store.lease().await.unwrap().unwrap().fence, two);
}

/// One without a sign of life is followed, and so is one that the caller knows to be
/// dead; but only that one.
pub async fn a_dead_holder_is_followed(bed: impl StoreBed) {
    let store = bed.open().await;
    let one = store.acquire(&holder("alice"), start(), None).await.unwrap();
    let at_the_end = start() + expiry();
    assert!(store.acquire(&holder("bob"), at_the_end, None).await.is_err());
    let two = store.acquire(&holder("bob"), at_the_end + SignedDuration::from_secs(1), None).await.unwrap();
    assert!(two > one);
    assert!(matches!(store.heartbeat(one, at_the_end).await, Err(StoreError::Stale { .. })));

    let now = at_the_end + SignedDuration::from_secs(2);
    assert!(store.acquire(&holder("carol"), now, Some(one)).await.is_err());
    let three = store.acquire(&holder("carol"), now, Some(two)).await.unwrap();
    assert!(three > two);
    // A clock that was set back makes nobody dead.
    assert!(store.acquire(&holder("dave"), start(), None).await.is_err());
}

/// The same holder may take it again, with a new fence.
pub async fn the_holder_may_take_it_again(bed: impl StoreBed) {
    let store = bed.open().await;
    let alice = holder("alice");
    let one = store.acquire(&alice, start(), None).await.unwrap();
    let two = store.acquire(&alice, start(), None).await.unwrap();
    assert!(two > one);
}

/// Of many that try at the same moment one gets it.
pub async fn of_many_at_once_one_wins(bed: impl StoreBed) {
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(bed.open().await);
    }
    let tries = stores
        .into_iter()
        .map(|store| tokio::spawn(async move { store.acquire(&holder("someone"), start(), None).await.is_ok() }));
    let won = join_all(tries).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
    assert_eq!(won, 1);
}
