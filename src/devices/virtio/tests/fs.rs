//! The file system device: what a guest does with a folder, and what it must not.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};

use super::driver::{BUFFERS, readable, writable};
use super::fuse::{Guest, REQUESTS, SECRET, content, names, string, touch};
use crate::devices::virtio::fs::op;
use crate::devices::virtio::registers as reg;
use crate::kvm::bus::BusDevice;

const RDWR: i32 = libc::O_RDWR;

#[test]
fn the_configuration_says_its_tag_and_queues() {
    let mut guest = Guest::new();
    let mut config = [0xff; 44];
    guest.driver.transport.read(reg::CONFIG, &mut config);
    assert_eq!(&config[..5], b"husk\0");
    assert_eq!(config[36..], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(guest.driver.read(reg::DEVICE_ID), 26);
}

#[test]
fn files_are_made_written_read_renamed_linked_and_removed() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    let (made, handle) = guest.create(0, share, "new", RDWR).unwrap();
    assert_eq!((made.mode, made.uid), (0o100_644, 0));
    assert_eq!(guest.write(handle, 3, b"hello"), Ok(5));
    assert_eq!(guest.read(handle, 0, 100).unwrap(), b"\0\0\0hello");
    assert_eq!(fs::read(guest.path("share/new")).unwrap(), b"\0\0\0hello");
    let rename = [
        &guest.look_up(share, "dir").unwrap().node.to_le_bytes()[..],
        b"new\0old\0",
    ];
    guest.ask(op::RENAME, share, &rename.concat()).unwrap();
    assert_eq!(guest.look_up(share, "new"), Err(libc::ENOENT));
    let link = [&made.node.to_le_bytes()[..], b"again\0"].concat();
    guest.ask(op::LINK, share, &link).unwrap();
    assert_eq!(guest.look_up(share, "again").unwrap().node, made.node);
    assert_eq!(
        fs::metadata(guest.path("share/dir/old")).unwrap().nlink(),
        2
    );
    guest.ask(op::UNLINK, share, b"again\0").unwrap();
    assert_eq!(
        guest.read(handle, 3, 5).unwrap(),
        b"hello",
        "it is open yet"
    );
    let mkdir = [&0o755u32.to_le_bytes()[..], &[0; 4], b"more\0"].concat();
    guest.ask(op::MKDIR, share, &mkdir).unwrap();
    assert_eq!(guest.ask(op::RMDIR, share, b"dir\0"), Err(libc::ENOTEMPTY));
    guest.ask(op::RMDIR, share, b"more\0").unwrap();
    guest
        .ask(op::SYMLINK, share, b"link\0/etc/passwd\0")
        .unwrap();
    let link = guest.look_up(share, "link").unwrap();
    assert_eq!(
        guest.ask(op::READLINK, link.node, b""),
        Ok(b"/etc/passwd".to_vec())
    );
    assert!(guest.kept_in());
}

#[test]
fn directories_are_read_in_pieces_and_whole() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    (0..200).for_each(|index| touch(guest.path(&format!("share/dir/many-{index}"))));
    let dir = guest.look_up(share, "dir").unwrap().node;
    let handle = guest.ask(op::OPENDIR, dir, &[0; 8]).unwrap();
    let handle = u64::from_le_bytes(handle[..8].try_into().unwrap());
    let whole = guest
        .ask(op::READDIR, dir, &content(handle, 0, 60_000))
        .unwrap();
    let all = names(&whole);
    assert_eq!(all.len(), 204);
    let (mut pieces, mut offset) = (Vec::new(), 0);
    loop {
        let piece = guest
            .ask(op::READDIR, dir, &content(handle, offset, 500))
            .unwrap();
        if piece.is_empty() {
            break;
        }
        let last = names_with_offsets(&piece);
        offset = last.last().unwrap().1;
        pieces.extend(last.into_iter().map(|(name, _)| name));
    }
    pieces.sort();
    assert_eq!(pieces, all);
    let plus = guest
        .ask(op::READDIRPLUS, dir, &content(handle, 0, 60_000))
        .unwrap();
    assert!(plus.len() > whole.len() + 128 * 200);
    guest
        .ask(op::RELEASEDIR, dir, &content(handle, 0, 0))
        .unwrap();
    let closed = guest.ask(op::READDIR, dir, &content(handle, 0, 500));
    assert_eq!(closed, Err(libc::EBADF));
}

