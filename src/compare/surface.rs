//! The suite `surface`, what a wall buys: how much of the host's kernel a workload gets to speak to, and
//! with what rights the process speaks that serves it, or is it.
//!
//! One run of the command is followed, call by call. What counts as the workload's are the calls of the
//! machine's process, or those of the processes in the container; setting the wall up is told apart.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use super::comparison::Bench;
use super::error::Error;
use super::instance::Fleet;
use super::launch::{Wall, command};
use super::report::Surface;
use super::rights::Rights;
use crate::container::syscalls;
use crate::sys::ioctls;
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
        look_at_rights(bench, number, &mut surface)?;
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

/// Adds the rights of the process that serves an instance, or is it: one that was seen already, or one more.
fn look_at_rights(
    bench: &mut Bench<'_>,
    number: usize,
    surface: &mut Surface,
) -> Result<(), Error> {
    let rights = match bench.rights[number].take() {
        Some(seen) => Some(seen),
        None => {
            let mut fleet = Fleet::default();
            fleet.start(bench, &bench.request.walls[number])?;
            Rights::of(&fleet)
        }
    };
    let Some(rights) = rights else {
        surface
            .notes
            .push("its process was not found: no rights are told".to_owned());
        return Ok(());
    };
    surface.capabilities = rights.capabilities;
    surface.seccomp = rights.seccomp;
    surface.no_new_privs = rights.no_new_privs;
    surface.user_namespace = rights.user_namespace;
    Ok(())
}
