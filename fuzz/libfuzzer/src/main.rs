//! The targets of `fuzz` with libFuzzer, which keeps an input if it reaches code that no other has reached.
//!
//! `FUZZ_TARGET` names the target; the arguments are libFuzzer's. `fuzz/run` builds and starts it.

#![no_main]

use std::cell::RefCell;

use fastrand::Rng;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use pod_identity_fuzz::{Check, TARGETS, Target, mutate, read_corpus};

struct Fuzzed {
    target: &'static Target,
    check: Check,
    corpus: Vec<Vec<u8>>,
}

impl Fuzzed {
    #[expect(clippy::disallowed_methods, reason = "this is the edge of the program")]
    fn start() -> Self {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET must name a target");
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.expect("FUZZ_TARGET must be one of the targets");
        Self {
            target,
            check: (target.check)(),
            corpus: read_corpus(target.name).expect("a target must have a corpus"),
        }
    }
}

thread_local! {
    // libFuzzer calls all that follows from one thread.
    static FUZZED: RefCell<Fuzzed> = RefCell::new(Fuzzed::start());
}

fuzz_target!(|input: &[u8]| FUZZED.with_borrow_mut(|fuzzed| (fuzzed.check)(input)));

// Half of the mutations know the words of the format. The others are libFuzzer's, which knows what the code compares
// its input with.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = Rng::with_seed(u64::from(seed));
    if rng.bool() {
        return fuzzer_mutate(data, size, max_size);
    }
    FUZZED.with_borrow(|fuzzed| {
        let input = data.get(..size).unwrap_or_default().to_vec();
        let mutation = mutate(&mut rng, input, &fuzzed.corpus, fuzzed.target.words);
        let room = data.iter_mut().take(max_size);
        room.zip(mutation).map(|(to, byte)| *to = byte).count()
    })
});
