//! Straight from one bucket to another, in rounds: both listings are read side by
//! side, and what differs is moved.

use std::path::Path;

use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::end::{End, Listed, Source};
use super::listed::Objects;
use super::{AT_ONCE, BATCH, is_md5};
use crate::error::StateError;
use crate::kind::Delta;
use crate::listing::{Reader, Writer};
use crate::work::Work;

/// What an object became that was written in parts: its ETag is another there.
#[derive(Serialize, Deserialize)]
struct Became {
    key: String,
    from: String,
    modified: String,
    to: String,
}

/// What to do about a key.
enum Need {
    Copy(Listed),
    Remove(String),
}

pub(super) async fn mirror(
    work: &Work,
    source: &End,
    target: &End,
    rebuildable: &[String],
    memory: &Path,
    last: bool,
) -> Result<Delta, StateError> {
    let mut known = std::collections::BTreeMap::new();
    if let Ok(mut reader) = Reader::open(memory) {
        while let Ok(Some(line)) = reader.next::<Became>() {
            known.insert(line.key.clone(), line);
        }
    }
    let mut delta = Delta::default();
    let mut meter = work.meter(format!("copy the bucket {}", source.name()), None);
    let (mut here, mut there) = (Objects::of(source, rebuildable), Objects::of(target, rebuildable));
    let (mut from, mut to) = (here.next().await?, there.next().await?);
    let mut needs = Vec::new();
    loop {
        let order = match (&from, &to) {
            (None, None) => None,
            (Some(_), None) => Some(std::cmp::Ordering::Less),
            (None, Some(_)) => Some(std::cmp::Ordering::Greater),
            (Some(from), Some(to)) => Some(from.key.cmp(&to.key)),
        };
        match order {
            Some(std::cmp::Ordering::Less) => {
                needs.extend(from.take().map(Need::Copy));
                from = here.next().await?;
            }
            Some(std::cmp::Ordering::Greater) => {
                if last {
                    needs.extend(to.take().map(|object| Need::Remove(object.key)));
                }
                to = there.next().await?;
            }
            Some(std::cmp::Ordering::Equal) => {
                if let (Some(from), Some(to)) = (from.take(), to.take())
                    && !same(&from, &to, known.get(&from.key))
                {
                    needs.push(Need::Copy(from));
                }
                from = here.next().await?;
                to = there.next().await?;
            }
            None => {}
        }
        if needs.len() >= BATCH || (order.is_none() && !needs.is_empty()) {
            let moving = std::mem::take(&mut needs);
            let mut moved = futures::stream::iter(moving.iter().map(|need| carry_out(source, target, need)))
                .buffer_unordered(AT_ONCE);
            while let Some(result) = moved.next().await {
                let (bytes, became) = result?;
                delta.bytes += bytes;
                delta.count += 1;
                meter.add(bytes, 1)?;
                if let Some(became) = became {
                    known.insert(became.key.clone(), became);
                }
            }
        }
        if order.is_none() {
            break;
        }
    }
    remember(target, memory, &mut known, rebuildable).await?;
    meter.finish();
    Ok(delta)
}

fn same(from: &Listed, to: &Listed, known: Option<&Became>) -> bool {
    let became =
        known.is_some_and(|known| known.from == from.etag && known.modified == from.modified && known.to == to.etag);
    from.size == to.size && (from.etag == to.etag || became)
}

async fn carry_out(source: &End, target: &End, need: &Need) -> Result<(u64, Option<Became>), StateError> {
    let object = match need {
        Need::Remove(key) => return target.delete(key).await.map(|()| (0, None)),
        Need::Copy(object) => object,
    };
    let headers = source.headers(&object.key).await?;
    target.put(&object.key, object.size, &headers, &Source::Object(source, &object.key)).await?;
    let Listed { key, etag, modified, size } = object.clone();
    // What it is there shows in the next listing.
    let became = (!is_md5(&etag) || target.writes_in_parts(size)).then(|| Became {
        key,
        from: etag,
        modified,
        to: String::new(),
    });
    Ok((object.size, became))
}

/// Notes the ETags that objects written in parts have there.
async fn remember(
    target: &End,
    memory: &Path,
    known: &mut std::collections::BTreeMap<String, Became>,
    rebuildable: &[String],
) -> Result<(), StateError> {
    if known.values().any(|known| known.to.is_empty()) {
        let mut there = Objects::of(target, rebuildable);
        while let Some(object) = there.next().await? {
            if let Some(known) = known.get_mut(&object.key) {
                known.to = object.etag;
            }
        }
    }
    let mut writer = Writer::create(memory)?;
    for known in known.values() {
        writer.line(known)?;
    }
    writer.finish().map(drop)
}
