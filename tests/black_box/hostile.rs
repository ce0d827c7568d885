//! Workloads that mean harm, as root in their machine: husk tells how it ended, and soon.

use crate::husk::{Husk, Said};

/// ```asm
///     mmap a stack for signals and leave it untouched; sigaltstack
///     sigaction(SIGUSR1, handle, SA_ONSTACK | SA_RESTORER); kill(getpid(), SIGUSR1)
///     write(1, "back\n", 5); exit(0)
/// handle:
///     write(1, "handled\n", 8)
/// ```
/// The kernel saves the FPU's state to a page that is not there yet, and counts on the page fault.
const SIGNAL_ON_A_NEW_STACK: [u8; 193] = hex(
    b"b80900000031ffbe00000100ba0300000041ba2200000049c7c0ffffffff4531c90f0568000001006a0050b883\
    0000004889e731f60f056a00488d056d00000050680000000c488d054700000050b80d000000bf0a0000004889e6\
    31d241ba080000000f05b8270000000f0589c7be0a000000b83e0000000f05488d353b000000ba05000000e81500\
    0000b83c00000031ff0f05488d3519000000ba08000000b801000000bf010000000f05c3b80f0000000f0568616e\
    646c65640a6261636b0a",
);

const fn hex<const N: usize>(text: &[u8]) -> [u8; N] {
    const fn digit(letter: u8) -> u8 {
        match letter {
            b'a'..=b'f' => letter - b'a' + 10,
            _ => letter - b'0',
        }
    }
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = digit(text[2 * at]) << 4 | digit(text[2 * at + 1]);
        at += 1;
    }
    bytes
}

/// A static ELF file of this code: one segment, header included.
fn program(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let len = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    // Entry, program headers, no sections; then sizes.
    for word in [BASE + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // PT_LOAD, readable and executable: offset, addresses, lengths, alignment.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, len, len, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

fn shell(script: &str) -> Said {
    Husk::shared().say(&["run", "busybox", "sh", "-c", script])
}

#[test]
fn a_guest_that_halts_or_reboots_is_told_and_its_last_words_are_kept() {
    for (how, word) in [("poweroff -f", "halted"), ("reboot -f", "reset")] {
        let said = shell(&format!("echo last words; sleep 1; {how}"));
        assert_eq!((said.status, said.out().as_str()), (125, "last words\n"));
        let first = said.stderr.lines().next().unwrap();
        assert!(
            first.contains("ended before its workload") && said.stderr.contains(word),
            "{how}: {}",
            said.stderr
        );
    }
}

#[test]
fn pid_1_does_not_die_by_its_workloads_hand() {
    let said = shell("kill -9 1; kill -STOP 1; kill -SEGV 1; echo alive; exit 3");
    assert_eq!((said.status, said.out().as_str()), (3, "alive\n"));
}

#[test]
fn leftovers_die_with_the_workload() {
    let said = shell("for i in 1 2 3 4 5 6 7 8; do (trap '' TERM; sleep 1000) & done; exit 3");
    assert_eq!((said.status, said.stderr.as_str()), (3, ""));
}

#[test]
fn signals_are_taken_on_stacks_that_are_not_there_yet() {
    let run = "cat > /tmp/it; chmod +x /tmp/it; exec /tmp/it";
    let args = ["run", "-i", "busybox", "sh", "-c", run];
    let said = Husk::shared().feed(&args, &program(&SIGNAL_ON_A_NEW_STACK));
    assert_eq!(
        (said.status, said.out().as_str(), said.stderr.as_str()),
        (0, "handled\nback\n", "")
    );
}
