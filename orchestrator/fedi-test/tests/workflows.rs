//! The generic workflow tests, on the sample deployment in the world of maps.

use fedi_test::workflow::{self, MapTestbed};

macro_rules! workflows {
    ($($name:ident),*) => { $(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn runs_twice() {
                workflow::runs_twice(async || MapTestbed::$name()).await;
            }

            #[tokio::test]
            async fn fails_at_every_call() {
                workflow::fails_at_every_call(async || MapTestbed::$name()).await;
            }

            #[tokio::test]
            async fn fails_at_every_undo() {
                workflow::fails_at_every_undo(async || MapTestbed::$name()).await;
            }

            #[tokio::test]
            async fn is_interrupted_at_every_call() {
                workflow::is_interrupted_at_every_call(async || MapTestbed::$name()).await;
            }

            #[tokio::test]
            async fn crashes_at_every_append() {
                workflow::crashes_at_every_append(async || MapTestbed::$name()).await;
            }

            #[tokio::test]
            async fn crashes_and_is_undone() {
                workflow::crashes_and_is_undone(async || MapTestbed::$name()).await;
            }
        }
    )* };
}

workflows!(deploy, change, destroy);
