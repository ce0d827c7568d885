//! A machine that is built: started once, waited for.

use std::convert::Infallible;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use rustix::io::read;
use vmm_sys_util::eventfd::EventFd;

use super::balloons::Balloons;
use super::error::{Error, no_event, no_thread};
use super::throttle::{Allowance, Throttle};
use super::tuning::Governor;
use super::vcpu_thread::VcpuThread;
use crate::devices::virtio::mmio::Transport;
use crate::devices::virtio::net::Waker;
use crate::kvm::{Exit, Exits, Vcpu, Vm};
use crate::net::Changes;
use crate::sys::lock::lock;

/// Where a network is told of changes, and what has it look at them.
pub type Patch = (Changes, Waker);

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
    /// What may be changed of it.
    pub governor: Arc<Governor>,
    /// What presses on its memory.
    pub balloons: Arc<Balloons>,
    /// Where somebody asked.
    pub exits: Option<Arc<Exits>>,
    /// Of its network, if that has any.
    pub patch: Option<Patch>,
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
pub struct Wired {
    /// Its registers.
    pub transport: Arc<Mutex<Transport>>,
    /// One event for each queue that it does not watch itself, by number.
    pub notifications: Vec<(u16, OwnedFd)>,
}

impl Machine<Built> {
    /// A machine that is ready to start: `reset` is how its guest ends it.
    pub fn new(
        vm: Vm,
        vcpus: Vec<(VcpuThread, Vcpu)>,
        transports: Vec<Wired>,
        reset: EventFd,
        (governor, balloons): (Governor, Balloons),
    ) -> Self {
        Self {
            vcpus,
            transports,
            reset,
            ended: channel(),
            governor: Arc::new(governor),
            balloons: Arc::new(balloons),
            exits: None,
            patch: None,
            _vm: vm,
            state: PhantomData,
        }
    }

    /// Starts the vCPUs.
    pub fn start(mut self) -> Result<Machine<Running>, Error> {
        for (thread, vcpu) in std::mem::take(&mut self.vcpus) {
            let (ended, stop) = (self.ended.0.clone(), clone_event(&self.reset)?);
            let allowance = Arc::clone(&self.governor.allowance);
            thread.start(move || {
                // Whoever waits may have seen another vCPU's end first.
                let _late = ended.send(run_vcpu(vcpu, allowance));
                let _full = stop.write(1);
            });
        }
        Ok(Machine {
            vcpus: Vec::new(),
            transports: self.transports,
            reset: self.reset,
            ended: self.ended,
            governor: self.governor,
            balloons: self.balloons,
            exits: self.exits,
            patch: self.patch,
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

/// Serves devices whenever their events say so.
pub fn serve_devices(transports: Vec<Wired>) -> Result<Infallible, Error> {
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

fn run_vcpu(mut vcpu: Vcpu, allowance: Arc<Allowance>) -> Stopped {
    let failed = |source| {
        Stopped::Failed(Error::Host {
            what: "a timer for --cpus",
            source,
        })
    };
    let mut throttle = match Throttle::new(allowance) {
        Ok(throttle) => throttle,
        Err(error) => return failed(error),
    };
    loop {
        match vcpu.run() {
            Ok(Exit::Handled) => {}
            Ok(Exit::Kicked) => {
                if let Err(error) = throttle.heed() {
                    return failed(error);
                }
            }
            Ok(Exit::Shutdown) => return Stopped::ByGuest("it shut down by a triple fault"),
            Err(error) => return Stopped::Failed(error.into()),
        }
    }
}

/// Marks the event of the device's own source; queues count from zero.
const SOURCE: u32 = u32::MAX;

impl MutEventSubscriber for Wired {
    fn init(&mut self, ops: &mut EventOps) {
        for (queue, event) in &self.notifications {
            let events = Events::with_data(event, (*queue).into(), EventSet::IN);
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
        let mut all = self.notifications.iter();
        if let Some((queue, event)) = all.find(|(queue, _)| u32::from(*queue) == events.data()) {
            // Empty when another event was served first.
            let _empty = read(event, &mut [0; 8]);
            lock(&self.transport).notify(*queue);
        }
    }
}

/// Another descriptor of the same event.
pub fn clone_event(event: &EventFd) -> Result<EventFd, Error> {
    event.try_clone().map_err(no_event)
}
