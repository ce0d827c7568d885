//! The steps by which a machine is built from its parts.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::RecvError;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::Mode;
use rustix::process::umask;
use vmm_sys_util::eventfd::EventFd;

use super::balloons::{Balloons, Bay};
use super::error::{Error, no_event, no_thread};
use super::machine::{Built, Machine, Patch, Wired, clone_event};
use super::parts::{HostCable, Parts, in_boot};
use super::slots::slot;
use super::throttle::Allowance;
use super::tuning::Governor;
use super::uplink::Report;
use super::vcpu_thread::VcpuThread;
use crate::boot::{self, CommandLine, Hardware, Initrd, Loaded, Speech};
use crate::devices::virtio::QUEUE_NOTIFY;
use crate::devices::virtio::balloon::{Balloon, Sizes};
use crate::devices::virtio::blk::{Block, Sparse, Stitched, WritableBlock};
use crate::devices::virtio::device::Device;
use crate::devices::virtio::fs::{Fs, Share};
use crate::devices::virtio::mmio::Transport;
use crate::devices::virtio::net::{Cable, MOST_PAIRS, Net, Pairs, Tap, Vhost};
use crate::devices::virtio::pace::Pace;
use crate::devices::virtio::rng::Rng;
use crate::devices::virtio::vsock::{Connector, Vsock};
use crate::devices::{i8042, serial};
use crate::kvm::bus::Bus;
use crate::kvm::memory::Mem;
use crate::kvm::{self, Exits, Flavour, Kvm, Vcpu, Vm};
use crate::net::{self, Network, Setup};
use crate::spec::VmSpec;
use crate::sys::{limits, signals, tun};

/// Builds the machine of `parts` in a VM, which `first` will be vCPU 0 of, and tells when it is built.
pub fn build(
    (kvm, mut vm, first): (Kvm, Vm, VcpuThread),
    parts: Parts,
    connector: Box<dyn Connector>,
    tell: impl FnOnce(Report) -> Result<(), Error>,
) -> Result<Machine<Built>, Error> {
    let (spec, mem) = (&parts.spec, &parts.mem);
    // 1. Memory as it is now: a mapping that changed later would be a flush.
    vm.add_memory(0, mem.clone())?;
    // 2. The vCPUs, and who executes them.
    let cpus = check_cpus(&kvm, spec.cpus.count())?;
    let vcpu = vm.create_vcpu(&kvm, 0, cpus)?;
    let (vcpu, flavour) = measure(&first, vcpu, mem.clone())?;
    let mut vcpus = vec![(first, vcpu)];
    for id in 1..cpus {
        let thread = VcpuThread::spawn(id).map_err(no_thread)?;
        vcpus.push((thread, vm.create_vcpu(&kvm, id, cpus)?));
    }
    // 3. Devices, wired to it.
    let reset = EventFd::new(0).map_err(no_event)?;
    let ports = Arc::new(wire_ports(&vm, parts.console, &reset)?);
    let governor = govern(spec, cpus);
    let mut devices = new_devices(parts.disk, &governor.pace, connector)?;
    let files = Files::divide(parts.network.is_some(), !parts.shares.is_empty());
    let wanted = wanted_devices(spec, (parts.shares, parts.written), files.shares, &governor)?;
    devices.extend(wanted);
    let (card, patch) = connect(parts.network, parts.cables, files.network, mem)?;
    devices.extend(card);
    let mut command_line = CommandLine::new(flavour, cpus, spec.memory, speech(spec));
    let (mmio, transports) = wire_devices(&vm, mem, devices, &mut command_line)?;
    if spec.written.is_some() {
        command_line.push(WRITTEN);
    }
    // 4. What the kernel is told, and where the vCPUs begin.
    let tsc_khz = vcpus.first().and_then(|(_, vcpu)| vcpu.tsc_khz());
    tsc_khz.inspect(|khz| command_line.push(&format!("tsc_early_khz={khz}")));
    spec.kernel_args
        .iter()
        .for_each(|words| command_line.push(words));
    describe(
        spec,
        mem,
        cpus,
        (&parts.kernel, parts.initrd),
        &command_line,
    )?;
    let mmio = Arc::new(mmio);
    for (_, vcpu) in &mut vcpus {
        vcpu.attach(mem.clone(), Arc::clone(&ports), Arc::clone(&mmio));
        boot::enter(mem, vcpu, parts.kernel.entry).map_err(|source| in_boot(spec, source))?;
    }
    let exits = spec.count_exits.then(|| {
        let vcpus = vcpus.iter_mut().map(|(_, vcpu)| vcpu);
        Arc::new(Exits::follow(&vm, vcpus))
    });
    tell(Report::Built { flavour })?;
    let bay = Bay::behind(transports.len(), vm.lines(), mem, mmio);
    let balloons = Balloons::new(bay, spec, Arc::clone(&governor.sizes));
    let mut machine = Machine::new(vm, vcpus, transports, reset, (governor, balloons));
    machine.exits = exits;
    machine.patch = patch;
    Ok(machine)
}