fn names_with_offsets(mut answer: &[u8]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    while answer.len() >= 24 {
        let name = names(answer_one(answer)).remove(0);
        let offset = u64::from_le_bytes(answer[8..16].try_into().unwrap());
        answer = &answer[answer_one(answer).len()..];
        found.push((name, offset));
    }
    found
}

/// The first entry of an answer.
fn answer_one(answer: &[u8]) -> &[u8] {
    let len = usize::try_from(u32::from_le_bytes(answer[16..20].try_into().unwrap())).unwrap();
    &answer[..(24 + len).next_multiple_of(8)]
}

#[test]
fn a_read_only_share_is_read_only_here() {
    let mut guest = Guest::new();
    let (open, closed) = (guest.share(0), guest.share(1));
    let file = guest.look_up(closed, "file").unwrap().node;
    let handle = guest.open(file, libc::O_RDONLY).unwrap();
    assert_eq!(guest.read(handle, 0, 7).unwrap(), b"content");
    assert_eq!(guest.write(handle, 0, b"x"), Err(libc::EBADF));
    for flags in [libc::O_WRONLY, RDWR, libc::O_RDONLY | libc::O_TRUNC] {
        assert_eq!(guest.open(file, flags), Err(libc::EROFS));
    }
    let refused = |answer: Result<Vec<u8>, i32>| assert_eq!(answer, Err(libc::EROFS));
    assert_eq!(
        guest.create(0, closed, "x", RDWR).map(|_| ()),
        Err(libc::EROFS)
    );
    refused(guest.ask(op::UNLINK, closed, b"file\0"));
    refused(guest.ask(op::RMDIR, closed, b"dir\0"));
    refused(guest.ask(op::SYMLINK, closed, b"a\0b\0"));
    refused(guest.ask(op::MKDIR, closed, &[&[0; 8], &b"x\0"[..]].concat()));
    let fifo = [&(libc::S_IFIFO | 0o600).to_le_bytes()[..], &[0; 12], b"x\0"].concat();
    refused(guest.ask(op::MKNOD, closed, &fifo));
    refused(guest.ask(
        op::RENAME,
        closed,
        &[&closed.to_le_bytes()[..], b"file\0x\0"].concat(),
    ));
    refused(guest.ask(
        op::RENAME,
        open,
        &[&closed.to_le_bytes()[..], b"file\0x\0"].concat(),
    ));
    refused(guest.ask(
        op::LINK,
        closed,
        &[&file.to_le_bytes()[..], b"x\0"].concat(),
    ));
    let mut chmod = [0; 88];
    chmod[0] = 1;
    refused(guest.ask(op::SETATTR, file, &chmod));
    let xattr = [&1u32.to_le_bytes()[..], &[0; 4], b"user.x\0y"].concat();
    refused(guest.ask(op::SETXATTR, file, &xattr));
    refused(guest.ask(op::REMOVEXATTR, file, b"user.x\0"));
    // What is read-only there may not get a name where it is not.
    let link = [&file.to_le_bytes()[..], b"writable\0"].concat();
    assert_eq!(guest.ask(op::LINK, open, &link), Err(libc::EXDEV));
    assert_eq!(fs::read(guest.path("share/file")).unwrap(), b"content");
}

#[test]
fn one_file_is_all_that_a_shared_file_is() {
    let mut guest = Guest::new();
    let file = guest.share(2);
    let handle = guest.open(file, RDWR).unwrap();
    assert_eq!(guest.read(handle, 0, 100).unwrap(), b"one file");
    for name in ["secret", "outside", "lonely"] {
        assert_eq!(guest.look_up(file, name), Err(libc::ENOTDIR));
    }
    assert_eq!(guest.ask(op::OPENDIR, file, &[0; 8]), Err(libc::ENOTDIR));
    assert_eq!(guest.look_up(1, "3"), Err(libc::ENOENT));
    assert_eq!(guest.look_up(1, "share"), Err(libc::ENOENT));
    assert_eq!(guest.ask(op::OPENDIR, 1, &[0; 8]), Err(libc::EACCES));
}

