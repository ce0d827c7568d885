//! XSAVE and XRSTOR: the processor's extended state to memory and back (Intel SDM 1, chapter 13).
//!
//! ```text
//! 0        512      576
//! ├────────┼────────┼──────────────────────────────
//! │ legacy │ header │ components 2, 3, …
//! └────────┴────────┴──────────────────────────────
//! ```
//!
//! KVM gives the state in the standard form, each component at its fixed offset. The compacted
//! form, where components follow each other, is what XSAVEC and XSAVES write.

use iced_x86::{Instruction, Register};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, Xsave};
use kvm_ioctls::Cap;

use super::cpu::{Cpu, Trap};
use super::paging::Fault;
use crate::kvm::error::{Error, refused};
use crate::kvm::host::Kvm;

const X87: u64 = 1;
const SSE: u64 = 1 << 1;
const AVX: u64 = 1 << 2;
/// First byte of the header: XSTATE_BV, then XCOMP_BV.
const HEADER: usize = 512;
/// First byte after the header.
const EXTENDED: usize = 576;
/// MXCSR and its mask.
const MXCSR: std::ops::Range<usize> = 24..32;
/// The mask of a processor that says 0.
const DEFAULT_MXCSR_MASK: u64 = 0xffbf;
/// x87 state: before and after MXCSR.
const X87_PARTS: [std::ops::Range<usize>; 2] = [0..24, 32..160];
/// XMM registers.
const XMM: std::ops::Range<usize> = 160..416;
/// XCOMP_BV bit 63: compacted form.
const COMPACTED: u64 = 1 << 63;
/// CPUID leaf of the layout.
const LAYOUT_LEAF: u32 = 0xd;
/// Bytes of the state without KVM_CAP_XSAVE2.
const BASE_LEN: usize = 4096;

/// One extended component.
#[derive(Debug, Clone, Copy)]
struct Component {
    bit: u64,
    offset: usize,
    len: usize,
    aligned: bool,
}

/// Where the components lie.
#[derive(Debug)]
pub struct Layout {
    components: Vec<Component>,
    len: usize,
}

impl Layout {
    /// As the host's CPUID says.
    pub fn of_host(kvm: &Kvm) -> Self {
        let len = usize::try_from(kvm.inner.check_extension_int(Cap::Xsave2)).unwrap_or(0);
        let cpuid = kvm.inner.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).ok();
        let entries = cpuid.iter().flat_map(|cpuid| cpuid.as_slice());
        let components = entries
            .filter(|e| e.function == LAYOUT_LEAF && e.index >= 2)
            .filter_map(|e| {
                // ECX bit 0: a supervisor component, without a place in the standard form.
                let user = e.ecx & 1 == 0 && e.eax > 0 && e.index < 63;
                let (offset, len) = (usize::try_from(e.ebx).ok()?, usize::try_from(e.eax).ok()?);
                user.then_some(Component {
                    bit: 1 << e.index,
                    offset,
                    len,
                    aligned: e.ecx & 2 != 0,
                })
            });
        Self {
            components: components.collect(),
            len: len.max(BASE_LEN),
        }
    }

    /// The places in memory of each component in `mask`, and the length of the whole.
    fn places(&self, mask: u64, compacted: bool) -> (Vec<(Component, usize)>, usize) {
        let mut next = EXTENDED;
        let mut end = EXTENDED;
        let mut places = Vec::new();
        for component in self.components.iter().filter(|c| mask & c.bit != 0) {
            if component.aligned {
                next = next.next_multiple_of(64);
            }
            let place = if compacted { next } else { component.offset };
            next += component.len;
            end = end.max(place + component.len);
            places.push((*component, place));
        }
        (places, end)
    }
}

/// XSAVE, XSAVEOPT (`compact` false), XSAVEC and XSAVES (`compact` true).
pub fn save(
    cpu: &Cpu<'_>,
    instruction: &Instruction,
    layout: &Layout,
    compact: bool,
) -> Result<(), Trap> {
    let mask = requested(cpu)?;
    let state = get(cpu, layout)?;
    let address = aligned(cpu.address(instruction)?)?;
    let (_, len) = layout.places(mask, compact);
    let mut area = vec![0; len];
    cpu.read(address, &mut area)?;
    merge_saved(&state, &mut area, mask, layout, compact);
    cpu.write(address, &area)
}

/// XRSTOR and XRSTORS.
pub fn restore(cpu: &Cpu<'_>, instruction: &Instruction, layout: &Layout) -> Result<(), Trap> {
    let mask = requested(cpu)?;
    let address = aligned(cpu.address(instruction)?)?;
    let area = image(layout, mask, |offset, bytes| {
        cpu.read(address.wrapping_add(offset as u64), bytes)
    })?;
    let mut state = get(cpu, layout)?;
    if mask & (SSE | AVX) != 0 && !is_mxcsr(&area, &state) {
        return Err(Fault::PROTECTION.into());
    }
    merge_restored(&area, &mut state, mask, layout);
    Ok(set(cpu, layout, &state)?)
}

