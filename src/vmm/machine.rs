//! A machine: built from a spec and open files, started once, waited for.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, RecvError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::error::Error;
use super::slots::slot;
use super::uplink::Report;
use super::vcpu_thread::VcpuThread;
use crate::boot::{self, CommandLine, Hardware};
use crate::devices::virtio::blk::{Block, Stitched};
use crate::devices::virtio::device::Device;
use crate::devices::virtio::mmio::Transport;
use crate::devices::virtio::rng::Rng;
use crate::devices::virtio::vsock::{Connector, Vsock};
use crate::devices::{i8042, serial};
use crate::kvm::bus::Bus;
use crate::kvm::memory::{self, Mem};
use crate::kvm::{self, Exit, Flavour, Kvm, Vcpu, Vm};
use crate::spec::VmSpec;
use crate::sys::lock::lock;

/// QueueNotify of the MMIO transport (virtio 1.2, 4.2.2).
const QUEUE_NOTIFY: u64 = 0x50;

/// A VM with nothing in it yet, and the KVM that made it.
pub type Made = Result<(Vm, Kvm), kvm::Error>;

/// What a machine is made of besides its spec: nothing of it is a path.
pub struct Parts {
    /// The thread of vCPU 0.
    pub first: VcpuThread,
    /// What it makes: the VM.
    pub vm: Receiver<Made>,
    /// Where the kernel's messages go.
    pub console: File,
    /// The kernel.
    pub kernel: File,
    /// An initial RAM disk for it.
    pub initrd: Option<File>,
    /// The disk, piece after piece, with the bytes that each takes.
    pub disk: Vec<(File, u64)>,
    /// Answers the guest's connections.
    pub connector: Box<dyn Connector>,
}

/// Not started yet.
#[derive(Debug)]
pub struct Built;
/// Its vCPUs run.
#[derive(Debug)]
pub struct Running;

/// A machine.
#[derive(Debug)]
pub struct Machine<State> {
    vcpus: Vec<(VcpuThread, Vcpu)>,
    transports: Vec<Wired>,
    reset: EventFd,
    ended: (Sender<Stopped>, Receiver<Stopped>),
    // Last: memory and VM outlive what uses them.
    _vm: Vm,
    state: PhantomData<State>,
}

