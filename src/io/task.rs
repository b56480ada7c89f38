//! Tasks of the event loop, and work that blocks beside it.
//!
//! tokio brings 3.4 KB of program for each type of future that becomes a task, and 2 KB for each
//! type of function that gets a thread. In a box all are of one type.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{JoinHandle, spawn_blocking, spawn_local};

/// Starts a task; has to be called within the event loop.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    let task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(task);
    spawn_local(task)
}

/// Does work that blocks on a thread of tokio's pool. It goes on there if nobody waits any more.
///
/// # Errors
/// Says what fault of this program has ended it.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let result = Arc::new(Mutex::new(None));
    let place = Arc::clone(&result);
    let work: Box<dyn FnOnce() + Send> = Box::new(move || {
        let done = work();
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    });
    spawn_blocking(work)
        .await
        .map_err(|fault| fault.to_string())?;
    let done = result.lock().unwrap_or_else(PoisonError::into_inner).take();
    done.ok_or_else(|| "it left no result".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_aside_gives_its_result_or_the_panic_that_ended_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            assert_eq!(aside(|| 7).await, Ok(7));
            let panicked = aside(|| -> u8 { std::panic::resume_unwind(Box::new("on purpose")) });
            let fault = panicked.await.unwrap_err();
            assert!(fault.contains("on purpose"), "{fault}");
        });
    }
}
