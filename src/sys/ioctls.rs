//! The names of ioctl requests, as Linux on x86-64 numbers them: those of KVM (linux/kvm.h), and those
//! that programs and container runtimes make (asm-generic/ioctls.h, linux/fs.h, linux/sockios.h,
//! linux/nsfs.h, linux/seccomp.h, linux/vhost.h).

use std::borrow::Cow;

/// Requests by number, ascending.
const NAMES: [(u32, &str); 147] = [
    (0x0000_4c00, "LOOP_SET_FD"),
    (0x0000_4c82, "LOOP_CTL_GET_FREE"),
    (0x0000_5401, "TCGETS"),
    (0x0000_5402, "TCSETS"),
    (0x0000_5403, "TCSETSW"),
    (0x0000_5404, "TCSETSF"),
    (0x0000_540e, "TIOCSCTTY"),
    (0x0000_540f, "TIOCGPGRP"),
    (0x0000_5410, "TIOCSPGRP"),
    (0x0000_5413, "TIOCGWINSZ"),
    (0x0000_5414, "TIOCSWINSZ"),
    (0x0000_541b, "FIONREAD"),
    (0x0000_5421, "FIONBIO"),
    (0x0000_5422, "TIOCNOTTY"),
    (0x0000_5441, "TIOCGPTPEER"),
    (0x0000_5450, "FIONCLEX"),
    (0x0000_5451, "FIOCLEX"),
    (0x0000_5452, "FIOASYNC"),
    (0x0000_8912, "SIOCGIFCONF"),
    (0x0000_8913, "SIOCGIFFLAGS"),
    (0x0000_8914, "SIOCSIFFLAGS"),
    (0x0000_8915, "SIOCGIFADDR"),
    (0x0000_8933, "SIOCGIFINDEX"),
    (0x0000_8946, "SIOCETHTOOL"),
    (0x0000_ae00, "KVM_GET_API_VERSION"),
    (0x0000_ae01, "KVM_CREATE_VM"),
    (0x0000_ae03, "KVM_CHECK_EXTENSION"),
    (0x0000_ae04, "KVM_GET_VCPU_MMAP_SIZE"),
    (0x0000_ae41, "KVM_CREATE_VCPU"),
    (0x0000_ae44, "KVM_SET_NR_MMU_PAGES"),
    (0x0000_ae45, "KVM_GET_NR_MMU_PAGES"),
    (0x0000_ae47, "KVM_SET_TSS_ADDR"),
    (0x0000_ae60, "KVM_CREATE_IRQCHIP"),
    (0x0000_ae64, "KVM_CREATE_PIT"),
    (0x0000_ae71, "KVM_REINJECT_CONTROL"),
    (0x0000_ae78, "KVM_SET_BOOT_CPU_ID"),
    (0x0000_ae80, "KVM_RUN"),
    (0x0000_ae9a, "KVM_NMI"),
    (0x0000_aea2, "KVM_SET_TSC_KHZ"),
    (0x0000_aea3, "KVM_GET_TSC_KHZ"),
    (0x0000_aead, "KVM_KVMCLOCK_CTRL"),
    (0x0000_aeb7, "KVM_SMI"),
    (0x0000_aec7, "KVM_RESET_DIRTY_RINGS"),
    (0x0000_aece, "KVM_GET_STATS_FD"),
    (0x0000_af01, "VHOST_SET_OWNER"),
    (0x0000_b701, "NS_GET_USERNS"),
    (0x0000_b702, "NS_GET_PARENT"),
    (0x0000_b703, "NS_GET_NSTYPE"),
    (0x0000_b704, "NS_GET_OWNER_UID"),
    (0x4004_5431, "TIOCSPTLCK"),
    (0x4004_54ca, "TUNSETIFF"),
    (0x4004_54d0, "TUNSETOFFLOAD"),
    (0x4004_54d8, "TUNSETVNETHDRSZ"),
    (0x4004_9409, "FICLONE"),
    (0x4004_ae86, "KVM_INTERRUPT"),
    (0x4004_ae8b, "KVM_SET_SIGNAL_MASK"),
    (0x4004_ae99, "KVM_SET_MP_STATE"),
    (0x4008_6602, "FS_IOC_SETFLAGS"),
    (0x4008_ae48, "KVM_SET_IDENTITY_MAP_ADDR"),
    (0x4008_ae61, "KVM_IRQ_LINE"),
    (0x4008_ae6a, "KVM_SET_GSI_ROUTING"),
    (0x4008_ae89, "KVM_SET_MSRS"),
    (0x4008_ae8a, "KVM_SET_CPUID"),
    (0x4008_ae90, "KVM_SET_CPUID2"),
    (0x4008_ae93, "KVM_SET_VAPIC_ADDR"),
    (0x4008_ae9c, "KVM_X86_SETUP_MCE"),
    (0x4008_af00, "VHOST_SET_FEATURES"),
    (0x4008_af03, "VHOST_SET_MEM_TABLE"),
    (0x4008_af10, "VHOST_SET_VRING_NUM"),
    (0x4008_af12, "VHOST_SET_VRING_BASE"),
    (0x4008_af20, "VHOST_SET_VRING_KICK"),
    (0x4008_af21, "VHOST_SET_VRING_CALL"),
    (0x4008_af22, "VHOST_SET_VRING_ERR"),
    (0x4008_af30, "VHOST_NET_SET_BACKEND"),
    (0x4010_ae42, "KVM_GET_DIRTY_LOG"),
    (0x4010_aeab, "KVM_GET_ONE_REG"),
    (0x4010_aeac, "KVM_SET_ONE_REG"),
    (0x4018_aebd, "KVM_HYPERV_EVENTFD"),
    (0x4018_aee1, "KVM_SET_DEVICE_ATTR"),
    (0x4018_aee2, "KVM_GET_DEVICE_ATTR"),
    (0x4018_aee3, "KVM_HAS_DEVICE_ATTR"),
    (0x4020_940d, "FICLONERANGE"),
    (0x4020_ae46, "KVM_SET_USER_MEMORY_REGION"),
    (0x4020_ae76, "KVM_IRQFD"),
    (0x4020_aea5, "KVM_SIGNAL_MSI"),
    (0x4020_aeb2, "KVM_SET_PMU_EVENT_FILTER"),
    (0x4028_af11, "VHOST_SET_VRING_ADDR"),
    (0x4030_ae7b, "KVM_SET_CLOCK"),
    (0x4040_ae77, "KVM_CREATE_PIT2"),
    (0x4040_ae79, "KVM_IOEVENTFD"),
    (0x4040_ae9e, "KVM_X86_SET_MCE"),
    (0x4040_aea0, "KVM_SET_VCPU_EVENTS"),
    (0x4048_ae9b, "KVM_SET_GUEST_DEBUG"),
    (0x4068_aea3, "KVM_ENABLE_CAP"),
    (0x4070_aea0, "KVM_SET_PIT2"),
    (0x4080_aea2, "KVM_SET_DEBUGREGS"),
    (0x4080_aebf, "KVM_SET_NESTED_STATE"),
    (0x4090_ae82, "KVM_SET_REGS"),
    (0x4138_ae84, "KVM_SET_SREGS"),
    (0x4140_aecd, "KVM_SET_SREGS2"),
    (0x4188_aea7, "KVM_SET_XCRS"),
    (0x4188_aec6, "KVM_X86_SET_MSR_FILTER"),
    (0x41a0_ae8d, "KVM_SET_FPU"),
    (0x4400_ae8f, "KVM_SET_LAPIC"),
    (0x5000_aea5, "KVM_SET_XSAVE"),
    (0x8004_5430, "TIOCGPTN"),
    (0x8004_ae98, "KVM_GET_MP_STATE"),
    (0x8008_1272, "BLKGETSIZE64"),
    (0x8008_6601, "FS_IOC_GETFLAGS"),
    (0x8008_ae9d, "KVM_X86_GET_MCE_CAP_SUPPORTED"),
    (0x8008_af00, "VHOST_GET_FEATURES"),
    (0x8010_aebb, "KVM_MEMORY_ENCRYPT_REG_REGION"),
    (0x8010_aebc, "KVM_MEMORY_ENCRYPT_UNREG_REGION"),
    (0x8030_ae7c, "KVM_GET_CLOCK"),
    (0x8040_ae9f, "KVM_GET_VCPU_EVENTS"),
    (0x8048_ae66, "KVM_SET_PIT"),
    (0x8070_ae9f, "KVM_GET_PIT2"),
    (0x8080_aea1, "KVM_GET_DEBUGREGS"),
    (0x8090_ae81, "KVM_GET_REGS"),
    (0x8138_ae83, "KVM_GET_SREGS"),
    (0x8140_aecc, "KVM_GET_SREGS2"),
    (0x8188_aea6, "KVM_GET_XCRS"),
    (0x81a0_ae8c, "KVM_GET_FPU"),
    (0x8208_ae63, "KVM_SET_IRQCHIP"),
    (0x8400_ae8e, "KVM_GET_LAPIC"),
    (0x9000_aea4, "KVM_GET_XSAVE"),
    (0x9000_aecf, "KVM_GET_XSAVE2"),
    (0xc004_ae02, "KVM_GET_MSR_INDEX_LIST"),
    (0xc004_ae0a, "KVM_GET_MSR_FEATURE_INDEX_LIST"),
    (0xc008_ae05, "KVM_GET_SUPPORTED_CPUID"),
    (0xc008_ae09, "KVM_GET_EMULATED_CPUID"),
    (0xc008_ae67, "KVM_IRQ_LINE_STATUS"),
    (0xc008_ae88, "KVM_GET_MSRS"),
    (0xc008_ae91, "KVM_GET_CPUID2"),
    (0xc008_aeb0, "KVM_GET_REG_LIST"),
    (0xc008_aeba, "KVM_MEMORY_ENCRYPT_OP"),
    (0xc008_aec1, "KVM_GET_SUPPORTED_HV_CPUID"),
    (0xc008_af12, "VHOST_GET_VRING_BASE"),
    (0xc00c_aee0, "KVM_CREATE_DEVICE"),
    (0xc018_2101, "SECCOMP_IOCTL_NOTIF_SEND"),
    (0xc018_ae85, "KVM_TRANSLATE"),
    (0xc018_aec0, "KVM_CLEAR_DIRTY_LOG"),
    (0xc028_ae92, "KVM_TPR_ACCESS_REPORTING"),
    (0xc048_ae65, "KVM_GET_PIT"),
    (0xc050_2100, "SECCOMP_IOCTL_NOTIF_RECV"),
    (0xc080_aebe, "KVM_GET_NESTED_STATE"),
    (0xc208_ae62, "KVM_GET_IRQCHIP"),
];

