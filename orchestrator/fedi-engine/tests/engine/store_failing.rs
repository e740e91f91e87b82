//! A journal that fails in the middle of a run: nothing goes on without it.

use std::time::Duration;

use fedi_engine::store::{Holder, LEASE_EXPIRES, StoreError};
use fedi_engine::{Clock, EngineOptions, SystemClock, Unobserved};

use crate::*;

#[tokio::test]
async fn who_loses_the_lease_stops() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, RECORDS, 1, Moment::Hang, Failed);
    let options = EngineOptions { heartbeat: Duration::from_millis(5), ..EngineOptions::default() };
    let store = bench.context.store.clone();
    let engine =
        Engine::new(store.clone(), bench.world.clone(), Arc::new(bench.context.clock.clone()), Arc::new(Unobserved))
            .with_options(options);
    let plan = bench.short();
    let result = meanwhile(&bench.world, (Verb::Ensure, RECORDS), engine.start(&plan), async {
        let other = Holder { instance: uuid::Uuid::new_v4(), ..Holder::current() };
        let held = store.lease().await.unwrap().unwrap();
        store.acquire(&other, bench.context.clock.now(), Some(held.fence)).await.unwrap();
    })
    .await;
    // The step that waited was told to stop, and what became of it could not be written.
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Cut { source: StoreError::Stale { .. }, .. }), "{error}");
    assert_eq!(error.exit_code(), 5);
    let run = store.open_runs().await.unwrap()[0].id;
    assert_eq!(bench.journal(run).await.last().unwrap(), &format!("started {RECORDS}"));
}

#[tokio::test]
async fn the_lease_is_kept_alive() {
    let bench = Bench::new();
    bench.world.fail(Verb::Ensure, RECORDS, 1, Moment::Hang, Failed);
    let options = EngineOptions { heartbeat: Duration::from_millis(5), ..EngineOptions::default() };
    let store = bench.context.store.clone();
    let engine =
        Engine::new(store.clone(), bench.world.clone(), Arc::new(bench.context.clock.clone()), Arc::new(Unobserved))
            .with_options(options);
    let plan = bench.short();
    let result = meanwhile(&bench.world, (Verb::Ensure, RECORDS), engine.start(&plan), async {
        // Time passes, and still there is a sign of life.
        for _ in 0..3 {
            bench.context.clock.advance(LEASE_EXPIRES / 2);
            let now = bench.context.clock.now();
            while store.lease().await.unwrap().unwrap().heartbeat < now {
                tokio::task::yield_now().await;
            }
        }
        engine.interrupt().request();
    })
    .await;
    assert_eq!(result.unwrap().exit_code(), 4);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_stops_the_run_where_it_can_be_resumed() {
    let bench = Bench::new();
    let path = bench.context.folder.path().join("state.db");
    let world = Arc::new(FaultyWorld::new(bench.map.clone()));
    world.fail(Verb::Ensure, RECORDS, 1, Moment::Hang, Failed);
    let engine = Engine::new(bench.context.store.clone(), world.clone(), Arc::new(SystemClock), Arc::new(Unobserved));
    let plan = bench.short();
    let blocker = rusqlite::Connection::open(&path).unwrap();
    let result = meanwhile(&world, (Verb::Ensure, RECORDS), engine.start(&plan), async {
        // The file cannot be written from here on.
        blocker
            .execute_batch("CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(FAIL, 'disk full'); END")
            .unwrap();
        engine.interrupt().request();
    })
    .await;
    let error = result.unwrap_err();
    assert!(matches!(error, EngineError::Cut { source: StoreError::Unavailable { .. }, .. }), "{error}");
    assert_eq!(error.exit_code(), 4);
    let run = bench.context.store.open_runs().await.unwrap()[0].id;
    assert_eq!(error.hint().unwrap(), format!("Go on with `fedi run resume {run}`"));
    blocker.execute_batch("DROP TRIGGER full").unwrap();
    let outcome = bench.engine.resume(run).await.unwrap();
    assert_eq!(outcome, Outcome::Completed { run });
}
