//! Who the probe speaks to, in the lab: what it serves is in rootfs/probe/src/suites/net.rs. Of each connection
//! that ends it says what this host spent meanwhile: the kind, the operations, and ticks of 10 ms, all that were not
//! idle and of those the guest's (proc(5), /proc/stat).
//!
//! A connection of a kind of its own, `W`, has words instead, which become a file.
//!
//!     peer ADDRESS:PORT FILE

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

const CHUNK: usize = 64 << 10;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let at = words.next().expect("ADDRESS:PORT");
    let file = words.next().expect("FILE");
    for stream in TcpListener::bind(at)?.incoming() {
        let (stream, file) = (stream?, file.clone());
        thread::spawn(move || {
            let before = spent();
            let mut kind = [0];
            let mut operations = 0;
            // How it ends is the probe's affair.
            let _ended = serve(stream, &file, &mut kind, &mut operations);
            let after = spent();
            let (kind, all, guest) = (char::from(kind[0]), after.0 - before.0, after.1 - before.1);
            if operations == 0 {
                return;
            }
            // One write each, so that no two lines mix.
            print!("{}", format!("@ spent {kind} {operations} {all} {guest}\n"));
            let _closed = io::stdout().flush();
        });
    }
    Ok(())
}

fn serve(
    mut stream: TcpStream,
    file: &str,
    kind: &mut [u8; 1],
    operations: &mut u64,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(kind)?;
    let mut chunk = vec![0x5a; CHUNK];
    loop {
        match &kind[..] {
            b"E" => {
                stream.read_exact(&mut chunk[..1])?;
                stream.write_all(&chunk[..1])?;
                *operations += 1;
                continue;
            }
            b"T" | b"G" => {}
            b"W" => return io::copy(&mut stream, &mut File::create(file)?).map(drop),
            _ => return Ok(()),
        }
        let mut count = [0; 8];
        stream.read_exact(&mut count)?;
        for _ in 0..u64::from_le_bytes(count) {
            match &kind[..] {
                b"T" => stream.read_exact(&mut chunk)?,
                _ => stream.write_all(&chunk)?,
            }
            *operations += 1;
        }
        if kind == b"T" {
            stream.write_all(&[0])?;
        }
    }
}

/// Ticks since the start that were not idle, and those of guests, which are among them.
fn spent() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first
        .split_whitespace()
        .skip(1)
        .map(|word| word.parse().unwrap_or(0))
        .collect();
    // user nice system idle iowait irq softirq steal guest
    let all = [0, 1, 2, 5, 6]
        .iter()
        .map(|at| ticks.get(*at).unwrap_or(&0));
    (all.sum(), *ticks.get(8).unwrap_or(&0))
}