/// The name of `request`; what its number says where it has none here: direction, type and number
/// (asm-generic/ioctl.h).
pub fn name(request: u32) -> Cow<'static, str> {
    match NAMES.binary_search_by_key(&request, |(number, _)| *number) {
        Ok(found) => Cow::Borrowed(NAMES[found].1),
        Err(_) => Cow::Owned(describe(request)),
    }
}

/// `_IOR('T',0x30) 0x80045430`; the type's letter is a number where it is none.
fn describe(request: u32) -> String {
    let direction = match request >> 30 {
        0 => "_IO",
        1 => "_IOW",
        2 => "_IOR",
        _ => "_IOWR",
    };
    let [number, kind, ..] = request.to_le_bytes();
    let kind = match char::from(kind) {
        letter if letter.is_ascii_graphic() => format!("'{letter}'"),
        _ => format!("{kind:#04x}"),
    };
    format!("{direction}({kind},{number:#04x}) {request:#010x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_names_or_say_what_they_are() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(name(0xae80), "KVM_RUN");
        assert_eq!(name(0xae01), "KVM_CREATE_VM");
        assert_eq!(name(u32::try_from(libc::TCGETS).unwrap()), "TCGETS");
        assert_eq!(name(u32::try_from(libc::FIONBIO).unwrap()), "FIONBIO");
        assert_eq!(name(0x8004_543f), "_IOR('T',0x3f) 0x8004543f");
        assert_eq!(name(0xff00_0001), "_IOWR(0x00,0x01) 0xff000001");
    }
}