#[test]
fn no_name_leads_out() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    for name in [
        "..",
        ".",
        "",
        "../outside",
        "/etc",
        "dir/inner",
        "up/secret",
    ] {
        assert_eq!(guest.look_up(share, name), Err(libc::EINVAL), "{name}");
        let made = guest.create(0, share, name, RDWR);
        assert_eq!(made.map(|_| ()), Err(libc::EINVAL), "{name}");
        assert_eq!(
            guest.ask(op::UNLINK, share, &string(name)),
            Err(libc::EINVAL),
            "{name}"
        );
    }
    let (up, absolute) = (
        guest.look_up(share, "up").unwrap(),
        guest.look_up(share, "absolute").unwrap(),
    );
    assert_eq!(up.mode & libc::S_IFMT, libc::S_IFLNK);
    assert_eq!(guest.look_up(up.node, "secret"), Err(libc::ENOTDIR));
    assert!(guest.open(absolute.node, RDWR).is_err());
    assert!(guest.ask(op::OPENDIR, up.node, &[0; 8]).is_err());
    // Without O_EXCL what is there is opened: not through a link.
    assert!(
        guest
            .create(0, share, "absolute", RDWR | libc::O_TRUNC)
            .is_err()
    );
    let mut truncate = [0; 88];
    truncate[0] = 1 << 3;
    assert!(guest.ask(op::SETATTR, absolute.node, &truncate).is_err());
    let mut chmod = [0; 88];
    (chmod[0], chmod[68]) = (1, 7);
    assert!(guest.ask(op::SETATTR, absolute.node, &chmod).is_err());
    assert!(guest.kept_in());
}

#[test]
fn pipes_and_devices_are_nothing_to_open_and_devices_are_not_made() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    let node = |kind: u32| [&(kind | 0o600).to_le_bytes()[..], &[0; 12], b"node\0"].concat();
    for kind in [libc::S_IFCHR, libc::S_IFBLK, libc::S_IFDIR, libc::S_IFLNK] {
        assert_eq!(guest.ask(op::MKNOD, share, &node(kind)), Err(libc::EPERM));
    }
    guest.ask(op::MKNOD, share, &node(libc::S_IFIFO)).unwrap();
    let pipe = guest.look_up(share, "node").unwrap().node;
    assert_eq!(guest.open(pipe, libc::O_RDONLY), Err(libc::EOPNOTSUPP));
    let created = guest.create(0, share, "node", libc::O_WRONLY);
    assert_eq!(created.map(|_| ()), Err(libc::EOPNOTSUPP));
}

#[test]
fn what_was_forgotten_or_never_known_is_stale() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    let file = guest.look_up(share, "file").unwrap().node;
    let handle = guest.open(file, libc::O_RDONLY).unwrap();
    let forget = [
        &1u32.to_le_bytes()[..],
        &[0; 4],
        &file.to_le_bytes(),
        &u64::MAX.to_le_bytes(),
    ];
    guest.driver.put(
        BUFFERS,
        &[
            &64u32.to_le_bytes()[..],
            &op::BATCH_FORGET.to_le_bytes(),
            &[0; 32],
            &forget.concat(),
        ]
        .concat(),
    );
    guest.send(&[readable(BUFFERS, 64)]);
    assert_eq!(guest.open(file, libc::O_RDONLY), Err(libc::ESTALE));
    assert_eq!(guest.read(handle, 0, 7).unwrap(), b"content");
    for node in [0, 77, u64::MAX] {
        assert_eq!(guest.look_up(node, "file"), Err(libc::ESTALE));
        assert_eq!(guest.ask(op::GETATTR, node, &[0; 16]), Err(libc::ESTALE));
    }
    for handle in [0, 77, u64::MAX] {
        assert_eq!(guest.read(handle, 0, 7), Err(libc::EBADF));
        assert_eq!(
            guest.ask(op::RELEASE, file, &content(handle, 0, 0)),
            Err(libc::EBADF)
        );
    }
    assert_eq!(guest.ask(999, share, &[0; 64]), Err(libc::ENOSYS));
}

