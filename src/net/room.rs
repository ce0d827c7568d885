//! How many conversations there may be at one time: each is an open file of the process that has them.

use super::flows::MOST_FLOWS;

/// Files that are for everything else: ports, networks, a machine's disks and its talk.
const RESERVE: usize = 512;

/// For how many conversations a process has room that may have so many files open, and shares folders with its guest or does not:
/// each file that the guest knows of those is open, too.
pub fn room(open_files: usize, shares: bool) -> usize {
    let half = open_files / 2;
    let files = match shares {
        true => half,
        false => half.max(open_files.saturating_sub(RESERVE)),
    };
    files.min(MOST_FLOWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_files_there_are_and_no_more() {
        assert_eq!(room(100, false), 50);
        assert_eq!(room(4096, false), 4096 - RESERVE);
        assert_eq!(room(4096, true), 2048);
        assert_eq!(room(1 << 20, true), MOST_FLOWS);
        assert_eq!(room(usize::MAX, false), MOST_FLOWS);
    }
}
