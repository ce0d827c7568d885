//! What the verbs about machines have in common: how a machine is shown, and how several of them are
//! worked off: each that fails is a line, and the others are done all the same.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Status as ExitStatus;
use super::output::{Failure, say};
use crate::machines::{Error, Machine, Machines, Record, State, Status, Wellness};
use crate::run;
use crate::spec::units::parse_size;
use crate::spec::{
    DeviceRate, PREFIX_V6, Published, Restart, STOP_TIMEOUT, Signal, Wall, parse_tasks, time,
};

/// Something that a user asked for cannot be had; docker's number for it.
pub const REFUSED: u8 = 1;

/// Does `work` for each of `names`, and prints what was typed when it is done. Status 1 when one failed.
pub fn each(
    names: &[String],
    mut work: impl FnMut(&Machines, Machine) -> Result<(), Failure>,
) -> ExitStatus {
    let machines = run::machines()?;
    let mut status = 0;
    for name in names {
        let done = machines
            .find(name)
            .map_err(refused)
            .and_then(|machine| work(&machines, machine));
        match done {
            Ok(()) => say(&format!("{name}\n"))?,
            Err(failure) => {
                failure.print();
                status = REFUSED;
            }
        }
    }
    Ok(status)
}

/// A machine that is not there, or not as it must be: status 1, as docker.
pub fn refused(error: Error) -> Failure {
    Failure::from(error).with_status(REFUSED)
}

/// What asks a machine to stop.
pub fn stop_signal(record: &Record) -> Signal {
    Signal::from_number(record.resolved.stop_signal).unwrap_or(Signal::TERM)
}

/// How long it may take to: what was typed now, what was asked when it was made, or docker's default; `None`
/// is for ever.
pub fn stop_timeout(record: &Record, typed: Option<i64>) -> Option<Duration> {
    match typed.or(record.lifecycle().stop_timeout) {
        None => Some(STOP_TIMEOUT),
        Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
    }
}

/// Docker's sentence: `Up 3 minutes`, `Exited (0) 2 hours ago`.
pub fn describe_status(state: &State, now: u64) -> String {
    let since = |moment: u64| time::show_length(Duration::from_nanos(now.saturating_sub(moment)));
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => {
            let health = match state.health.as_ref().map(|health| health.status) {
                None => String::new(),
                Some(Wellness::Starting) => " (health: starting)".to_owned(),
                Some(known) => format!(" ({known})"),
            };
            format!("Up {}{health}", since(state.started))
        }
        Status::Paused => format!("Up {} (Paused)", since(state.started)),
        Status::Restarting => {
            format!(
                "Restarting ({}) {} ago",
                state.exit_code,
                since(state.finished)
            )
        }
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
    }
}

/// Docker's list: `127.0.0.1:8080->80/tcp, …`.
pub fn describe_ports(ports: &[Published]) -> String {
    let shown = ports
        .iter()
        .map(|one| format!("{}->{}/{}", one.host, one.guest, one.transport));
    shown.collect::<Vec<_>>().join(", ")
}

/// Docker's map: the machine's port, and where it is reached.
fn ports_to_json(ports: &[Published]) -> Map<String, Value> {
    let mut map = Map::new();
    for one in ports {
        let key = format!("{}/{}", one.guest, one.transport);
        let binding = json!({
            "HostIp": one.host.ip().to_string(),
            "HostPort": one.host.port().to_string(),
        });
        match map.get_mut(&key).and_then(Value::as_array_mut) {
            Some(bindings) => bindings.push(binding),
            None => drop(map.insert(key, json!([binding]))),
        }
    }
    map
}

/// Docker's map: a network, and the machine's place on it, while it has one.
fn networks_to_json(record: &Record, state: &State) -> Map<String, Value> {
    let asked = record.request.networks.iter().map(|joining| {
        let place = json!({ "Aliases": joining.aliases, "IPAddress": "", "GlobalIPv6Address": "" });
        (joining.network.clone(), place)
    });
    let taken = state.seats.iter().map(|seat| {
        let (gateway_v4, gateway_v6) = seat.subnets.gateway();
        let place = json!({
            "Aliases": seat.aliases,
            "NetworkID": seat.id,
            "IPAddress": seat.v4,
            "IPPrefixLen": seat.subnets.bits,
            "Gateway": gateway_v4,
            "GlobalIPv6Address": seat.v6,
            "GlobalIPv6PrefixLen": PREFIX_V6,
            "IPv6Gateway": gateway_v6,
        });
        (seat.network.clone(), place)
    });
    asked.chain(taken).collect()
}

