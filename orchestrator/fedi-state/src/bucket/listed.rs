//! The objects of a bucket in the order of their keys, read page by page, without
//! those that the application can make again.

use std::collections::VecDeque;

use super::end::{End, Listed};
use crate::error::StateError;

pub(super) struct Objects<'a> {
    end: &'a End,
    rebuildable: &'a [String],
    page: VecDeque<Listed>,
    token: Option<String>,
    ended: bool,
    last: Option<String>,
}

impl<'a> Objects<'a> {
    pub(super) fn of(end: &'a End, rebuildable: &'a [String]) -> Self {
        Self { end, rebuildable, page: VecDeque::new(), token: None, ended: false, last: None }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Listed>, StateError> {
        loop {
            if let Some(object) = self.page.pop_front() {
                // Everything here is read side by side, which needs the order that S3 promises.
                if self.last.as_ref().is_some_and(|last| *last >= object.key) {
                    return Err(StateError::damaged(format!("The listing of `{}` is out of order", self.end.name())));
                }
                self.last = Some(object.key.clone());
                if self.rebuildable.iter().any(|prefix| object.key.starts_with(prefix)) {
                    continue;
                }
                return Ok(Some(object));
            }
            if self.ended {
                return Ok(None);
            }
            let (page, token) = self.end.page(self.token.take()).await?;
            self.page = page.into();
            self.ended = token.is_none();
            self.token = token;
        }
    }

    /// At most so many objects; none at the end.
    pub(super) async fn batch(&mut self, most: usize) -> Result<Vec<Listed>, StateError> {
        let mut batch = Vec::new();
        while batch.len() < most
            && let Some(object) = self.next().await?
        {
            batch.push(object);
        }
        Ok(batch)
    }
}
