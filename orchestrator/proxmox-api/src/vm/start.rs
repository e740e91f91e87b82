//! The start that a create leaves behind.

use proxmox_schema::Upid;

use super::Vm;
use crate::error::Error;
use crate::task::{Exit, TaskQuery, TaskState, Wait};

impl Vm {
    /// After the create task of a VM that shall be started has ended: waits until the VM runs, and says whether it
    /// does. `created` is the create task.
    ///
    /// The start is a second task that no answer names, and its failure leaves no trace in the create. Here the VM's
    /// state is looked at first, about when it should run by the estimate in `wait`; only if it does not, its start is
    /// looked for and waited for. That it does not run and nothing starts it is no error: start it.
    pub async fn await_start(&self, created: &Upid, wait: &Wait) -> Result<bool, Error> {
        let clock = self.client.clock();
        let begin = clock.now();
        if let Some(pause) = wait.first_pause() {
            clock.sleep(pause).await;
        }
        if self.runs().await? {
            return Ok(true);
        }
        let query = TaskQuery::default().kind("qmstart").since(u64::from(created.start));
        let Some(start) = self.tasks(query).await?.into_iter().next() else { return Ok(false) };
        match start.state() {
            TaskState::Running => {
                let wait = wait.clone().begun(clock.now().saturating_sub(begin));
                self.client.wait(&start.upid, &wait).await?;
            }
            TaskState::Ended(Exit::Ok | Exit::Warnings(_)) => {}
            TaskState::Ended(exit) => return Err(self.client.failure(&start.upid, &exit).await),
        }
        self.runs().await
    }

    async fn runs(&self) -> Result<bool, Error> {
        Ok(self.status().await?.is_some_and(|status| status.is_running()))
    }
}