/// A machine for `husk inspect`, with docker's keys.
pub fn to_json(record: &Record, state: &State) -> Value {
    let resolved = &record.resolved;
    let (path, arguments) = match resolved.command.split_first() {
        Some((path, arguments)) => (path.as_str(), arguments),
        None => ("", &[][..]),
    };
    json!({
        "Id": record.id,
        "Created": time::show(record.created),
        "Path": path,
        "Args": arguments,
        "State": state_to_json(state),
        "Image": record.image_id,
        "Name": record.name,
        "RestartCount": state.restarts,
        "Wall": wall_name(&record.request.wall),
        "HostConfig": host_config(record),
        "NetworkSettings": {
            "Ports": ports_to_json(&state.ports),
            "Networks": networks_to_json(record, state),
        },
        "Config": {
            "Hostname": resolved.hostname,
            "User": resolved.user,
            "OpenStdin": record.request.stdin,
            "Env": resolved.env,
            "Cmd": resolved.command,
            "Image": record.image,
            "WorkingDir": resolved.workdir,
            "Labels": record.lifecycle().labels,
            "StopSignal": stop_signal(record).to_string(),
            "StopTimeout": record.lifecycle().stop_timeout,
        },
    })
}

/// A wall, as `--wall` names it.
pub fn wall_name(wall: &Wall) -> &'static str {
    match wall {
        Wall::Vm => "vm",
        Wall::Container(_) => "container",
    }
}

fn host_config(record: &Record) -> Value {
    let (request, lifecycle) = (&record.request, record.lifecycle());
    let tmpfs = request.tmpfs.iter().map(|mount| {
        let (path, options) = mount.split_once(':').unwrap_or((mount, ""));
        (path.to_owned(), json!(options))
    });
    let most = match lifecycle.restart {
        Restart::OnFailure(Some(most)) => most,
        _ => 0,
    };
    let reservation = request.memory_reservation.as_deref();
    let reservation = reservation.and_then(|text| parse_size(text).ok());
    let rates = request.device_rates.parse().unwrap_or_default();
    let rate = |one: &Option<DeviceRate>| {
        let one = one.as_ref();
        let shown = one.map(|one| json!([{"Path": one.device, "Rate": one.rate}]));
        shown.unwrap_or(json!([]))
    };
    json!({
        "AutoRemove": lifecycle.remove,
        "RestartPolicy": { "Name": lifecycle.restart.name(), "MaximumRetryCount": most },
        "Memory": record.resolved.memory,
        "MemoryReservation": reservation.unwrap_or(0),
        "NanoCpus": record.resolved.cpus.nano(),
        "CpusetCpus": request.cpuset_cpus.as_deref().unwrap_or_default(),
        "BlkioDeviceReadBps": rate(&rates.read_bps),
        "BlkioDeviceWriteBps": rate(&rates.write_bps),
        "BlkioDeviceReadIOps": rate(&rates.read_iops),
        "BlkioDeviceWriteIOps": rate(&rates.write_iops),
        // Docker's null is no limit.
        "PidsLimit": request.pids_limit.as_deref().and_then(|text| parse_tasks(text).ok()?),
        "NetworkMode": match request.networks.first() {
            Some(first) => json!(first.network),
            None => json!(request.network.clone().unwrap_or_default()),
        },
        "PublishAllPorts": request.publish_all,
        "ReadonlyRootfs": request.read_only,
        "Tmpfs": tmpfs.collect::<Map<_, _>>(),
        "Ulimits": request.ulimits,
    })
}

fn state_to_json(state: &State) -> Value {
    let moment = |moment: u64| match moment {
        // What docker writes for never.
        0 => "0001-01-01T00:00:00Z".to_owned(),
        moment => time::show(moment),
    };
    let mut shown = json!({
        "Status": state.status,
        "Running": state.status.needs_keeper(),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": moment(state.started),
        "FinishedAt": moment(state.finished),
    });
    if let Some(health) = &state.health {
        let checks = health.log.iter().map(|check| {
            json!({
                "Start": time::show(check.start),
                "End": time::show(check.end),
                "ExitCode": check.exit_code,
                "Output": check.output,
            })
        });
        shown["Health"] = json!({
            "Status": health.status,
            "FailingStreak": health.failing_streak,
            "Log": checks.collect::<Vec<_>>(),
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_in_dockers_words() {
        let minute = 60_000_000_000;
        let state = |status| State {
            status,
            started: minute,
            finished: 2 * minute,
            exit_code: 3,
            ..State::default()
        };
        let table = [
            (Status::Created, "Created"),
            (Status::Running, "Up 9 minutes"),
            (Status::Paused, "Up 9 minutes (Paused)"),
            (Status::Restarting, "Restarting (3) 8 minutes ago"),
            (Status::Exited, "Exited (3) 8 minutes ago"),
        ];
        for (status, expected) in table {
            assert_eq!(describe_status(&state(status), 10 * minute), expected);
        }
    }
}
