//! What the guest reads with CPUID.

use kvm_bindings::{
    CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2,
};

use super::error::{Error, refused};
use super::host::Kvm;

/// Leaf 1: features (Intel SDM, CPUID).
const FEATURES: u32 = 1;
/// Leaf 1, ECX: running under a hypervisor.
const HYPERVISOR_BIT: u32 = 1 << 31;
/// Leaf 1, ECX: TSC deadline timer, which KVM's local APIC has.
const TSC_DEADLINE_BIT: u32 = 1 << 24;
/// Leaf 1, EDX: hyper-threading, which means "EBX has a CPU count".
const HTT_BIT: u32 = 1 << 28;
/// Leaf 4 and 0x8000001d: caches and who shares them.
const CACHES: u32 = 4;
/// Topology by x2APIC ID.
const TOPOLOGY: u32 = 0xb;
/// The same with more levels, which a guest prefers where it is there.
const TOPOLOGY_V2: u32 = 0x1f;
/// Leaf 0xb, ECX 15:8: what a level is made of.
const LEVEL_THREADS: u32 = 1 << 8;
const LEVEL_CORES: u32 = 2 << 8;
/// AMD: cache topology.
const AMD_CACHES: u32 = 0x8000_001d;
/// AMD: core count.
const AMD_CORES: u32 = 0x8000_0008;
/// AMD: extended APIC ID.
const AMD_APIC_ID: u32 = 0x8000_001e;

/// The host's CPUID as KVM can give it, made that of vCPU `id` of `count`: one package of `count`
/// cores with one thread each.
pub fn build(kvm: &Kvm, id: u8, count: u8) -> Result<CpuId, Error> {
    let supported = kvm.inner.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
    let supported = supported.map_err(refused("KVM_GET_SUPPORTED_CPUID"))?;
    let (apic_id, cores) = (u32::from(id), u32::from(count));
    let id_bits = u32::BITS - (cores - 1).leading_zeros();
    let mut entries = supported.as_slice().to_vec();
    // KVM gives the host's levels, or none.
    entries.retain(|entry| !matches!(entry.function, TOPOLOGY | TOPOLOGY_V2));
    entries.extend(topology(apic_id, cores, id_bits));
    for entry in &mut entries {
        match entry.function {
            FEATURES => {
                entry.ebx =
                    (entry.ebx & 0xffff) | (cores.next_power_of_two() & 0xff) << 16 | apic_id << 24;
                entry.ecx |= HYPERVISOR_BIT | TSC_DEADLINE_BIT;
                entry.edx = set(entry.edx, HTT_BIT, count > 1);
            }
            CACHES | AMD_CACHES if entry.eax & 0x1f != 0 => {
                // Bits 25:14: threads sharing this cache, less one; 31:26: cores, less one.
                let level = entry.eax >> 5 & 7;
                let sharing = if level >= 3 { cores - 1 } else { 0 };
                entry.eax = entry.eax & 0x3fff | sharing << 14;
                if entry.function == CACHES {
                    entry.eax |= ((1 << id_bits) - 1) << 26;
                }
            }
            AMD_CORES => entry.ecx = id_bits << 12 | (cores - 1),
            AMD_APIC_ID => (entry.eax, entry.ebx, entry.ecx) = (apic_id, apic_id, 0),
            _ => {}
        }
    }
    Ok(CpuId::from_entries(&entries).expect("KVM's entries and three are fewer than the most"))
}

/// The levels above a logical processor: one thread to a core, `cores` to the package, and no more.
fn topology(apic_id: u32, cores: u32, id_bits: u32) -> [kvm_cpuid_entry2; 3] {
    let level = |index, eax, ebx, kind| kvm_cpuid_entry2 {
        function: TOPOLOGY,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax,
        ebx,
        ecx: index | kind,
        edx: apic_id,
        ..Default::default()
    };
    [
        level(0, 0, 1, LEVEL_THREADS),
        level(1, id_bits, cores, LEVEL_CORES),
        level(2, 0, 0, 0),
    ]
}

fn set(word: u32, bit: u32, on: bool) -> u32 {
    if on { word | bit } else { word & !bit }
}