#[test]
fn a_guest_takes_no_more_descriptors_than_it_is_given() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    let file = guest.look_up(share, "file").unwrap().node;
    let opened = std::iter::repeat_with(|| guest.open(file, libc::O_RDONLY)).take(2000);
    let answers: Vec<_> = opened.collect();
    assert_eq!(
        answers.iter().filter(|answer| answer.is_ok()).count(),
        1000 - 256 - 2
    );
    assert_eq!(answers.last(), Some(&Err(libc::ENFILE)));
    guest.begin();
    let share = guest.share(0);
    assert!(
        guest.look_up(share, "file").is_ok(),
        "who begins again has nothing"
    );
}

#[test]
fn a_guest_that_knows_much_is_told_to_forget() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    let mut validity = |name: &str| {
        touch(guest.path(&format!("share/{name}")));
        let answer = guest.ask(op::LOOKUP, share, &string(name)).unwrap();
        u64::from_le_bytes(answer[16..24].try_into().unwrap())
    };
    let told: Vec<_> = (0..400)
        .map(|number| validity(&number.to_string()))
        .collect();
    let (few, many) = told.split_at((1000 - 256) / 2 - 2);
    assert!(few.iter().all(|seconds| *seconds == 1));
    assert!(many.iter().all(|seconds| *seconds == 0));
}

#[test]
fn what_was_read_is_kept_until_the_file_changes() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    let path = guest.path("share/file");
    let file = guest.look_up(share, "file").unwrap().node;
    let mut flags = || {
        let answer = guest.ask(op::OPEN, file, &[0; 8]).unwrap();
        u32::from_le_bytes(answer[8..12].try_into().unwrap())
    };
    assert_eq!([flags(), flags()], [0, 0], "it is too new to tell");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!([flags(), flags()], [0, 2]);
    fs::write(&path, "others").unwrap();
    assert_eq!([flags(), flags()], [0, 0]);
}

#[test]
fn files_of_the_user_are_roots_in_the_guest() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    let own = rustix::process::geteuid().as_raw();
    let (made, _) = guest.create(0, share, "roots", RDWR).unwrap();
    assert_eq!(made.uid, 0);
    let (made, _) = guest.create(1234, share, "others", RDWR).unwrap();
    let on_host = |guest: &Guest, name: &str| fs::metadata(guest.path(name)).unwrap().uid();
    assert_eq!(on_host(&guest, "share/roots"), own);
    let expected = if own == 0 { (1234, 1234) } else { (0, own) };
    assert_eq!((made.uid, on_host(&guest, "share/others")), expected);
    let mut chown = [0; 88];
    chown[0] = 1 << 1;
    chown[76..80].copy_from_slice(&77u32.to_le_bytes());
    let answer = guest.ask(op::SETATTR, made.node, &chown);
    if own == 0 {
        assert!(answer.is_ok());
        assert_eq!(on_host(&guest, "share/others"), 77);
    } else {
        assert_eq!(answer, Err(libc::EPERM));
    }
}

#[test]
fn requests_that_are_none_need_a_reset() {
    let header = |len: u32| [&len.to_le_bytes()[..], &op::LOOKUP.to_le_bytes(), &[0; 32]].concat();
    let spoil: [&dyn Fn(&mut Guest); 5] = [
        &|guest| guest.send(&[readable(BUFFERS, 39), writable(BUFFERS, 100)]),
        &|guest| guest.send(&[readable(u64::MAX - 10, 40), writable(BUFFERS, 100)]),
        &|guest| {
            guest.driver.put(BUFFERS, &header(41));
            guest.send(&[readable(BUFFERS, 40), writable(BUFFERS, 100)]);
        },
        &|guest| {
            guest.driver.put(BUFFERS, &header(39));
            guest.send(&[readable(BUFFERS, 40), writable(BUFFERS, 100)]);
        },
        &|guest| {
            guest.driver.put(BUFFERS, &header(40));
            guest.send(&[readable(BUFFERS, 40), writable(BUFFERS, 15)]);
        },
    ];
    for spoil in spoil {
        let mut guest = Guest::new();
        spoil(&mut guest);
        assert!(guest.needs_reset());
        guest.driver.restart();
        guest.begin();
        assert!(guest.look_up(1, "0").is_ok(), "a reset makes it work");
    }
    let mut guest = Guest::new();
    guest.driver.set_available_index(REQUESTS, 1000);
    guest.driver.notify(REQUESTS);
    let begun = std::time::Instant::now();
    while !guest.needs_reset() && begun.elapsed().as_secs() < 20 {
        guest.driver.transport.poll();
    }
    assert!(guest.needs_reset());
}

