use std::collections::HashMap;
use std::future::Future;
use std::io;

use tokio::runtime::Handle;
use tokio::task::{Id, JoinSet};

/// Tasks without which the agent cannot serve, and which therefore run as long as it does.
///
/// Dropping it ends them.
#[derive(Debug, Default)]
pub(crate) struct EssentialTasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

/// A task that must not end has ended.
#[derive(Debug, thiserror::Error)]
#[error("the task `{name}` has ended, which is a defect: {cause}")]
pub(crate) struct TaskEnded {
    name: String,
    cause: String,
}

impl From<TaskEnded> for io::Error {
    fn from(ended: TaskEnded) -> Self {
        Self::other(ended)
    }
}

impl EssentialTasks {
    /// Spawns a task on the current runtime. `name` is for the error.
    pub(crate) fn spawn(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_on(&Handle::current(), name, task);
    }

    /// Spawns a task on this runtime.
    pub(crate) fn spawn_on(
        &mut self,
        runtime: &Handle,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn_on(task, runtime);
        self.names.insert(task.id(), name.into());
    }

    /// Waits until one of the tasks ends. Never returns if there are none.
    pub(crate) async fn ended(&mut self) -> TaskEnded {
        let (id, cause) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, "it returned".to_owned()),
            Some(Err(error)) => (error.id(), error.to_string()),
            None => std::future::pending().await,
        };
        let name = self.names.remove(&id).unwrap_or_default();
        TaskEnded { name, cause }
    }

    /// Waits until all of them have ended, as they do at a shutdown.
    pub(crate) async fn join(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_is_named_with_its_cause() {
        let mut tasks = EssentialTasks::default();
        assert!(tasks.ended().now_or_never().is_none());
        tasks.spawn("stays", pending());
        tasks.spawn("returns", ready(()));
        let ended = tasks.ended().await.to_string();
        assert!(
            ended.contains("`returns`") && ended.contains("returned"),
            "{ended}"
        );
        tasks.spawn("panics", async { panic!("out of luck") });
        let ended = tasks.ended().await.to_string();
        assert!(
            ended.contains("`panics`") && ended.contains("out of luck"),
            "{ended}"
        );
    }
}