/// Why a machine is no longer running.
#[derive(Debug)]
pub enum Stopped {
    /// The guest reset or shut down.
    ByGuest(&'static str),
    /// A vCPU could not go on.
    Failed(Error),
}

/// A device, and the events by which its driver calls.
#[derive(Debug)]
struct Wired {
    transport: Arc<Mutex<Transport>>,
    notifications: Vec<EventFd>,
}

/// Builds the machine of `spec` from `parts`, and tells how far it is.
pub fn build(
    spec: &VmSpec,
    parts: Parts,
    tell: impl Fn(Report) -> Result<(), Error>,
) -> Result<Machine<Built>, Error> {
    let Parts {
        first,
        vm,
        console,
        mut kernel,
        initrd,
        disk,
        connector,
    } = parts;
    // 1. Memory, the kernel in it, and its initial RAM disk.
    let mem = memory::allocate(spec.memory)?;
    let loaded = boot::load(&mem, spec.memory, &mut kernel, !spec.kernel_is_foreign)
        .map_err(|source| in_boot(spec, source))?;
    let initrd = load_initrd(spec, &mem, spec.memory, &loaded, initrd)?;
    tell(Report::Loaded)?;
    // 2. The VM, its vCPUs, and who executes them.
    let (vm, kvm) = vm.recv().map_err(panicked)??;
    tell(Report::Created)?;
    let cpus = check_cpus(&kvm, spec.cpus)?;
    let vcpu = vm.create_vcpu(&kvm, 0, cpus)?;
    let (mut vm, vcpu, flavour) = measure(&first, vm, vcpu)?;
    let mut vcpus = vec![(first, vcpu)];
    for id in 1..cpus {
        let thread = VcpuThread::spawn(id).map_err(no_thread)?;
        vcpus.push((thread, vm.create_vcpu(&kvm, id, cpus)?));
    }
    // 3. Memory as it is now: a mapping that changes later is a flush.
    vm.add_memory(0, mem.clone())?;
    // 4. Devices, wired to it.
    let reset = EventFd::new(0).map_err(no_event)?;
    let ports = Arc::new(wire_ports(&vm, console, &reset)?);
    let devices: [Box<dyn Device>; 3] = [
        Box::new(Block::new(Stitched::new(disk))),
        Box::new(Vsock::new(connector).map_err(|source| Error::Host {
            what: "an epoll",
            source,
        })?),
        Box::new(Rng::default()),
    ];
    let mut command_line = CommandLine::new(flavour, cpus, spec.verbose_console);
    let (mmio, transports) = wire_devices(&vm, &mem, devices, &mut command_line)?;
    // 5. What the kernel is told, and where the vCPUs begin.
    let tsc_khz = vcpus.first().and_then(|(_, vcpu)| vcpu.tsc_khz());
    tsc_khz.inspect(|khz| command_line.push(&format!("tsc_early_khz={khz}")));
    spec.kernel_args
        .iter()
        .for_each(|words| command_line.push(words));
    let hardware = Hardware {
        memory: spec.memory,
        cpus,
        acpi: spec.kernel_is_foreign,
    };
    boot::describe(&mem, &hardware, &loaded, initrd, &command_line)
        .map_err(|source| in_boot(spec, source))?;
    let mmio = Arc::new(mmio);
    for (_, vcpu) in &mut vcpus {
        vcpu.attach(mem.clone(), Arc::clone(&ports), Arc::clone(&mmio));
        boot::enter(&mem, vcpu, loaded.entry).map_err(|source| in_boot(spec, source))?;
    }
    tell(Report::Built { flavour })?;
    Ok(Machine {
        vcpus,
        transports,
        reset,
        ended: channel(),
        _vm: vm,
        state: PhantomData,
    })
}

fn in_boot(spec: &VmSpec, source: boot::Error) -> Error {
    Error::Boot {
        path: spec.kernel.clone(),
        source,
    }
}

fn load_initrd(
    spec: &VmSpec,
    mem: &Mem,
    memory: u64,
    kernel: &boot::Loaded,
    file: Option<File>,
) -> Result<Option<boot::Initrd>, Error> {
    let loaded = file.map(|file| boot::load_initrd(mem, memory, kernel, file));
    loaded.transpose().map_err(|source| Error::Boot {
        path: spec.initrd.clone().unwrap_or_default(),
        source,
    })
}

fn check_cpus(kvm: &Kvm, asked: u32) -> Result<u8, Error> {
    // 8-bit APIC IDs, of which the I/O APIC takes one and 255 is everybody.
    let most = kvm.max_vcpus().min(254);
    u8::try_from(asked)
        .ok()
        .filter(|cpus| usize::from(*cpus) <= most)
        .ok_or(Error::Kvm(crate::kvm::Error::TooManyCpus { asked, most }))
}

fn new_event() -> Result<EventFd, Error> {
    EventFd::new(EFD_NONBLOCK).map_err(no_event)
}

fn clone_event(event: &EventFd) -> Result<EventFd, Error> {
    event.try_clone().map_err(no_event)
}

/// Who executes the guest, measured where vCPU 0 will run.
fn measure(first: &VcpuThread, mut vm: Vm, mut vcpu: Vcpu) -> Result<(Vm, Vcpu, Flavour), Error> {
    let measured = first.start(move || {
        let flavour = Flavour::of(&mut vm, &mut vcpu)?;
        Ok::<_, kvm::Error>((vm, vcpu, flavour))
    });
    Ok(measured.recv().map_err(panicked)??)
}

/// A thread is gone; its last words are on their way already (`sys::panics`).
fn panicked(_: RecvError) -> Error {
    no_thread(io::ErrorKind::BrokenPipe.into())
}

fn no_thread(source: io::Error) -> Error {
    Error::Host {
        what: "a thread",
        source,
    }
}

fn no_event(source: io::Error) -> Error {
    Error::Host {
        what: "an eventfd",
        source,
    }
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

/// Gives each device a slot: registers on the bus, an interrupt, a notification per queue, and a
/// word on the command line.
fn wire_devices(
    vm: &Vm,
    mem: &Mem,
    devices: [Box<dyn Device>; 3],
    command_line: &mut CommandLine,
) -> Result<(Bus, Vec<Wired>), Error> {
    let mut bus = Bus::default();
    let mut wired = Vec::new();
    for (index, device) in (0..).zip(devices) {
        let slot = slot(index);
        let transport = Transport::new(device, mem.clone(), vm.line(slot.gsi));
        let mut notifications = Vec::new();
        for queue in (0..).take(transport.queue_count()) {
            let event = new_event()?;
            vm.wire_notification(&event, slot.address + QUEUE_NOTIFY, queue)?;
            notifications.push(event);
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

impl Machine<Built> {
    /// Starts the vCPUs.
    pub fn start(mut self) -> Result<Machine<Running>, Error> {
        for (thread, vcpu) in std::mem::take(&mut self.vcpus) {
            let (ended, stop) = (self.ended.0.clone(), clone_event(&self.reset)?);
            thread.start(move || {
                // Whoever waits may have seen another vCPU's end first.
                let _late = ended.send(run_vcpu(vcpu));
                let _full = stop.write(1);
            });
        }
        Ok(Machine {
            vcpus: Vec::new(),
            transports: self.transports,
            reset: self.reset,
            ended: self.ended,
            _vm: self._vm,
            state: PhantomData,
        })
    }
}

impl Machine<Running> {
    /// Serves the devices until the machine stops, on a thread of their own: however busy the guest
    /// keeps them, its end is seen. All threads end with the process.
    pub fn wait(self) -> Result<Stopped, Error> {
        let (ended, stop) = (self.ended.0.clone(), clone_event(&self.reset)?);
        let transports = self.transports;
        thread::Builder::new()
            .name("devices".to_owned())
            .spawn(move || {
                let Err(error) = serve_devices(transports);
                // Whoever waits may have seen a vCPU's end first.
                let _late = ended.send(Stopped::Failed(error));
                let _full = stop.write(1);
            })
            .map_err(no_thread)?;
        while let Err(error) = self.reset.read() {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(Error::Host {
                    what: "to wait for the machine",
                    source: error,
                });
            }
        }
        Ok(self
            .ended
            .1
            .try_recv()
            .unwrap_or(Stopped::ByGuest("it reset the machine")))
    }
}

fn serve_devices(transports: Vec<Wired>) -> Result<Infallible, Error> {
    let refused = |_| Error::Host {
        what: "an epoll",
        source: io::Error::last_os_error(),
    };
    let mut events = EventManager::<Wired>::new().map_err(refused)?;
    for wired in transports {
        events.add_subscriber(wired);
    }
    loop {
        events.run().map_err(refused)?;
    }
}

fn run_vcpu(mut vcpu: Vcpu) -> Stopped {
    loop {
        match vcpu.run() {
            Ok(Exit::Handled | Exit::Kicked) => {}
            Ok(Exit::Shutdown) => return Stopped::ByGuest("it shut down by a triple fault"),
            Err(error) => return Stopped::Failed(error.into()),
        }
    }
}

/// Marks the event of the device's own source; queues count from zero.
const SOURCE: u32 = u32::MAX;

impl MutEventSubscriber for Wired {
    fn init(&mut self, ops: &mut EventOps) {
        for (queue, event) in (0..).zip(&self.notifications) {
            let events = Events::with_data(event, queue, EventSet::IN);
            ops.add(events)
                .expect("a new eventfd is not in the epoll yet");
        }
        if let Some(source) = lock(&self.transport).source() {
            let events = Events::with_data(&source, SOURCE, EventSet::IN);
            ops.add(events)
                .expect("the device's epoll is not in ours yet");
        }
    }

    fn process(&mut self, events: Events, _ops: &mut EventOps) {
        if events.data() == SOURCE {
            return lock(&self.transport).poll();
        }
        let queue = usize::try_from(events.data()).unwrap_or(usize::MAX);
        if let (Some(event), Ok(number)) = (self.notifications.get(queue), u16::try_from(queue)) {
            // Empty when another event was served first.
            let _empty = event.read();
            lock(&self.transport).notify(number);
        }
    }
}
