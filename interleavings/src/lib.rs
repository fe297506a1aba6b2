//! Orders of threads for tests. At each use of a lock or an atomic of this crate it is decided which thread goes on,
//! by [shuttle](https://docs.rs/shuttle), thousands of times with other decisions. A thread that waits for what never
//! comes is a failure.
//!
//! The published crates use the locks of the standard library. `just interleavings` compiles their tests with these,
//! by the `sync.rs` of each.

mod mutex;

use std::env;

use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};

pub use self::mutex::{Mutex, MutexGuard};
pub use shuttle::future::block_on;
pub use shuttle::rand;
pub use shuttle::sync::atomic;
pub use shuttle::thread;

/// Plays this in many orders: 2,000, or as many as the variable `INTERLEAVINGS` says, chosen by the seed
/// `INTERLEAVINGS_SEED`, or 1. Returns their number.
///
/// # Panics
/// Panics with the first order in which `play` does, or in which all threads wait.
pub fn in_many_orders(play: impl Fn() + Send + Sync + 'static) -> usize {
    let orders = number("INTERLEAVINGS").unwrap_or(2_000);
    let seed = number("INTERLEAVINGS_SEED").unwrap_or(1);
    let orders = usize::try_from(orders).expect("INTERLEAVINGS must be smaller");
    let scheduler = RandomScheduler::new_from_seed(seed, orders);
    Runner::new(scheduler, Config::new()).run(play)
}

#[expect(clippy::disallowed_methods, reason = "`just interleavings` sets it")]
fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
    )
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::sync::Arc;

    use super::*;

    /// Two threads count to two, with or without the lock between reading and writing.
    fn count(is_locked: bool) {
        in_many_orders(move || {
            let count = Arc::new(Mutex::new(0));
            let counting = [(); 2].map(|()| {
                let count = Arc::clone(&count);
                thread::spawn(move || match is_locked {
                    true => *count.lock().unwrap() += 1,
                    false => {
                        let read = *count.lock().unwrap();
                        *count.lock().unwrap() = read + 1;
                    }
                })
            });
            for thread in counting {
                thread.join().unwrap();
            }
            assert_eq!(*count.lock().unwrap(), 2);
        });
    }

    #[test]
    fn an_order_in_which_a_count_is_lost_is_found() {
        count(true);
        catch_unwind(|| count(false)).unwrap_err();
    }

    #[test]
    fn a_thread_that_waits_for_what_never_comes_is_found() {
        let waiting = || in_many_orders(|| block_on(std::future::pending()));
        catch_unwind(waiting).unwrap_err();
    }
}
