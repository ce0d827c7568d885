//! Memory that is there already: what nested paging and the host's own pages make of it.
//!
//! Its one buffer is larger than a second-level cache and small enough for a guest of 128 MiB. It is
//! in huge pages where the kernel has them, so that it is soon there. On a software KVM, which has none
//! and where a page takes 2 ms, it takes 10 s all the same: nothing smaller would miss the caches.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use super::cpu::random;
use crate::measure::{Pace, measure, time};
use crate::report::Figure;
use crate::sys::memory::{Mapping, Pages};

/// Bytes of the buffer.
const BUFFER: usize = 16 << 20;

/// Bytes that `copy` moves at once.
const HALF: u32 = 8 << 20;

/// Words from one place of a chase to the next in memory: a cache line of 64 bytes.
const STRIDE: usize = 8;

/// | probe | one operation |
/// |---|---|
/// | copy | copies 8 MiB; the bytes count once |
/// | latency | one load whose address the load before it gave, at random in 16 MiB |
pub fn run(budget: Duration, take: &mut impl FnMut(&str, io::Result<Figure>)) {
    let mut buffer = match Mapping::new(BUFFER) {
        Ok(buffer) => buffer,
        Err(error) => return take("buffer", Err(error)),
    };
    buffer.prefer(Pages::Huge);
    buffer.fill();
    take("copy", copy(budget, buffer.words()));
    take("latency", chase(budget, buffer.words()));
}

fn copy(budget: Duration, words: &mut [u64]) -> io::Result<Figure> {
    let (from, to) = words.split_at_mut(words.len() / 2);
    let took = time(budget, || {
        to.copy_from_slice(black_box(from));
        black_box(&mut *to);
    });
    took.map(|took| Figure::throughput(HALF, took))
}

fn chase(budget: Duration, words: &mut [u64]) -> io::Result<Figure> {
    lay_cycle(words);
    let mut at = 0;
    let took = measure(Pace::free(budget), |count| {
        let begun = Instant::now();
        for _ in 0..count {
            at = place(words[at]);
        }
        black_box(at);
        Ok(begun.elapsed())
    });
    took.map(Figure::time)
}

/// Every line leads to another, and one round visits all of them (Sattolo's algorithm).
fn lay_cycle(words: &mut [u64]) {
    let lines = words.len() / STRIDE;
    for line in 0..lines {
        words[line * STRIDE] = (line * STRIDE) as u64;
    }
    let mut state = 1;
    for line in (1..lines).rev() {
        let other = place(random(&mut state) % line as u64);
        words.swap(line * STRIDE, other * STRIDE);
    }
}

/// The machine's addresses are 64 bits wide.
fn place(word: u64) -> usize {
    usize::try_from(word).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chase_visits_every_line_once() {
        let mut words = vec![0; 1000 * STRIDE];
        lay_cycle(&mut words);
        let mut at = 0;
        let mut seen = vec![false; 1000];
        for _ in 0..1000 {
            assert!(!std::mem::replace(&mut seen[at / STRIDE], true), "{at}");
            at = place(words[at]);
        }
        assert_eq!(at, 0);
    }
}
