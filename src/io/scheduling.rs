//! How the system schedules the threads that work beside the event loop.

use rustix::process::getpriority_process;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};

/// What the crate makes a niceness of 0 of, the one that all programs have.
const ORDINARY: u8 = 48;

/// Has this thread wait, when it is woken, for whoever runs to finish: SCHED_BATCH of sched(7).
///
/// It is the event loop that wakes it, most often, and that has more to hand out: interrupted
/// after each job, it would wake the next thread for the next one. Over a kept-alive connection
/// that is a tenth of what a message costs (`cargo bench --bench pipeline`). The thread's share of
/// the processor stays what it was.
///
/// Nothing depends on it, so where it is not allowed nothing is said. A policy or niceness that
/// somebody has given to the program stays.
pub(crate) fn let_others_finish() {
    if !is_ordinary() {
        return;
    }
    if let Ok(ordinary) = ThreadPriorityValue::try_from(ORDINARY) {
        let _ = set_thread_priority_and_policy(
            thread_native_id(),
            ThreadPriority::Crossplatform(ordinary),
            ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch),
        );
    }
}

fn is_ordinary() -> bool {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    thread_schedule_policy() == Ok(policy) && getpriority_process(None) == Ok(0)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_is_scheduled_as_batch_at_the_niceness_it_had() {
        let standing = || (thread_schedule_policy().unwrap(), getpriority_process(None));
        let (policy, niceness) = standing();
        let expected = match is_ordinary() {
            true => ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch),
            false => policy,
        };
        let after = thread::spawn(move || {
            let_others_finish();
            standing()
        });
        assert_eq!(after.join().unwrap(), (expected, niceness));
        assert_eq!(standing(), (policy, niceness), "others stay as they are");
    }
}
