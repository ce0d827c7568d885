//! The suite `surface`, what a wall buys: how much of the host's kernel a workload gets to speak to, and
//! with what rights the process speaks that serves it, or is it.
//!
//! One run of the command is followed, call by call. What counts as the workload's are the calls of the
//! machine's process, or those of the processes in the container; setting the wall up is told apart.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::thread::CapabilitySet;

use super::comparison::Bench;
use super::error::Error;
use super::instance::Fleet;
use super::launch::{Wall, command};
use super::report::Surface;
use crate::container::syscalls;
use crate::sys::ioctls;
use crate::sys::processes::tree;
use crate::sys::trace::{self, Program, Traced};
use crate::vmm::MACHINE_NAME;

/// Its name.
pub const SUITE: &str = "surface";

/// A run that is followed takes longer, and not for ever.
const PATIENCE: Duration = Duration::from_secs(600);

/// Looks at every wall.
pub fn measure(bench: &mut Bench<'_>) -> Result<(), Error> {
    let walls = &bench.request.walls;
    for (number, wall) in walls.iter().enumerate() {
        bench.tell("calls to the host", number, Some(walls.len()));
        let mut surface = follow(bench, wall)?;
        look_at_rights(bench, wall, &mut surface)?;
        bench.report.surface.push(surface);
        bench.keep()?;
    }
    Ok(())
}

/// Counts what one run of the command makes the host do.
fn follow(bench: &Bench<'_>, wall: &Wall) -> Result<Surface, Error> {
    let json = bench.desk.json_word();
    let words = [json.as_os_str(), OsStr::new("--count-exits")];
    let mut command = command(wall, &bench.request.workload, &words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let traced = trace::trace(command, PATIENCE).map_err(Error::Harness)?;
    if bench.interrupt.is_requested() {
        return Err(Error::Interrupted);
    }
    let said = bench.desk.take().unwrap_or_default();
    // Only a machine has exits to count.
    let exits = said["exits"].as_object().into_iter().flatten();
    let mut surface = count(wall, &traced);
    surface.exits = exits
        .filter_map(|(reason, count)| Some((reason.clone(), count.as_u64()?)))
        .collect();
    Ok(surface)
}

fn count(wall: &Wall, traced: &Traced) -> Surface {
    let outside = traced.programs.iter().filter(|program| !program.contained);
    let outside: Vec<_> = outside.map(|program| &program.arg0).collect();
    // A runtime works in the container too, before it executes the workload.
    let in_container = |program: &Program| program.contained && !outside.contains(&&program.arg0);
    let serves = |program: &Program| in_container(program) || program.arg0 == MACHINE_NAME;
    let own = traced.sum(serves);
    let others = traced.sum(|program| !serves(program));
    let mut syscalls = BTreeMap::new();
    for (number, count) in own.calls {
        let name = syscalls::name(number);
        let name = name.map_or_else(|| format!("call {number}"), str::to_owned);
        *syscalls.entry(name).or_default() += count;
    }
    let ioctls = own.ioctls.into_iter();
    let programs = traced
        .programs
        .iter()
        .filter(|program| !serves(program))
        .count();
    Surface {
        wall: wall.name.clone(),
        syscalls,
        ioctls: ioctls
            .map(|(request, count)| (ioctls::name(request).into_owned(), count))
            .collect(),
        notes: vec![format!(
            "putting the wall up and taking it down: {} calls of {programs} programs",
            others.calls.values().sum::<u64>()
        )],
        ..Surface::default()
    }
}

/// Reads the rights of the process that serves an instance, or is it (proc(5), "status").
fn look_at_rights(bench: &Bench<'_>, wall: &Wall, surface: &mut Surface) -> Result<(), Error> {
    let mut fleet = Fleet::default();
    fleet.start(bench, wall)?;
    let below: Vec<u32> = fleet.processes().flat_map(tree).collect();
    let namespace = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let serves = |pid: &&u32| {
        let arg0 = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let name = arg0.split(|byte| *byte == 0).next().unwrap_or_default();
        let elsewhere = namespace(&pid.to_string(), "pid") != namespace("self", "pid");
        elsewhere || name == MACHINE_NAME.as_bytes()
    };
    let Some(pid) = below.iter().find(serves) else {
        surface
            .notes
            .push("its process was not found: no rights are told".to_owned());
        return Ok(());
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let mask = u64::from_str_radix(&field("CapEff:"), 16).unwrap_or_default();
    let capabilities = CapabilitySet::from_bits_truncate(mask);
    surface.capabilities = capabilities
        .iter_names()
        .map(|(name, _)| name.to_owned())
        .collect();
    surface.seccomp = match field("Seccomp:").as_str() {
        "0" => "off",
        "1" => "strict",
        "2" => "filter",
        _ => "unknown",
    }
    .to_owned();
    surface.no_new_privs = field("NoNewPrivs:") == "1";
    surface.user_namespace = namespace(&pid.to_string(), "user") != namespace("self", "user");
    Ok(())
}
