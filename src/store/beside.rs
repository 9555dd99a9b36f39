//! One thread beside those of the requests, for what waits for the disk or takes long on the one connection that writes. The
//! runtime's own such threads take turns at random, and each keeps a heap of its own for what it once had to do.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread begins with its first work, and ends with this.
#[derive(Default)]
pub(super) struct Beside(Mutex<Option<mpsc::Sender<Job>>>);

impl Beside {
    /// Done in the order of asking, also if nobody waits for the answer. No answer comes of what panicked.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        self.run_some(|| Some(work()))
    }

    /// As `run`; work that comes to nothing has no answer, either.
    pub(super) fn run_some<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move || {
            if let Some(done) = work() {
                tell.send(done).ok();
            }
        });
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = match jobs.as_ref() {
            Some(thread) => thread.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        };
        if let Some(job) = left {
            let (send, receive) = mpsc::channel::<Job>();
            let begun = std::thread::Builder::new().name("musterd-write".to_owned()).spawn(move || {
                for job in receive {
                    // What it would have answered is dropped with it, and whoever waits hears of that.
                    drop(std::panic::catch_unwind(AssertUnwindSafe(job)));
                }
            });
            *jobs = begun.is_ok().then(|| {
                send.send(job).ok();
                send
            });
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_one_thread_that_outlives_a_panic() {
        let beside = Beside::default();
        let one = beside.run(|| std::thread::current().id());
        let bad = beside.run(|| assert!(std::thread::current().name().is_none(), "on purpose"));
        let two = beside.run(|| std::thread::current().id());
        assert!(bad.await.is_err());
        assert_eq!(one.await.unwrap(), two.await.unwrap());
        drop(beside.run(|| ()));
        assert_eq!(beside.run(|| 7).await.unwrap(), 7);
    }
}