/// What may be changed of the machine later.
fn govern(spec: &VmSpec, vcpus: u8) -> Governor {
    let sizes = Sizes {
        memory: AtomicU64::new(spec.memory),
        reservation: AtomicU64::new(spec.reservation.unwrap_or(spec.memory)),
    };
    Governor {
        sizes: Arc::new(sizes),
        allowance: Arc::new(Allowance::new(spec.cpus)),
        pace: Arc::new(Pace::new(&spec.rates, Instant::now())),
        vcpus: vcpus.into(),
    }
}

/// What the kernel says on its console.
fn speech(spec: &VmSpec) -> Speech {
    match (spec.verbose_console, spec.kernel_is_foreign) {
        (true, _) => Speech::Everything,
        (false, true) => Speech::PanicsOfForeign,
        (false, false) => Speech::Panics,
    }
}

/// Another kernel than husk's own may know ACPI only.
fn describe(
    spec: &VmSpec,
    mem: &Mem,
    cpus: u8,
    (kernel, initrd): (&Loaded, Option<Initrd>),
    command_line: &CommandLine,
) -> Result<(), Error> {
    let hardware = Hardware {
        memory: spec.memory,
        cpus,
        acpi: spec.kernel_is_foreign,
    };
    let mut seed = boot::Seed::default();
    getrandom::fill(&mut seed).map_err(|error| Error::Host {
        what: "random bytes",
        source: error.into(),
    })?;
    boot::describe(mem, &hardware, kernel, initrd, command_line, seed)
        .map_err(|source| in_boot(spec, source))
}

fn check_cpus(kvm: &Kvm, asked: u32) -> Result<u8, Error> {
    // 8-bit APIC IDs, of which the I/O APIC takes one and 255 is everybody.
    let most = kvm.max_vcpus().min(254);
    u8::try_from(asked)
        .ok()
        .filter(|cpus| usize::from(*cpus) <= most)
        .ok_or(Error::Kvm(kvm::Error::TooManyCpus { asked, most }))
}

/// Who executes the guest, measured where vCPU 0 will run, in a page that is still to be written.
fn measure(first: &VcpuThread, mut vcpu: Vcpu, mem: Mem) -> Result<(Vcpu, Flavour), Error> {
    let measured = first.start(move || {
        let flavour = Flavour::of(&mut vcpu, &mem, boot::ZERO_PAGE)?;
        Ok::<_, kvm::Error>((vcpu, flavour))
    });
    Ok(measured.recv().map_err(panicked)??)
}

/// A thread is gone; its last words are on their way already (`sys::panics`).
pub fn panicked(_: RecvError) -> Error {
    no_thread(io::ErrorKind::BrokenPipe.into())
}

/// The devices that every machine has, in the order of their slots.
fn new_devices(
    disk: Vec<(File, u64)>,
    pace: &Arc<Pace>,
    connector: Box<dyn Connector>,
) -> Result<Vec<Box<dyn Device>>, Error> {
    let vsock = Vsock::new(connector).map_err(|source| Error::Host {
        what: "an epoll",
        source,
    })?;
    Ok(vec![
        Box::new(Block::new(Stitched::new(disk), Arc::clone(pace))),
        Box::new(vsock),
    ])
}

/// What only some machines have, behind those.
fn wanted_devices(
    spec: &VmSpec,
    (shares, written): (Vec<Share>, Option<(File, u64)>),
    most_files: usize,
    governor: &Governor,
) -> Result<Vec<Box<dyn Device>>, Error> {
    let mut devices: Vec<Box<dyn Device>> = Vec::new();
    if spec.kernel_is_foreign {
        // Our own has all that it needs from the boot on: its seed, and then init's.
        devices.push(Box::new(Rng::default()));
    }
    if !shares.is_empty() {
        devices.push(Box::new(share(shares, most_files)?));
    }
    if let Some((file, len)) = written {
        devices.push(Box::new(writable(file, len, &governor.pace)?));
    }
    if spec.reservation.is_some() {
        let balloon = Balloon::new(Arc::clone(&governor.sizes)).map_err(|source| Error::Host {
            what: "a clock for the balloon",
            source,
        })?;
        devices.push(Box::new(balloon));
    }
    Ok(devices)
}

/// Says to init, whose environment such words are, that there is a disk to be written.
const WRITTEN: &str = "HUSK_WRITTEN=/dev/vdb";

fn writable(file: File, len: u64, pace: &Arc<Pace>) -> Result<WritableBlock, Error> {
    let refused = |source| Error::Host {
        what: "to serve a disk",
        source,
    };
    signals::survive_long_files().map_err(refused)?;
    WritableBlock::new(Sparse::new(file, len), Arc::clone(pace)).map_err(refused)
}

/// How many files of the host's this process may have open in numbers of the guest's choosing: one for each conversation over a
/// network of its own, and for each file that it knows of shared folders.
#[derive(Debug, Clone, Copy, Default)]
struct Files {
    network: usize,
    shares: usize,
}

