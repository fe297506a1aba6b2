use std::time::Duration;

use tokio::time::Instant;

/// The time of one call, in nanoseconds: the best of several batches, because what disturbs a
/// measurement only ever makes it slower.
pub fn nanoseconds_per_call(mut call: impl FnMut()) -> f64 {
    // Many short ones: some of them are not disturbed even where others work on the same cores.
    const BATCHES: u32 = 200;
    let calls = calls_for(Duration::from_millis(2), &mut call);
    (0..BATCHES)
        .map(|_batch| time(calls, &mut call).as_nanos() as f64 / f64::from(calls))
        .fold(f64::INFINITY, f64::min)
}

/// The middle of what was measured; of an even number, the upper of the two in the middle.
pub fn median(mut measured: Vec<Duration>) -> Duration {
    measured.sort_unstable();
    measured
        .get(measured.len() / 2)
        .copied()
        .unwrap_or_default()
}

/// How many calls take at least this long.
fn calls_for(least: Duration, call: &mut impl FnMut()) -> u32 {
    let mut calls = 1;
    while time(calls, call) < least && calls < 1 << 28 {
        calls *= 2;
    }
    calls
}

fn time(calls: u32, call: &mut impl FnMut()) -> Duration {
    let began = Instant::now();
    for _call in 0..calls {
        call();
    }
    began.elapsed()
}
