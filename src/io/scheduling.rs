//! How the system schedules the threads that work beside the event loop.

use rustix::process::getpriority_process;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
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
/// Nothing depends on it, so where it is not allowed nothing is said. A niceness that somebody has
/// given to the program stays too.
pub(crate) fn let_others_finish() {
    if getpriority_process(None) != Ok(0) {
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

#[cfg(test)]
mod tests {
    use std::thread;

    use thread_priority::thread_schedule_policy;

    use super::*;

    #[test]
    fn a_thread_is_scheduled_as_batch_at_the_niceness_it_had() {
        let standing = || (thread_schedule_policy().unwrap(), getpriority_process(None));
        let (policy, niceness) = standing();
        let expected = match niceness {
            Ok(0) => ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch),
            _ => policy,
        };
        let after = thread::spawn(move || {
            let_others_finish();
            standing()
        });
        assert_eq!(after.join().unwrap(), (expected, niceness));
        assert_eq!(standing(), (policy, niceness), "others stay as they are");
    }
}
