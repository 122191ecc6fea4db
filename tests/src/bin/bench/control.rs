//! The same piece of work again and again beside what is measured: how long it takes at worst is
//! the machine's doing, which others share, and not that of whoever does it.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use sstpulse::clock::cpu_time_ns;

/// Memory that the work reads here and there: more than caches hold, as records are.
const WORDS: usize = 8 << 20;

/// Words that it reads, most of them out of memory: as a step of a scan does.
const READS: usize = 4_096;

/// Time between two times that it is done: as much of a CPU as scans take.
const PAUSE: Duration = Duration::from_millis(5);

/// A thread that does it for as long as this lives.
pub(crate) struct Control {
    longest_ns: Arc<AtomicU64>,
}

impl Control {
    /// Begins.
    pub(crate) fn start() -> Self {
        let longest_ns = Arc::new(AtomicU64::new(0));
        let told = Arc::downgrade(&longest_ns);
        thread::spawn(move || {
            let words = vec![1_u64; WORDS];
            let mut at = 1;
            while let Some(longest_ns) = told.upgrade() {
                let began_ns = cpu_time_ns();
                at = black_box(work(&words, at));
                longest_ns.fetch_max(cpu_time_ns() - began_ns, Ordering::Relaxed);
                drop(longest_ns);
                thread::sleep(PAUSE);
            }
        });
        Self { longest_ns }
    }

    /// How long it took at worst since this was last asked, in microseconds of a CPU.
    pub(crate) fn longest_us(&self) -> u64 {
        self.longest_ns.swap(0, Ordering::Relaxed) / 1_000
    }
}

/// Reads words in an order that looks random, from one on. Where the next time begins.
fn work(words: &[u64], mut at: usize) -> usize {
    for _ in 0..READS {
        let word = usize::try_from(words[at % WORDS]).unwrap_or_default();
        at = at
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(word)
            >> 1;
    }
    at
}
