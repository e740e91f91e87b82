//! One step at a time for one resource, also when several runs go on at once: an image
//! that ten deployments need is uploaded by one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use fedi_model::resource::ResourceId;
use tokio::sync::OwnedMutexGuard;

type Turn = tokio::sync::Mutex<()>;

/// Whose turn it is, by resource.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<ResourceId, Weak<Turn>>>);

impl Turns {
    /// Waits for the turn of that resource; it ends with the guard.
    pub(crate) async fn take(&self, resource: ResourceId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let turn = turns.get(&resource).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(resource, Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}