/// The memory image of XRSTOR, by `read` at offsets of it. Its header says how long it is, and is
/// read once: another CPU may be changing it.
fn image(
    layout: &Layout,
    mask: u64,
    mut read: impl FnMut(usize, &mut [u8]) -> Result<(), Trap>,
) -> Result<Vec<u8>, Trap> {
    let mut area = vec![0; EXTENDED];
    read(0, &mut area)?;
    let compacted = word(&area, HEADER + 8);
    let present = if compacted & COMPACTED != 0 {
        compacted
    } else {
        mask
    };
    let (_, len) = layout.places(present & !COMPACTED, compacted & COMPACTED != 0);
    area.resize(len, 0);
    read(EXTENDED, &mut area[EXTENDED..])?;
    Ok(area)
}

/// Areas begin at multiples of 64 bytes.
fn aligned(address: u64) -> Result<u64, Fault> {
    match address % 64 {
        0 => Ok(address),
        _ => Err(Fault::PROTECTION),
    }
}

/// Whether the image's MXCSR has only bits that the processor's mask in `state` has (SDM 1, 11.6.6).
fn is_mxcsr(area: &[u8], state: &[u8]) -> bool {
    let [value, mask] = [area, state].map(|bytes| word(bytes, MXCSR.start));
    let mask = match mask >> 32 {
        0 => DEFAULT_MXCSR_MASK,
        mask => mask,
    };
    value & u64::from(u32::MAX) & !mask == 0
}

/// EDX:EAX and XCR0: the components that the instruction is about.
fn requested(cpu: &Cpu<'_>) -> Result<u64, Error> {
    let mask = cpu.register(Register::EDX) << 32 | cpu.register(Register::EAX);
    Ok(mask & cpu.xcr0()?)
}

/// Writes `state` (standard form) into the memory image `area` of XSAVE.
fn merge_saved(state: &[u8], area: &mut [u8], mask: u64, layout: &Layout, compact: bool) {
    if mask & X87 != 0 {
        X87_PARTS
            .iter()
            .for_each(|part| area[part.clone()].copy_from_slice(&state[part.clone()]));
    }
    if mask & SSE != 0 {
        area[XMM].copy_from_slice(&state[XMM]);
    }
    if mask & (SSE | AVX) != 0 {
        area[MXCSR].copy_from_slice(&state[MXCSR]);
    }
    for (component, place) in layout.places(mask, compact).0 {
        let from = &state[component.offset..][..component.len];
        area[place..][..component.len].copy_from_slice(from);
    }
    let in_use = word(state, HEADER) & mask;
    if compact {
        set_word(area, HEADER, in_use);
        set_word(area, HEADER + 8, mask | COMPACTED);
    } else {
        set_word(area, HEADER, word(area, HEADER) & !mask | in_use);
    }
}