#[test]
fn sizes_that_do_not_fit_are_errors_of_the_request() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    let file = guest.look_up(share, "file").unwrap().node;
    let handle = guest.open(file, RDWR).unwrap();
    assert_eq!(guest.read(handle, 0, u32::MAX), Err(libc::EINVAL));
    assert_eq!(guest.read(handle, u64::MAX, 1), Err(libc::EINVAL));
    let write = content(handle, 0, 1 << 20);
    assert_eq!(guest.ask(op::WRITE, file, &write), Err(libc::EINVAL));
    assert_eq!(guest.ask(op::LOOKUP, share, b"no end"), Err(libc::EINVAL));
    assert_eq!(guest.ask(op::READ, file, &[0; 10]), Err(libc::EINVAL));
    let xattr = [&u32::MAX.to_le_bytes()[..], &[0; 4], b"user.x\0y"].concat();
    assert_eq!(guest.ask(op::SETXATTR, file, &xattr), Err(libc::EINVAL));
    let trusted = [&1u32.to_le_bytes()[..], &[0; 4], b"trusted.x\0y"].concat();
    assert_eq!(
        guest.ask(op::SETXATTR, file, &trusted),
        Err(libc::EOPNOTSUPP)
    );
}

#[test]
fn a_folder_that_becomes_a_link_at_any_moment_leads_nowhere() {
    let mut guest = Guest::new();
    let share = guest.share(0);
    fs::create_dir(guest.path("share/flip")).unwrap();
    fs::write(guest.path("share/flip/secret"), "harmless").unwrap();
    symlink("../outside", guest.path("share/link")).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let folder = guest.path("share");
    let flipper = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let open = fs::File::open(folder).unwrap();
            while !over.load(Ordering::SeqCst) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&open, "flip", &open, "link", exchange).unwrap();
            }
        }
    });
    let mut reached = 0;
    for _ in 0..3000 {
        let Ok(flip) = guest.look_up(share, "flip") else {
            continue;
        };
        let Ok(found) = guest.look_up(flip.node, "secret") else {
            continue;
        };
        let handle = guest.open(found.node, libc::O_RDONLY).unwrap();
        assert_eq!(guest.read(handle, 0, 100).unwrap(), b"harmless");
        guest
            .ask(op::RELEASE, found.node, &content(handle, 0, 0))
            .unwrap();
        reached += 1;
    }
    over.store(true, Ordering::SeqCst);
    flipper.join().unwrap();
    assert!(reached > 0, "the folder was a folder now and then");
    assert!(guest.kept_in());
}

/// Bytes of a request that begin like something.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0u64..8, any::<u64>(), Just(libc::O_CREAT as u64 | 2)];
    let name = prop_oneof![
        Just("file"),
        Just("up"),
        Just("absolute"),
        Just("dir"),
        Just(".."),
        Just("new"),
        Just("../outside/secret"),
        Just("secret"),
        Just("0"),
        Just("/"),
        Just("")
    ];
    (vec(number, 0..12), vec(name, 0..3)).prop_map(|(numbers, names)| {
        let numbers = numbers.into_iter().flat_map(u64::to_le_bytes);
        let names = names.into_iter().flat_map(string);
        numbers.chain(names).collect()
    })
}

#[test]
fn whatever_a_guest_says_it_gets_an_answer_and_stays_inside() {
    let step = (0u32..55, 0u64..12, body());
    let config = ProptestConfig {
        cases: 64,
        ..ProptestConfig::default()
    };
    proptest::proptest!(config, |(steps in vec(step, 1..80))| {
        let mut guest = Guest::new();
        for number in 0..3 {
            guest.share(number);
        }
        for (opcode, node, body) in steps {
            if matches!(opcode, op::FORGET | op::BATCH_FORGET | op::INTERRUPT) {
                continue;
            }
            if let Ok(answer) = guest.ask(opcode, node, &body) {
                let told = answer.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
                assert!(!told);
            }
        }
        assert!(guest.kept_in());
        guest.begin();
        assert!(guest.look_up(1, "0").is_ok());
    });
}
