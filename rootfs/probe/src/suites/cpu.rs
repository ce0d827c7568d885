//! Computing in user mode, in the first-level cache: what no wall should touch.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use crate::measure::time;
use crate::report::Figure;

/// Numbers of a round of `integer`.
const NUMBERS: usize = 512;

/// Rows and columns of the matrices of `float`.
const SIDE: usize = 24;

type Matrix = [[f64; SIDE]; SIDE];

/// | probe | one operation |
/// |---|---|
/// | integer | makes 512 random numbers, sorts and hashes them |
/// | float | multiplies two 24 by 24 matrices of doubles |
pub fn run(budget: Duration, take: &mut impl FnMut(&str, io::Result<Figure>)) {
    let mut state = 1;
    let integer = time(budget, || sort_and_hash(&mut state));
    take("integer", integer.map(Figure::time));
    let (left, right) = (matrix(1.0), matrix(0.5));
    let float = time(budget, || multiply(black_box(&left), black_box(&right)));
    take("float", float.map(Figure::time));
}

/// A 64-bit xorshift (Marsaglia, 2003): the next number after `state`, which is not 0.
pub fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The same work in every round, whatever the numbers are.
fn sort_and_hash(state: &mut u64) -> u64 {
    /// FNV-1a's, with whole numbers in the place of bytes.
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut numbers = [0; NUMBERS];
    numbers.fill_with(|| random(state));
    numbers.sort_unstable();
    black_box(&numbers)
        .iter()
        .fold(OFFSET, |hash, number| (hash ^ number).wrapping_mul(PRIME))
}

fn matrix(scale: f64) -> Matrix {
    let mut state = 1;
    let mut value = || f64::from(random(&mut state).to_le_bytes()[0]) * scale;
    [[0.0; SIDE]; SIDE].map(|row| row.map(|_| value()))
}

fn multiply(left: &Matrix, right: &Matrix) -> Matrix {
    let mut product = [[0.0; SIDE]; SIDE];
    for (to, row) in product.iter_mut().zip(left) {
        for (factor, other) in row.iter().zip(right) {
            for (sum, value) in to.iter_mut().zip(other) {
                *sum += factor * value;
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_multiply() {
        let mut unit = [[0.0; SIDE]; SIDE];
        for (number, row) in unit.iter_mut().enumerate() {
            row[number] = 1.0;
        }
        let other = matrix(2.0);
        assert_eq!(multiply(&unit, &other), other);
        assert_eq!(multiply(&other, &unit), other);
    }

    #[test]
    fn every_round_has_other_numbers() {
        let mut state = 1;
        let first = sort_and_hash(&mut state);
        assert_ne!(first, sort_and_hash(&mut state));
        assert_eq!(first, sort_and_hash(&mut 1));
    }
}
