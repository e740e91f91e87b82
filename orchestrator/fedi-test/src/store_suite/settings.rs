//! Values by name.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::StoreBed;

/// Set, read, listed by prefix, forgotten.
pub async fn keeps_values(bed: impl StoreBed) {
    let store = bed.open().await;
    assert_eq!(store.setting("uuid/one").await.unwrap(), None);
    store.set_setting("uuid/one", Some("1")).await.unwrap();
    store.set_setting("uuid/one", Some("2")).await.unwrap();
    store.set_setting("uuid/%", Some("3")).await.unwrap();
    store.set_setting("other", Some("4")).await.unwrap();
    let store = bed.open().await;
    assert_eq!(store.setting("uuid/one").await.unwrap().as_deref(), Some("2"));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(store.settings("uuid/").await.unwrap(), [pair("uuid/%", "3"), pair("uuid/one", "2")]);
    assert_eq!(store.settings("uuid/%").await.unwrap(), [pair("uuid/%", "3")]);
    store.set_setting("uuid/one", None).await.unwrap();
    store.set_setting("uuid/one", None).await.unwrap();
    assert_eq!(store.setting("uuid/one").await.unwrap(), None);
}

/// The first choice stands, and everybody is told the same.
pub async fn of_many_that_choose_one_wins(bed: impl StoreBed) {
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(bed.open().await);
    }
    let choices = stores.into_iter().enumerate().map(|(number, store)| {
        tokio::spawn(async move { store.choose_setting("uuid/one", &number.to_string()).await.unwrap() })
    });
    let told: BTreeSet<String> = join_all(choices).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let store = bed.open().await;
    assert_eq!(store.choose_setting("uuid/one", "late").await.unwrap(), *told.first().unwrap());
}
