//! Worker threads: perform one request at a time and decide nothing.

use std::sync::Arc;

use crate::core::bridge::{Job, JobId};
use crate::core::endpoint::Endpoint;
use crate::core::outcome::Outcome;

/// Called by a worker thread when a job is done, exactly once per job.
pub(crate) type OnFinished = Arc<dyn Fn(JobId, Outcome) + Send + Sync>;

/// The worker threads of all endpoints; started when first needed, at most `concurrency` each.
pub(crate) struct Workers {}

impl Workers {
    /// Prepares the endpoints: reads and parses nothing that can wait.
    ///
    /// # Errors
    /// Names an endpoint whose roots cannot be read or parsed, and the file.
    pub(crate) fn new(_endpoints: &[Arc<Endpoint>], _done: OnFinished) -> Result<Self, String> {
        todo!()
    }

    /// Hands a job to an idle worker of its endpoint, or to a new one.
    pub(crate) fn start(&mut self, _job: Job) {
        todo!()
    }
}
