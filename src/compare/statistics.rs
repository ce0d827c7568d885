//! What a few samples say, and how sure one may be: percentiles, and the ratio of two medians with
//! its confidence interval.
//!
//! **Percentile** `p` of `n` sorted samples is the value at position `(n - 1) · p / 100`, counted from 0,
//! linearly between the two samples around it. That is type 7 of Hyndman and Fan (1996), the default of
//! numpy and of R.
//!
//! **Ratio.** Times of starts have long tails, so medians are compared, not means. The interval is the
//! percentile bootstrap (Efron 1979): both samples are drawn anew with replacement, independently,
//! [`RESAMPLES`] times; the middle 95% of the ratios of their medians is the interval. It assumes nothing
//! about the distribution, and no outlier is removed. The draws are pseudo-random with a fixed seed.
//!
//! **Verdict.** There is a difference when the interval leaves out 1 *and* the ratio is at least
//! [`PRACTICAL`] from 1: with enough samples any two things differ by something.

use super::random::SplitMix64;

/// How many times both samples are drawn anew for one interval.
pub const RESAMPLES: usize = 2_000;

/// The smallest difference between two medians that is called one, as a part of the smaller one.
pub const PRACTICAL: f64 = 0.01;

/// Fewer samples than this on either side have no interval worth the name: of 5 samples against 5, all
/// of one are below all of the other by chance in 1 of 126 cases; of 3 against 3, in 1 of 10.
pub const FEWEST: usize = 5;

/// Any number does; it only has to stay the same.
const SEED: u64 = 0x6875_736b;

/// Samples of one figure, sorted. What is not a finite number is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
}

impl Sample {
    /// Takes the finite numbers among `values`.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }

    /// The samples, rising.
    pub fn sorted(&self) -> &[f64] {
        &self.sorted
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Whether there are fewer than [`FEWEST`].
    pub fn is_few(&self) -> bool {
        self.len() < FEWEST
    }

    /// The smallest sample.
    pub fn min(&self) -> Option<f64> {
        self.sorted.first().copied()
    }

    /// The largest sample.
    pub fn max(&self) -> Option<f64> {
        self.sorted.last().copied()
    }

    /// The arithmetic mean.
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.sorted.iter().sum();
        (!self.is_empty()).then(|| sum / self.len() as f64)
    }

    /// The value below which `percent` of the samples are, 0 to 100.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        percentile(&self.sorted, percent)
    }

    /// The 50th percentile.
    pub fn median(&self) -> Option<f64> {
        self.percentile(50.0)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position within a slice"
)]
fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = last as f64 * percent.clamp(0.0, 100.0) / 100.0;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    // Two infinite ratios have no finite difference.
    let step = if below == above { 0.0 } else { above - below };
    Some(below + step * position.fract())
}

/// A ratio of two medians, and where it would be in 95 of 100 repetitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The ratio.
    pub value: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end of its interval.
    pub high: f64,
}

/// What a ratio says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that is beyond chance and worth a word.
    NoDifference,
    /// The first one is larger.
    Larger,
    /// The first one is smaller.
    Smaller,
}

impl Ratio {
    /// The ratio the other way round.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self {
            value: 1.0 / self.value,
            low: 1.0 / self.high,
            high: 1.0 / self.low,
        }
    }

    /// What it says.
    pub fn verdict(self) -> Verdict {
        if self.low > 1.0 && self.value >= 1.0 + PRACTICAL {
            Verdict::Larger
        } else if self.high < 1.0 && self.value <= 1.0 / (1.0 + PRACTICAL) {
            Verdict::Smaller
        } else {
            Verdict::NoDifference
        }
    }
}

/// The median of `first` over the median of `second`. None when either has fewer than [`FEWEST`] samples,
/// a negative one, or when only the second median is 0.
pub fn ratio_of_medians(first: &Sample, second: &Sample) -> Option<Ratio> {
    if first.is_few() || second.is_few() || first.min()?.min(second.min()?) < 0.0 {
        return None;
    }
    let value = divide(first.median()?, second.median()?);
    let mut random = SplitMix64::new(SEED);
    let mut counts = vec![0; first.len().max(second.len())];
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let above = redrawn_median(&first.sorted, &mut counts, &mut random);
            divide(
                above,
                redrawn_median(&second.sorted, &mut counts, &mut random),
            )
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (low, high) = (percentile(&ratios, 2.5)?, percentile(&ratios, 97.5)?);
    value.is_finite().then_some(Ratio { value, low, high })
}

/// Two times below the clock's step are both 0, and as long as each other.
fn divide(above: f64, below: f64) -> f64 {
    if above == below { 1.0 } else { above / below }
}

/// The median of as many draws with replacement as there are samples. The draws are counted by rank, so that
/// nothing has to be sorted again.
fn redrawn_median(sorted: &[f64], counts: &mut [u32], random: &mut SplitMix64) -> f64 {
    let n = sorted.len();
    let counts = &mut counts[..n];
    counts.fill(0);
    for _ in 0..n {
        counts[random.below(n)] += 1;
    }
    let lower = sorted[rank_of_draw(counts, (n - 1) / 2)];
    let upper = sorted[rank_of_draw(counts, n / 2)];
    lower + (upper - lower) / 2.0
}

/// The rank of the draw that `position` draws are below.
fn rank_of_draw(counts: &[u32], position: usize) -> usize {
    let mut seen = 0;
    for (rank, count) in counts.iter().enumerate() {
        seen += *count as usize;
        if seen > position {
            return rank;
        }
    }
    counts.len() - 1
}

#[cfg(test)]
mod tests;
