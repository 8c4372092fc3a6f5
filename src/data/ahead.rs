//! Prefetching: worker threads make the items that are expected next, a bounded number at a time,
//! and return them in the expected order.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{Error, Result};

/// Items per thread that may be in progress or ready.
const WINDOW: usize = 32;

type Item = Result<Vec<u8>>;

/// Makes items by index, ahead of time. An item does not depend on the thread that makes it.
pub struct Ahead {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    make: Box<dyn Fn(u32) -> Item + Send + Sync>,
    state: Mutex<State>,
    /// Signalled when there is work, an item is ready, or the workers must end.
    changed: Condvar,
    window: usize,
}

#[derive(Default)]
struct State {
    /// Indices that are expected but not started.
    coming: VecDeque<u32>,
    /// Items that are started but not returned, in order: ticket and index.
    begun: VecDeque<(u64, u32)>,
    /// Finished items that are not returned, by ticket.
    ready: HashMap<u64, Item>,
    /// The next ticket. Tickets are unique, so that a late item of a replaced order is not mistaken
    /// for another.
    number: u64,
    over: bool,
}

impl Ahead {
    /// Starts as many threads as there are processors, to call `make`.
    pub fn new(make: impl Fn(u32) -> Item + Send + Sync + 'static) -> Self {
        Self::with_threads(thread::available_parallelism().map_or(1, usize::from), make)
    }

    /// The same with this number of threads. If none can be started, nothing is prefetched.
    pub fn with_threads(
        threads: usize,
        make: impl Fn(u32) -> Item + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            make: Box::new(make),
            state: Mutex::default(),
            changed: Condvar::new(),
            window: WINDOW * threads,
        });
        let start = |_| {
            let shared = shared.clone();
            thread::Builder::new().name("decoder".into()).spawn(move || shared.work()).ok()
        };
        let workers = (0..threads).filter_map(start).collect();
        Self { shared, workers }
    }

    /// Sets the indices that [`Ahead::next`] will be called with, in order. Replaces earlier ones.
    pub fn expect(&self, order: Vec<u32>) {
        let mut state = self.shared.lock();
        (state.begun, state.ready) = Default::default();
        state.coming = order.into();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// The item with this index if it is the next one expected; waits for it.
    pub fn next(&self, index: u32) -> Option<Item> {
        if self.workers.is_empty() {
            return None;
        }
        let mut state = self.shared.lock();
        let expected = state.begun.front().map(|(_, index)| index).or(state.coming.front());
        if expected != Some(&index) {
            return None;
        }
        loop {
            if let Some((number, _)) = state.begun.front().copied()
                && let Some(item) = state.ready.remove(&number)
            {
                state.begun.pop_front();
                drop(state);
                self.shared.changed.notify_all();
                return Some(item);
            }
            state = self.shared.wait(state);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // A panic of a worker was caught and returned as the error of its item.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// No code that may panic runs under the lock, so the state is consistent even if it is poisoned.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        while !state.over {
            let free = state.begun.len() < self.window;
            let Some(index) = state.coming.front().copied().filter(|_| free) else {
                state = self.wait(state);
                continue;
            };
            state.coming.pop_front();
            let number = state.number;
            state.number += 1;
            state.begun.push_back((number, index));
            drop(state);
            let made = catch_unwind(AssertUnwindSafe(|| (self.make)(index)));
            let bug = || Err(Error::Model(format!("a bug in sff: item {index} made it panic")));
            let item = made.unwrap_or_else(|_| bug());
            state = self.lock();
            if state.begun.iter().any(|(begun, _)| *begun == number) {
                state.ready.insert(number, item);
                self.changed.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// The bytes of the index, after a delay that varies.
    fn slowly(index: u32) -> Item {
        thread::sleep(Duration::from_micros(u64::from(index * 7919 % 500)));
        match index {
            13 => Err(Error::usage("unlucky")),
            _ => Ok(index.to_le_bytes().into()),
        }
    }

    #[test]
    fn items_come_in_order_with_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let ahead = Ahead::with_threads(threads, slowly);
            let order: Vec<u32> = (0..300).map(|i| i * 37 % 300).collect();
            ahead.expect(order.clone());
            for index in order {
                match ahead.next(index).expect("it is expected") {
                    Ok(item) => assert_eq!(item, index.to_le_bytes()),
                    Err(error) => assert_eq!((index, error.to_string()), (13, "unlucky".into())),
                }
            }
            assert!(ahead.next(0).is_none(), "nothing more is expected");
        }
    }

    #[test]
    fn no_more_items_are_made_than_the_window_holds() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let ahead = Ahead::with_threads(2, move |index| {
            counter.fetch_add(1, Ordering::SeqCst);
            slowly(index)
        });
        ahead.expect(vec![1; 1000]);
        while made.load(Ordering::SeqCst) < 2 * WINDOW {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(30));
        assert_eq!(made.load(Ordering::SeqCst), 2 * WINDOW);
        assert!(ahead.next(1).is_some());
    }

    #[test]
    fn a_new_order_replaces_the_old_one() {
        let ahead = Ahead::with_threads(3, slowly);
        ahead.expect((0..100).collect());
        assert!(ahead.next(5).is_none(), "not the next one");
        assert!(ahead.next(0).is_some());
        ahead.expect(vec![7, 0]);
        assert_eq!(ahead.next(7).unwrap().unwrap(), 7u32.to_le_bytes());
        assert_eq!(ahead.next(0).unwrap().unwrap(), 0u32.to_le_bytes());
    }

    #[test]
    fn a_panic_becomes_the_error_of_its_item() {
        let make = |index| if index == 1 { panic!("a bug for the test") } else { slowly(index) };
        let ahead = Ahead::with_threads(1, make);
        ahead.expect(vec![0, 1, 2]);
        assert!(ahead.next(0).unwrap().is_ok());
        assert!(ahead.next(1).unwrap().unwrap_err().to_string().contains("item 1"));
        assert!(ahead.next(2).unwrap().is_ok());
    }
}
