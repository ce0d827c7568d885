//! `name|uid[:group|gid]`, resolved with the image's own /etc/passwd and /etc/group by docker's
//! rules: a number need not be in the files, a name must; without a group, the user's own group and
//! every group that lists the user.

use std::ffi::CStr;

use crate::exit::{Failure, Stage};
use crate::failure::refused;
use crate::sys::{Errno, Result, file};

/// Who the workload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: Vec<u8>,
}

/// Longest file that is read: an image with more users than this has other problems.
const MAX_FILE: usize = 4 << 20;

/// The highest id that docker takes.
const MAX_ID: u32 = i32::MAX as u32;

/// Resolves `wanted` with the image's files.
pub fn resolve(wanted: &[u8]) -> std::result::Result<User, Failure> {
    let passwd = read(c"/etc/passwd").unwrap_or_default();
    let group = read(c"/etc/group").unwrap_or_default();
    look_up(wanted, &passwd, &group).ok_or_else(|| refused(Stage::User, wanted))
}

/// What the image's files call the user `uid`; its number where they do not.
pub fn name_of(uid: u32) -> Vec<u8> {
    let passwd = read(c"/etc/passwd").unwrap_or_default();
    let entry = lines(&passwd).find(|fields| field_number(fields, 2) == Some(uid));
    match entry.as_deref() {
        Some([name, ..]) if !name.is_empty() => name.to_vec(),
        _ => uid.to_string().into_bytes(),
    }
}

fn look_up(wanted: &[u8], passwd: &[u8], group: &[u8]) -> Option<User> {
    let mut halves = wanted.splitn(2, |byte| *byte == b':');
    let user = halves
        .next()
        .filter(|user| !user.is_empty())
        .unwrap_or(b"0");
    let wanted_group = halves.next().filter(|group| !group.is_empty());
    let id = number(user);
    let entry = lines(passwd).find(|fields| {
        let named = fields.first() == Some(&user);
        named || (id.is_some() && field_number(fields, 2) == id)
    });
    let (uid, own_gid, name, home) = match &entry {
        Some(fields) => (
            field_number(fields, 2)?,
            field_number(fields, 3)?,
            fields[0],
            fields
                .get(5)
                .copied()
                .filter(|home| !home.is_empty())
                .unwrap_or(b"/"),
        ),
        None => (id?, 0, &b""[..], &b"/"[..]),
    };
    let (gid, mut groups) = match wanted_group {
        Some(wanted) => (find_group(wanted, group)?, Vec::new()),
        None => (own_gid, groups_of(name, group)),
    };
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    Some(User {
        uid,
        gid,
        groups,
        home: home.to_vec(),
    })
}

fn find_group(wanted: &[u8], group: &[u8]) -> Option<u32> {
    let named = lines(group).find(|fields| fields.first() == Some(&wanted));
    match named {
        Some(fields) => field_number(&fields, 2),
        None => number(wanted),
    }
}

fn groups_of(name: &[u8], group: &[u8]) -> Vec<u32> {
    if name.is_empty() {
        return Vec::new();
    }
    let lists = |fields: &Vec<&[u8]>| {
        fields
            .get(3)
            .is_some_and(|list| list.split(|byte| *byte == b',').any(|one| one == name))
    };
    lines(group)
        .filter(lists)
        .filter_map(|fields| field_number(&fields, 2))
        .collect()
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let meant = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    meant.map(|line| line.split(|byte| *byte == b':').collect())
}

fn field_number(fields: &[&[u8]], index: usize) -> Option<u32> {
    number(fields.get(index)?)
}

fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()?;
    (number <= MAX_ID).then_some(number)
}

/// A regular file's content; a pipe that somebody put in its place would never end.
fn read(path: &CStr) -> Result<Vec<u8>> {
    let file = file::open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0)?;
    let mut content = vec![0; 4096];
    let mut length = 0;
    loop {
        match file::read(&file, &mut content[length..])? {
            0 => break,
            count => length += count,
        }
        if length > MAX_FILE {
            return Err(Errno(libc::EFBIG));
        }
        if length == content.len() {
            content.resize(2 * length, 0);
        }
    }
    content.truncate(length);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n# no\n\napp:x:1000:1001::/srv/app:/bin/sh\nbad:x:y:z\n";
    const GROUP: &[u8] = b"root:x:0:\nwheel:x:10:root,app\napp:x:1001:\ndisk:x:6:root\n";

    fn ids(wanted: &str) -> Option<(u32, u32, Vec<u32>, String)> {
        look_up(wanted.as_bytes(), PASSWD, GROUP)
            .map(|u| (u.uid, u.gid, u.groups, String::from_utf8(u.home).unwrap()))
    }

    #[test]
    fn users_are_resolved_as_docker_does() {
        let root = Some((0, 0, vec![0, 10, 6], "/root".to_owned()));
        let app = Some((1000, 1001, vec![1001, 10], "/srv/app".to_owned()));
        let table = [
            ("", root.clone()),
            ("root", root.clone()),
            ("0", root),
            ("app", app.clone()),
            ("1000", app),
            (
                "app:wheel",
                Some((1000, 10, vec![10], "/srv/app".to_owned())),
            ),
            ("app:77", Some((1000, 77, vec![77], "/srv/app".to_owned()))),
            ("4242", Some((4242, 0, vec![0], "/".to_owned()))),
            ("4242:4243", Some((4242, 4243, vec![4243], "/".to_owned()))),
            ("ghost", None),
            ("app:ghost", None),
            ("bad", None),
            ("4294967295", None),
            ("-1", None),
        ];
        for (wanted, expected) in table {
            assert_eq!(ids(wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn an_image_without_the_files_knows_numbers_only() {
        assert_eq!(look_up(b"", b"", b"").unwrap().uid, 0);
        assert_eq!(look_up(b"root", b"", b""), None);
    }
}
