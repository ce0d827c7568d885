//! The kernel's own work for a process.
//!
//! Where two take turns, both are on one processor: what counts is the switch, and not how long a
//! processor that idles takes to notice.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, iter};

use crate::EXIT_AT_ONCE;
use crate::measure::{Pace, measure, time, try_time};
use crate::report::Figure;
use crate::sys::memory::{Mapping, PAGE, Pages};
use crate::sys::process::{fork_echo, fork_exec};
use crate::sys::thread::{Pinned, sleep_while, wake_one};
use crate::sys::{getpid, read_clock};

/// Most pages that `page_fault` maps at once: 16 MiB.
const MOST_PAGES: u64 = 4096;

/// | probe | one operation |
/// |---|---|
/// | getpid | a system call that does nothing |
/// | clock_gettime | reading the monotonic clock |
/// | mmap | mapping and unmapping a page that nobody touches |
/// | page_fault | the first write to a fresh anonymous page |
/// | context_switch | a byte through a pipe to another process: half of a round trip |
/// | futex | handing over to another thread: half of a round trip |
/// | fork_exec | forking, executing this program, waiting for its end |
pub fn run(budget: Duration, take: &mut impl FnMut(&str, io::Result<Figure>)) {
    take("getpid", time(budget, getpid).map(Figure::time));
    take("clock_gettime", time(budget, read_clock).map(Figure::time));
    let map = |_| Mapping::new(PAGE).map(drop);
    take("mmap", try_time(Pace::free(budget), map).map(Figure::time));
    take("page_fault", fault(budget).map(Figure::time));
    take("context_switch", switch(budget).map(half));
    take("futex", hand_over(budget).map(half));
    take("fork_exec", execute(budget).map(Figure::time));
}

/// Of a round trip, in which there are two of what is measured.
fn half(nanoseconds: f64) -> Figure {
    Figure::time(nanoseconds / 2.0)
}

fn fault(budget: Duration) -> io::Result<f64> {
    let pace = Pace {
        budget,
        most: MOST_PAGES,
    };
    measure(pace, |pages| {
        let pages = usize::try_from(pages).map_err(io::Error::other)?;
        let mut fresh = Mapping::new(pages * PAGE)?;
        fresh.prefer(Pages::Small);
        let begun = Instant::now();
        fresh.touch();
        Ok(begun.elapsed())
    })
}

fn switch(budget: Duration) -> io::Result<f64> {
    let _pinned = Pinned::here()?;
    let (from_parent, mut to_child) = io::pipe()?;
    let (mut from_child, to_parent) = io::pipe()?;
    let theirs = [to_child.as_fd(), from_child.as_fd()];
    let child = fork_echo(from_parent.as_fd(), to_parent.as_fd(), theirs)?;
    // With these open, a child that died would never end the pipe.
    drop((from_parent, to_parent));
    let mut byte = [0];
    let took = try_time(Pace::free(budget), |_| {
        to_child.write_all(&byte)?;
        from_child.read_exact(&mut byte)
    })?;
    drop(to_child);
    child.wait()?;
    Ok(took)
}

const MINE: u32 = 0;
const YOURS: u32 = 1;
const OVER: u32 = 2;

fn hand_over(budget: Duration) -> io::Result<f64> {
    let _pinned = Pinned::here()?;
    let turn = AtomicU32::new(MINE);
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, || answer(&turn))?;
        let took = time(budget, || {
            turn.store(YOURS, Ordering::Release);
            wake_one(&turn);
            while turn.load(Ordering::Acquire) == YOURS {
                sleep_while(&turn, YOURS);
            }
        });
        turn.store(OVER, Ordering::Release);
        wake_one(&turn);
        took
    })
}

/// Gives every turn back, until it is over.
fn answer(turn: &AtomicU32) {
    loop {
        match turn.load(Ordering::Acquire) {
            MINE => sleep_while(turn, MINE),
            YOURS => {
                turn.store(MINE, Ordering::Release);
                wake_one(turn);
            }
            _ => return,
        }
    }
}

fn execute(budget: Duration) -> io::Result<f64> {
    let program = own_program()?;
    let argument = CString::new(EXIT_AT_ONCE)?;
    try_time(Pace::free(budget), |_| {
        fork_exec(&program, &argument)?.wait()
    })
}

/// This program's file: as the kernel knows it, or, without a /proc, as it was called.
fn own_program() -> io::Result<CString> {
    let link = Path::new("/proc/self/exe");
    let called = env::args_os().next().map(Into::into);
    let found = iter::once(link.to_owned())
        .chain(called)
        .find(|path| path.exists())
        .ok_or(io::ErrorKind::NotFound)?;
    Ok(CString::new(found.into_os_string().into_encoded_bytes())?)
}
