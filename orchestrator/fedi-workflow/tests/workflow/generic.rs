//! The generic workflow tests: run twice, failed at every call, interrupted at every call,
//! killed (as far as the journal can tell) at every append. That the process is really
//! killed is in `killed.rs`.

use fedi_test::workflow;
use fedi_testsite::{SiteBed, Task};

macro_rules! workflows {
    ($($name:ident: $task:ident [$($test:ident),*]),*) => { $(
        mod $name {
            use super::*;

            $(
                #[tokio::test]
                async fn $test() {
                    workflow::$test(async || SiteBed::new(Task::$task).await).await;
                }
            )*
        }
    )* };
}

workflows!(
    deploy: Deploy [
        runs_twice, fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call, crashes_at_every_append,
        crashes_and_is_undone
    ],
    change: Change [
        runs_twice, fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call, crashes_at_every_append
    ],
    rotate: Rotate [runs_twice, fails_at_every_call, is_interrupted_at_every_call, crashes_at_every_append],
    backup: Backup [
        runs_twice, fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call, crashes_at_every_append,
        crashes_and_is_undone
    ],
    backup_quiesced: BackupQuiesced [
        fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call, crashes_at_every_append,
        crashes_and_is_undone
    ],
    restore: Restore [
        runs_twice, fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call, crashes_at_every_append,
        crashes_and_is_undone
    ],
    restore_in_place: RestoreInPlace [
        fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call, crashes_at_every_append,
        crashes_and_is_undone
    ],
    drill: Drill [
        fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call, crashes_at_every_append,
        crashes_and_is_undone
    ],
    clone: Clone [
        runs_twice, fails_at_every_call, fails_at_every_undo, is_interrupted_at_every_call, crashes_at_every_append,
        crashes_and_is_undone
    ],
    destroy: Destroy [runs_twice, fails_at_every_call, is_interrupted_at_every_call, crashes_at_every_append]
);
