//! Rouses one task of the event loop's thread.
//!
//! tokio's `Notify` could do it; this one costs a flag and no atomics, on a path that every
//! message takes.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// A bell that one task waits for. Rings that nobody waited for are one ring for the next wait.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Bell {
    /// Rouses the task that waits, or the next that will.
    pub(crate) fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    /// Forgets the rings so far, and that anybody waits: for a task that is up anyway.
    pub(crate) fn hush(&self) {
        self.rung.set(false);
        self.waker.set(None);
    }

    /// Is ready once after any number of rings.
    pub(crate) fn poll_rung(&self, context: &Context<'_>) -> Poll<()> {
        if self.rung.replace(false) {
            return Poll::Ready(());
        }
        self.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }

    /// Waits for a ring.
    pub(crate) async fn rung(&self) {
        poll_fn(|context| self.poll_rung(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_before_the_wait_count_as_one() {
        let (bell, context) = (Bell::default(), Context::from_waker(Waker::noop()));
        assert!(bell.poll_rung(&context).is_pending());
        bell.ring();
        bell.ring();
        assert!(bell.poll_rung(&context).is_ready());
        assert!(bell.poll_rung(&context).is_pending());
        bell.ring();
        bell.hush();
        assert!(bell.poll_rung(&context).is_pending());
    }
}
