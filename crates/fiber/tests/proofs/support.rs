//! Chance, worlds, and what must hold when a run is over.

use core::time::Duration;

use fiber::{Drain, Runtime, SharedEnv, sleep, yield_now};

/// So long that nothing but waiting for each other is left.
pub(crate) const EVER: Duration = Duration::from_secs(1);

/// How many seeds to try: as many as the variable `PROOF_SEEDS` says, or else `short`.
pub(crate) fn seeds(short: u64) -> u64 {
    std::env::var("PROOF_SEEDS").map_or(short, |seeds| seeds.parse().unwrap())
}

/// Runs `main` and waits for all fibers; then no fiber is left, and no stack is with anybody.
pub(crate) fn run_to_the_end(
    env: SharedEnv,
    (sharing, dedicated): (u16, u16),
    main: impl FnOnce() + Send,
) {
    let builder = Runtime::builder(env)
        .workers(sharing)
        .dedicated(dedicated)
        .drain(Drain::Wait);
    let watched = move || {
        main();
        Runtime::current().unwrap()
    };
    let runtime = builder
        .run(watched)
        .unwrap_or_else(|error| panic!("{error}"));
    let stats = runtime.stats();
    assert_eq!((stats.live, stats.stacks.in_use()), (0, 0), "{stats}");
}

/// Numbers that a seed decides, splitmix64.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.0;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(n).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn split(&mut self) -> Self {
        Self(self.bits())
    }

    /// A time in which a few things happen.
    pub(crate) fn span(&mut self) -> Duration {
        Duration::from_micros(u64::try_from(self.below(100)).unwrap())
    }

    /// Lets others run, or not.
    pub(crate) fn pause(&mut self) {
        match self.below(4) {
            0 => {}
            1 => sleep(self.span()),
            _ => (0..self.below(4)).for_each(|_| yield_now()),
        }
    }
}
