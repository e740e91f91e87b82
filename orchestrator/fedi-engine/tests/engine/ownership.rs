//! What fedi owns afterwards, above all what it does not.

use crate::*;

#[tokio::test]
async fn what_somebody_else_made_never_becomes_ours() {
    let bench = Bench::new();
    // Somebody has the records already, and the driver refuses to touch them.
    bench.map.put(bench.sample.records());
    bench.fail(Verb::Ensure, RECORDS, Foreign);
    let before = bench.map.snapshot();
    let outcome = bench.start(&bench.short()).await;
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!(bench.map.snapshot(), before);
    assert_eq!(bench.owned().await, [""; 0]);
    // It was looked at, and left alone.
    assert_eq!(bench.world.count(Verb::Remove, RECORDS), 0);
    assert_eq!(bench.world.count(Verb::Ensure, RECORDS), 1);
}

#[tokio::test]
async fn an_undone_change_leaves_what_was_owned_before() {
    let bench = Bench::new();
    let mut sample = bench.sample.clone();
    let vm = |sample: &Sample, observed| vec![stage("machine", vec![ensure(sample.vm(), observed)])];
    assert_eq!(bench.start(&bench.plan(vm(&sample, None))).await.exit_code(), 0);
    let owned = bench.context.store.ledger(None).await.unwrap();
    sample.memory_mib = 8192;
    let mut stages = vm(&sample, Some(bench.sample.vm()));
    stages.push(stage("names", vec![ensure(sample.records(), None)]));
    bench.fail(Verb::Ensure, RECORDS, Denied);
    assert_eq!(bench.start(&bench.plan(stages)).await.exit_code(), 1);
    assert_eq!(bench.context.store.ledger(None).await.unwrap(), owned);
}

#[tokio::test]
async fn what_held_data_and_is_gone_is_not_made_anew() {
    let bench = Bench::new();
    let secret = bench.sample.secret("signing-key");
    let plan = bench.plan(vec![stage("secrets", vec![ensure(secret.clone(), Some(secret))])]);
    let outcome = bench.start(&plan).await;
    let causes = &outcome.failure().unwrap().causes;
    assert_eq!(*causes, ["`secret/matrix/signing-key` is gone, and what it held cannot be made again"]);
    assert_eq!(outcome.exit_code(), 1);
    assert!(bench.map.snapshot().is_empty());
}

#[tokio::test]
async fn what_held_data_and_is_gone_is_not_restored() {
    let bench = Bench::new();
    let (small, mut sample) = (bench.sample.vm(), bench.sample.clone());
    sample.memory_mib = 8192;
    bench.map.put(small.clone());
    bench.world.fail(Verb::Ensure, RECORDS, 1, Moment::Hang, Failed);
    let plan = bench.plan(vec![
        stage("machine", vec![ensure(sample.vm(), Some(small.clone()))]),
        stage("names", vec![ensure(sample.records(), None)]),
    ]);
    let stop = async {
        // Somebody destroys the machine behind fedi's back.
        bench.map.take(&small.id());
        bench.engine.interrupt().request();
    };
    let outcome = meanwhile(&bench.world, (Verb::Ensure, RECORDS), bench.start(&plan), stop).await;
    let run = outcome.run().unwrap();
    let outcome = bench.context.engine(bench.world.clone()).undo(run).await.unwrap();
    assert!(matches!(outcome, Outcome::Paused { direction: Direction::Backward, .. }), "{outcome:?}");
    assert!(outcome.failure().unwrap().causes[0].contains("`vm/matrix` is gone"));
    assert_eq!(bench.map.get(&small.id()), None);
    assert_eq!(bench.context.engine(bench.world.clone()).abandon(run).await.unwrap().exit_code(), 0);
    assert_eq!(bench.owned().await, [""; 0]);
}

#[tokio::test]
async fn images_are_kept_and_owned() {
    let bench = Bench::new();
    let image = bench.sample.image();
    bench.fail(Verb::Ensure, RECORDS, Denied);
    let plan = bench.plan(vec![
        stage("image", vec![ensure(image.clone(), None)]),
        stage("names", vec![ensure(bench.sample.records(), None)]),
    ]);
    assert_eq!(bench.start(&plan).await.exit_code(), 1);
    assert_eq!(bench.map.get(&image.id()), Some(image.clone()));
    assert_eq!(bench.owned().await, [image.id().as_str()]);
}

#[tokio::test]
async fn a_driver_that_answers_with_another_thing_has_failed() {
    struct Confused;
    #[async_trait::async_trait]
    impl World for Confused {
        async fn observe(&self, _: &Resource) -> Result<Option<Resource>, fedi_engine::drivers::DriverError> {
            Ok(None)
        }
        async fn ensure(
            &self,
            _: &Resource,
            _: &dyn fedi_engine::drivers::StepContext,
        ) -> Result<Resource, fedi_engine::drivers::DriverError> {
            Ok(Sample::new("other").address())
        }
        async fn remove(
            &self,
            _: &Resource,
            _: &dyn fedi_engine::drivers::StepContext,
        ) -> Result<(), fedi_engine::drivers::DriverError> {
            Ok(())
        }
        async fn run(
            &self,
            _: &fedi_model::plan::Task,
            _: &dyn fedi_engine::drivers::StepContext,
        ) -> Result<(), fedi_engine::drivers::DriverError> {
            Ok(())
        }
    }
    let bench = Bench::new();
    let outcome = bench.context.engine(Arc::new(Confused)).start(&bench.short()).await.unwrap();
    assert!(outcome.failure().unwrap().causes[0].contains("address/other/ipv4"), "{outcome:?}");
    assert_eq!(outcome.exit_code(), 1);
}
