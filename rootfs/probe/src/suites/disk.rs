//! Files, on the root and on whatever directories were named.
//!
//! What is written counts when it is on the disk: every write includes its fsync, so that no wall looks
//! fast because its page cache is larger. Everything happens in one directory, which is removed
//! whatever happens, and holds 16 MiB at most.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant, SystemTime};

use crate::args::Place;
use crate::measure::{Pace, measure, try_time};
use crate::report::Figure;
use crate::sys::memory::Mapping;

/// Bytes of a small write, and of a large write or read.
const SMALL: u32 = 4 << 10;
const LARGE: u32 = 1 << 20;

/// Large pieces of a file: an operation takes the one after the last one's.
const PIECES: u64 = 4;

/// Most files at a time.
const MOST_FILES: u64 = 64;

/// On each directory, with its label before the probe's name:
///
/// | probe | one operation |
/// |---|---|
/// | create | makes an empty file |
/// | stat | asks for a file's attributes |
/// | unlink | removes an empty file |
/// | write_4k | writes 4 KiB inside of a file, and syncs it |
/// | write_1m | writes 1 MiB inside of a file, and syncs it |
/// | read_1m | reads 1 MiB that is in the page cache |
/// | read_1m_direct | reads 1 MiB past the page cache (O_DIRECT) |
pub fn run(budget: Duration, dirs: &[Place], take: &mut impl FnMut(&str, io::Result<Figure>)) {
    let root = Place {
        label: "root".to_owned(),
        path: "/".into(),
    };
    for place in [&root].into_iter().chain(dirs) {
        let label = &place.label;
        let mut take = |probe: &str, measured| take(&format!("{label}.{probe}"), measured);
        match Scratch::new(&place.path) {
            Ok(scratch) => measure_place(budget, &scratch, &mut take),
            Err(error) => take("directory", Err(error)),
        }
    }
}

fn measure_place(
    budget: Duration,
    scratch: &Scratch,
    take: &mut impl FnMut(&str, io::Result<Figure>),
) {
    take("create", create(budget, scratch).map(Figure::time));
    take("stat", stat(budget, scratch).map(Figure::time));
    take("unlink", unlink(budget, scratch).map(Figure::time));
    let mut large = match Large::new(scratch.at("large")) {
        Ok(large) => large,
        Err(error) => return take("large_file", Err(error)),
    };
    take("write_4k", large.write(budget, SMALL).map(Figure::time));
    let took = large.write(budget, LARGE);
    take("write_1m", took.map(throughput));
    take("read_1m", large.read(budget, 0).map(throughput));
    let took = large.read(budget, libc::O_DIRECT);
    take(
        "read_1m_direct",
        took.map(throughput).map_err(explain_direct),
    );
}

/// Of large pieces.
fn throughput(nanoseconds: f64) -> Figure {
    Figure::throughput(LARGE, nanoseconds)
}

/// A directory of this process alone, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(place: &Path) -> io::Result<Self> {
        // In a container every process is number 1: the time tells this one from one that was killed.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        let path = place.join(format!(".husk-probe-{}-{now}", process::id()));
        fs::create_dir(&path).map_err(|error| {
            let text = format!("cannot make a directory in `{}`: {error}", place.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(Self(path))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of `count` files.
    fn names(&self, count: u64) -> Vec<PathBuf> {
        (0..count)
            .map(|number| self.at(&number.to_string()))
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file system that broke meanwhile keeps what it has.
        let _broken = fs::remove_dir_all(&self.0);
    }
}

/// Does `operation` with each name, and says how long all of them took.
fn each(names: &[PathBuf], operation: impl Fn(&Path) -> io::Result<()>) -> io::Result<Duration> {
    let begun = Instant::now();
    for name in names {
        operation(name)?;
    }
    Ok(begun.elapsed())
}

fn few(budget: Duration) -> Pace {
    Pace {
        budget,
        most: MOST_FILES,
    }
}

fn create(budget: Duration, scratch: &Scratch) -> io::Result<f64> {
    measure(few(budget), |count| {
        let names = scratch.names(count);
        let took = each(&names, |name| File::create_new(name).map(drop))?;
        each(&names, |name| fs::remove_file(name))?;
        Ok(took)
    })
}

fn unlink(budget: Duration, scratch: &Scratch) -> io::Result<f64> {
    measure(few(budget), |count| {
        let names = scratch.names(count);
        each(&names, |name| File::create_new(name).map(drop))?;
        each(&names, |name| fs::remove_file(name))
    })
}

fn stat(budget: Duration, scratch: &Scratch) -> io::Result<f64> {
    let path = scratch.at("stat");
    File::create_new(&path)?;
    try_time(Pace::free(budget), |_| fs::metadata(&path).map(drop))
}

/// A file of [`PIECES`] large pieces, which are on the disk: writes go round in it, and none of them adds
/// blocks.
struct Large {
    path: PathBuf,
    /// At a multiple of a page, as O_DIRECT wants it.
    buffer: Mapping,
}

impl Large {
    fn new(path: PathBuf) -> io::Result<Self> {
        let mut buffer = Mapping::new(LARGE as usize)?;
        buffer.fill();
        let mut file = File::create_new(&path)?;
        for _ in 0..PIECES {
            file.write_all(buffer.bytes())?;
        }
        file.sync_all()?;
        Ok(Self { path, buffer })
    }

    /// Nanoseconds of writing and syncing `len` bytes.
    fn write(&mut self, budget: Duration, len: u32) -> io::Result<f64> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        let bytes = &self.buffer.bytes()[..len as usize];
        try_time(Pace::free(budget), |number| {
            file.write_all_at(bytes, offset(number, len))?;
            file.sync_all()
        })
    }

    /// Nanoseconds of reading a large piece.
    fn read(&mut self, budget: Duration, flags: libc::c_int) -> io::Result<f64> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&self.path)?;
        let bytes = self.buffer.bytes();
        try_time(Pace::free(budget), |number| {
            file.read_exact_at(bytes, offset(number, LARGE))
        })
    }
}

/// Where the write or read number `number` begins.
fn offset(number: u64, len: u32) -> u64 {
    let pieces = PIECES * u64::from(LARGE) / u64::from(len);
    number % pieces * u64::from(len)
}

/// EINVAL is how a file system says that it does not know O_DIRECT.
fn explain_direct(error: io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::EINVAL) {
        io::Error::other("unsupported: this file system has no O_DIRECT")
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_round_inside_of_the_file() {
        let offsets: Vec<_> = (0..6).map(|number| offset(number, LARGE) >> 20).collect();
        assert_eq!(offsets, [0, 1, 2, 3, 0, 1]);
        assert_eq!(offset(1, SMALL), 4096);
        assert_eq!(offset(1024, SMALL), 0);
    }

    #[test]
    fn nothing_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            label: "here".to_owned(),
            path: folder.path().to_owned(),
        };
        let mut probes = Vec::new();
        run(
            Duration::from_millis(1),
            &[place],
            &mut |probe, measured| {
                if probe.starts_with("here.") {
                    probes.push((probe.to_owned(), measured.is_ok()));
                }
            },
        );
        assert_eq!(probes.len(), 7, "{probes:?}");
        // A temporary file system may lack O_DIRECT.
        assert!(probes[..6].iter().all(|(_, ok)| *ok), "{probes:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
