//! Sequence numbers: 32 bits that wrap (RFC 9293, 3.4).

/// The number of a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seq(pub u32);

impl Seq {
    /// `count` bytes later.
    pub fn plus(self, count: usize) -> Self {
        // Counts are below 2^31: what does not fit cannot be.
        Self(self.0.wrapping_add(u32::try_from(count).unwrap_or(0)))
    }

    /// The byte before this.
    pub fn before(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// Bytes from `earlier` to here; negative if this is before it.
    pub fn since(self, earlier: Self) -> i64 {
        i64::from(self.0.wrapping_sub(earlier.0).cast_signed())
    }

    /// Bytes from `earlier` to here; none if this is before it.
    pub fn count_since(self, earlier: Self) -> usize {
        usize::try_from(self.since(earlier)).unwrap_or(0)
    }

    /// Whether this is after `other`.
    pub fn is_after(self, other: Self) -> bool {
        self.since(other) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap() {
        let (low, high) = (Seq(5), Seq(u32::MAX - 4));
        assert_eq!(high.plus(10), low);
        assert_eq!((low.since(high), high.since(low)), (10, -10));
        assert_eq!((low.count_since(high), high.count_since(low)), (10, 0));
        assert!(low.is_after(high) && !high.is_after(low) && !low.is_after(low));
    }
}
