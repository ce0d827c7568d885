//! Integer instructions as pure functions: operands in, result and flags out (Intel SDM 2).

use iced_x86::Mnemonic;

/// What an operation reads.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// The destination before the instruction.
    pub destination: u64,
    /// First and second source, zero-extended.
    pub values: [u64; 2],
    /// Operand width: 16, 32 or 64.
    pub bits: usize,
}

/// What an instruction does to RFLAGS: these bits become `set`, the others stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    changed: u64,
    set: u64,
}

impl Flags {
    const CF: u64 = 1;
    const ZF: u64 = 1 << 6;
    const SF: u64 = 1 << 7;
    /// Alignment check, which SMAP uses.
    pub const AC: u64 = 1 << 18;
    /// CF, PF, AF, ZF, SF and OF.
    const ARITHMETIC: u64 = 0x8d5;
    /// None changes.
    const KEPT: Self = Self { changed: 0, set: 0 };
    /// All arithmetic flags become 0.
    pub const CLEARED: Self = Self {
        changed: Self::ARITHMETIC,
        set: 0,
    };

    fn of(changed: u64, pairs: &[(u64, bool)]) -> Self {
        let set = pairs.iter().filter(|(_, on)| *on).map(|(bit, _)| bit).sum();
        Self { changed, set }
    }

    /// Changes `rflags`.
    pub fn apply(self, rflags: &mut u64) {
        *rflags = *rflags & !self.changed | self.set;
    }
}

/// A pure operation.
pub type Operation = fn(Input) -> (u64, Flags);

/// The operation of a mnemonic, if it is one of these.
pub fn operation(mnemonic: Mnemonic) -> Option<Operation> {
    Some(match mnemonic {
        Mnemonic::Popcnt => popcnt,
        Mnemonic::Lzcnt => lzcnt,
        Mnemonic::Tzcnt => tzcnt,
        Mnemonic::Bsf => bsf,
        Mnemonic::Bsr => bsr,
        Mnemonic::Andn => |i| logic(!i.values[0] & i.values[1], i.bits, false),
        Mnemonic::Blsr => |i| {
            logic(
                i.values[0] & i.values[0].wrapping_sub(1),
                i.bits,
                i.values[0] == 0,
            )
        },
        Mnemonic::Blsi => |i| {
            logic(
                i.values[0] & i.values[0].wrapping_neg(),
                i.bits,
                i.values[0] != 0,
            )
        },
        Mnemonic::Blsmsk => |i| {
            logic(
                i.values[0] ^ i.values[0].wrapping_sub(1),
                i.bits,
                i.values[0] == 0,
            )
        },
        Mnemonic::Shlx => |i| (i.values[0] << shift(i), Flags::KEPT),
        Mnemonic::Shrx => |i| (i.values[0] >> shift(i), Flags::KEPT),
        Mnemonic::Sarx => sarx,
        Mnemonic::Rorx => rorx,
        Mnemonic::Movbe => |i| (i.values[0].swap_bytes() >> (64 - i.bits), Flags::KEPT),
        _ => return None,
    })
}

fn truncate(value: u64, bits: usize) -> u64 {
    value & (u64::MAX >> (64 - bits))
}

fn shift(input: Input) -> u64 {
    input.values[1] & (input.bits as u64 - 1)
}

fn logic(value: u64, bits: usize, carry: bool) -> (u64, Flags) {
    let value = truncate(value, bits);
    let pairs = [
        (Flags::ZF, value == 0),
        (Flags::SF, value >> (bits - 1) & 1 == 1),
        (Flags::CF, carry),
    ];
    (value, Flags::of(Flags::ARITHMETIC, &pairs))
}

fn popcnt(input: Input) -> (u64, Flags) {
    let zero = input.values[0] == 0;
    let flags = Flags::of(Flags::ARITHMETIC, &[(Flags::ZF, zero)]);
    (u64::from(input.values[0].count_ones()), flags)
}