impl Files {
    /// As many as the host lets it, divided between who is there.
    fn divide(has_network: bool, has_shares: bool) -> Self {
        if !has_network && !has_shares {
            return Self::default();
        }
        let all = limits::raise_open_files();
        let network = match has_network {
            true => net::room(all, has_shares),
            false => 0,
        };
        let shares = all - network;
        Self { network, shares }
    }
}

/// The file system device. This process becomes one that serves it: it may have as many files open as the
/// host lets it, makes files with the permissions that the guest asks for, and a file too long for the
/// limit of its user is an error and not its end.
fn share(shares: Vec<Share>, files: usize) -> Result<Fs, Error> {
    let refused = |source| Error::Host {
        what: "to share files",
        source,
    };
    umask(Mode::empty());
    signals::survive_long_files().map_err(refused)?;
    Fs::new(shares, files).map_err(refused)
}

/// A network device, of whatever wire.
type Card = Box<dyn Device>;

/// The network device, if there is one, and where its network is told of changes. A network of its own has `room` for so many
/// conversations.
fn connect(
    own: Option<Setup>,
    cables: Vec<HostCable>,
    room: usize,
    mem: &Mem,
) -> Result<(Option<Card>, Option<Patch>), Error> {
    let refused = |source| Error::Host {
        what: "a network",
        source,
    };
    if !cables.is_empty() {
        return Ok((Some(connect_to_host(cables, mem).map_err(refused)?), None));
    }
    let Some(setup) = own else {
        return Ok((None, None));
    };
    let network = Network::new(setup, room).map_err(refused)?;
    let changes = network.changes();
    let card = Net::new(Cable::new(Box::new(network))).map_err(refused)?;
    let patch = (changes, card.waker());
    Ok((Some(Box::new(card)), Some(patch)))
}

/// What the threads of a card are called: one for each pair of its queues.
const MOVERS: [&str; MOST_PAIRS] = [
    "net", "net1", "net2", "net3", "net4", "net5", "net6", "net7",
];

/// The network device at the end of `cables`, one for each pair of its queues.
fn connect_to_host(cables: Vec<HostCable>, mem: &Mem) -> io::Result<Card> {
    let ends = cables.iter().map(|(tap, _)| tap.try_clone());
    let ends = ends.collect::<io::Result<Vec<_>>>()?;
    let mut pairs: Vec<Card> = Vec::new();
    for ((tap, vhost), name) in cables.into_iter().zip(MOVERS) {
        let card: Card = match vhost {
            None => Box::new(Net::new(Tap::new(tap))?.named(name)),
            Some(vhost) => {
                let card = Vhost::new(tap, vhost, mem)?;
                match pairs.first().and_then(|first| first.interrupt()) {
                    Some(event) => Box::new(card.interrupting(event)?),
                    None => Box::new(card),
                }
            }
        };
        pairs.push(card);
    }
    if pairs.len() == 1
        && let Some(only) = pairs.pop()
    {
        return Ok(only);
    }
    let steer = move |pair: usize, is_used| match ends.get(pair) {
        Some(end) => tun::set_in_use(end.as_fd(), is_used),
        None => Ok(()),
    };
    Ok(Box::new(Pairs::new(pairs, Box::new(steer))?))
}

/// The serial port, and the keyboard controller.
fn wire_ports(vm: &Vm, console: File, reset: &EventFd) -> Result<Bus, Error> {
    let mut ports = Bus::default();
    let serial = serial::Serial::new(vm.line(serial::GSI), console);
    ports.insert(serial::PORT, serial::PORTS, Arc::new(Mutex::new(serial)));
    let keyboard = i8042::I8042::new(clone_event(reset)?);
    ports.insert(i8042::PORT, 1, Arc::new(Mutex::new(keyboard)));
    Ok(ports)
}

/// Gives each device a slot: registers on the bus, an interrupt, a notification per queue, unless the device has one
/// itself, and a word on the command line.
fn wire_devices(
    vm: &Vm,
    mem: &Mem,
    devices: Vec<Box<dyn Device>>,
    command_line: &mut CommandLine,
) -> Result<(Bus, Vec<Wired>), Error> {
    let mut bus = Bus::default();
    let mut wired = Vec::new();
    for (index, device) in (0..).zip(devices) {
        let slot = slot(index);
        let transport = Transport::new(device, mem.clone(), vm.line(slot.gsi));
        let mut notifications = Vec::new();
        for queue in (0..).take(transport.queue_count()) {
            let address = slot.address + QUEUE_NOTIFY;
            if let Some(event) = transport.call(queue) {
                vm.wire_notification(event, address, queue.into())?;
                continue;
            }
            let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
            let event = event.map_err(|errno| no_event(errno.into()))?;
            vm.wire_notification(event.as_fd(), address, queue.into())?;
            notifications.push((queue, event));
        }
        if let Some(event) = transport.interrupt() {
            vm.wire_interrupt(event, slot.gsi)?;
        }
        let transport = Arc::new(Mutex::new(transport));
        bus.insert(slot.address, slot.len, transport.clone());
        command_line.announce(slot);
        wired.push(Wired {
            transport,
            notifications,
        });
    }
    Ok((bus, wired))
}