/// Reads the memory image `area` of XRSTOR into `state` (standard form): what the image does not
/// have becomes initial, what was not asked for stays.
fn merge_restored(area: &[u8], state: &mut [u8], mask: u64, layout: &Layout) {
    let compacted = word(area, HEADER + 8);
    let loaded = word(area, HEADER) & mask;
    if loaded & X87 != 0 {
        X87_PARTS
            .iter()
            .for_each(|part| state[part.clone()].copy_from_slice(&area[part.clone()]));
    }
    if loaded & SSE != 0 {
        state[XMM].copy_from_slice(&area[XMM]);
    } else if mask & SSE != 0 {
        state[XMM].fill(0);
    }
    if mask & (SSE | AVX) != 0 {
        state[MXCSR.start..MXCSR.start + 4].copy_from_slice(&area[MXCSR.start..MXCSR.start + 4]);
    }
    let is_compacted = compacted & COMPACTED != 0;
    let present = if is_compacted {
        compacted & !COMPACTED
    } else {
        mask
    };
    for (component, place) in layout.places(present, is_compacted).0 {
        if loaded & component.bit != 0 {
            let from = &area[place..][..component.len];
            state[component.offset..][..component.len].copy_from_slice(from);
        }
    }
    let in_use = word(state, HEADER) & !mask | loaded;
    set_word(state, HEADER, in_use);
    set_word(state, HEADER + 8, 0);
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn set_word(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn buffer(layout: &Layout) -> Result<Xsave, Error> {
    let extra = (layout.len - BASE_LEN).div_ceil(4);
    Xsave::new(extra).map_err(|_| Error::Stopped("the XSAVE state is too large".to_owned()))
}

fn get(cpu: &Cpu<'_>, layout: &Layout) -> Result<Vec<u8>, Error> {
    let mut buffer = buffer(layout)?;
    // SAFETY: the buffer has the length that KVM_CAP_XSAVE2 asks for.
    let got = unsafe { cpu.fd.get_xsave2(&mut buffer) };
    got.map_err(refused("KVM_GET_XSAVE2"))?;
    let base = buffer.as_fam_struct_ref().xsave.region.iter();
    Ok(base
        .chain(buffer.as_slice())
        .flat_map(|word| word.to_le_bytes())
        .collect())
}

fn set(cpu: &Cpu<'_>, layout: &Layout, state: &[u8]) -> Result<(), Error> {
    let mut buffer = buffer(layout)?;
    let words: Vec<u32> = state
        .chunks_exact(4)
        .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let (base, extra) = words.split_at(BASE_LEN / 4);
    buffer.as_mut_slice().copy_from_slice(extra);
    // SAFETY: the length of the flexible part is not touched.
    let fam = unsafe { buffer.as_mut_fam_struct() };
    fam.xsave.region.copy_from_slice(base);
    // SAFETY: the buffer has the length that KVM_CAP_XSAVE2 asks for.
    let done = unsafe { cpu.fd.set_xsave2(&buffer) };
    done.map_err(refused("KVM_SET_XSAVE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let component = |index: u32, offset, len, aligned| Component {
            bit: 1 << index,
            offset,
            len,
            aligned,
        };
        let components = vec![component(2, 576, 256, false), component(5, 1088, 64, true)];
        Layout {
            components,
            len: BASE_LEN,
        }
    }

    fn state() -> Vec<u8> {
        let mut state = vec![0; BASE_LEN];
        state[0..416].fill(1);
        state[576..832].fill(2);
        state[1088..1152].fill(5);
        set_word(&mut state, HEADER, X87 | SSE | AVX | 1 << 5);
        state
    }

    #[test]
    fn what_is_saved_comes_back_in_both_forms() {
        let (layout, mask) = (layout(), X87 | SSE | AVX | 1 << 5);
        for compact in [false, true] {
            let mut area = vec![0xee; layout.places(mask, compact).1];
            area[HEADER..EXTENDED].fill(0);
            merge_saved(&state(), &mut area, mask, &layout, compact);
            let mut restored = vec![0; BASE_LEN];
            merge_restored(&area, &mut restored, mask, &layout);
            // MXCSR_MASK says what the processor can do; restoring does not change it.
            restored[28..32].fill(1);
            assert_eq!(restored[..416], state()[..416], "compact: {compact}");
            assert_eq!(
                restored[576..1152],
                state()[576..1152],
                "compact: {compact}"
            );
            assert_eq!(word(&restored, HEADER), mask);
        }
    }

    #[test]
    fn components_outside_the_mask_stay() {
        let layout = layout();
        let mut area = vec![0; 1152];
        merge_saved(&state(), &mut area, AVX, &layout, false);
        assert_eq!((area[0], area[600], area[1100]), (0, 2, 0));
        assert_eq!(word(&area, HEADER), AVX);
        let mut kept = state();
        merge_restored(&vec![0; 1152], &mut kept, AVX, &layout);
        assert_eq!(
            word(&kept, HEADER),
            X87 | SSE | 1 << 5,
            "an absent component becomes initial"
        );
        assert_eq!(kept[200], 1);
    }

    #[test]
    fn a_header_that_changes_while_it_is_read_is_read_once() {
        let (layout, mask) = (layout(), X87 | SSE | AVX | 1 << 5);
        let mut reads = 0;
        let area = image(&layout, mask, |offset, bytes| {
            reads += 1;
            bytes.fill(0);
            // First standard and short, then compacted and with everything in use.
            if let Some(header) = bytes.get_mut(HEADER..EXTENDED).filter(|_| reads > 1) {
                header.fill(0xff);
            }
            assert_eq!((offset, bytes.len()), [(0, 576), (576, 576)][reads - 1]);
            Ok(())
        });
        merge_restored(&area.unwrap(), &mut state(), mask, &layout);
    }

    #[test]
    fn mxcsr_has_reserved_bits_and_areas_an_alignment() {
        let mut area = vec![0; EXTENDED];
        let mut state = state();
        state[MXCSR].copy_from_slice(&[0, 0, 0, 0, 0xff, 0xff, 0, 0]);
        area[MXCSR.start..][..4].copy_from_slice(&0x1f80u32.to_le_bytes());
        assert!(is_mxcsr(&area, &state));
        area[MXCSR.start..][..4].copy_from_slice(&0x1_0000u32.to_le_bytes());
        assert!(!is_mxcsr(&area, &state));
        assert_eq!(aligned(0x1040), Ok(0x1040));
        assert_eq!(aligned(0x1048), Err(Fault::PROTECTION));
    }

    proptest::proptest! {
        #[test]
        fn no_image_makes_it_panic(
            header in proptest::collection::vec(proptest::prelude::any::<u8>(), 64),
            mask: u64,
        ) {
            let layout = layout();
            let area = image(&layout, mask, |offset, bytes| {
                bytes.fill(0x5a);
                if offset == 0 {
                    bytes[HEADER..EXTENDED].copy_from_slice(&header);
                }
                Ok(())
            });
            let area = area.unwrap();
            proptest::prop_assert!(area.len() <= 1152);
            merge_restored(&area, &mut state(), mask, &layout);
            for compact in [false, true] {
                let mut area = vec![0; layout.places(mask, compact).1];
                merge_saved(&state(), &mut area, mask, &layout, compact);
            }
        }
    }
}