fn count(result: u64, input: Input) -> (u64, Flags) {
    let pairs = [(Flags::ZF, result == 0), (Flags::CF, input.values[0] == 0)];
    (result, Flags::of(Flags::CF | Flags::ZF, &pairs))
}

fn lzcnt(input: Input) -> (u64, Flags) {
    count(
        u64::from(input.values[0].leading_zeros()) + input.bits as u64 - 64,
        input,
    )
}

fn tzcnt(input: Input) -> (u64, Flags) {
    count(
        u64::from(input.values[0].trailing_zeros()).min(input.bits as u64),
        input,
    )
}

/// With a zero source ZF is set and the destination stays, as every CPU does and AMD documents.
fn scan(result: u64, input: Input) -> (u64, Flags) {
    let zero = input.values[0] == 0;
    let flags = Flags::of(Flags::ZF, &[(Flags::ZF, zero)]);
    (if zero { input.destination } else { result }, flags)
}

fn bsf(input: Input) -> (u64, Flags) {
    scan(u64::from(input.values[0].trailing_zeros()), input)
}

fn bsr(input: Input) -> (u64, Flags) {
    scan(
        63u64.wrapping_sub(u64::from(input.values[0].leading_zeros())),
        input,
    )
}

fn sarx(input: Input) -> (u64, Flags) {
    let unused = 64 - input.bits;
    let signed = (input.values[0] << unused).cast_signed() >> unused;
    (
        truncate((signed >> shift(input)).cast_unsigned(), input.bits),
        Flags::KEPT,
    )
}

fn rorx(input: Input) -> (u64, Flags) {
    let (value, by, bits) = (input.values[0], shift(input), input.bits as u64);
    let rotated = if by == 0 {
        value
    } else {
        value >> by | value << (bits - by)
    };
    (truncate(rotated, input.bits), Flags::KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mnemonic: Mnemonic, values: [u64; 2], bits: usize) -> (u64, u64) {
        let operation = operation(mnemonic).unwrap();
        let (result, flags) = operation(Input {
            destination: 0x77,
            values,
            bits,
        });
        let mut rflags = 0;
        flags.apply(&mut rflags);
        (result, rflags)
    }

    #[test]
    fn results_and_flags_are_the_manuals() {
        use Mnemonic::{Andn, Blsr, Bsf, Bsr, Lzcnt, Movbe, Popcnt, Rorx, Sarx, Shlx, Tzcnt};
        let table = [
            (Popcnt, [0xff00, 0], 32, 8, 0),
            (Popcnt, [0, 0], 64, 0, Flags::ZF),
            (Lzcnt, [1, 0], 32, 31, 0),
            (Lzcnt, [0, 0], 32, 32, Flags::CF),
            (Tzcnt, [8, 0], 64, 3, 0),
            (Tzcnt, [0, 0], 16, 16, Flags::CF),
            (Tzcnt, [1, 0], 64, 0, Flags::ZF),
            (Bsf, [0, 0], 64, 0x77, Flags::ZF),
            (Bsr, [0x80, 0], 64, 7, 0),
            (Andn, [0xf0, 0xff], 32, 0x0f, 0),
            (Blsr, [0xc, 0], 32, 8, 0),
            (Shlx, [1, 33], 32, 2, 0),
            (Sarx, [0x8000_0000, 4], 32, 0xf800_0000, 0),
            (Rorx, [1, 1], 64, 1 << 63, 0),
            (Movbe, [0x1234, 0], 16, 0x3412, 0),
        ];
        for (mnemonic, values, bits, result, flags) in table {
            let what = format!("{mnemonic:?} {values:x?} {bits}");
            assert_eq!(run(mnemonic, values, bits), (result, flags), "{what}");
        }
    }

    #[test]
    fn flags_that_an_instruction_does_not_name_stay() {
        let mut rflags = u64::MAX;
        popcnt(Input {
            destination: 0,
            values: [1, 0],
            bits: 64,
        })
        .1
        .apply(&mut rflags);
        assert_eq!(rflags, !Flags::ARITHMETIC);
    }
}
