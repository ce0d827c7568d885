//! A network device with several pairs of queues, so that more than one of the guest's CPUs and of the host's move its frames
//! at a time (virtio 1.2, 5.1.6.5.5).
//!
//! ```text
//!  queues 0, 1 ──▶ a device of one pair ──▶ its cable ─┐
//!  queues 2, 3 ──▶ a device of one pair ──▶ its cable ─┼─▶ one interface
//!  …                                                   ┘
//!  the last one: commands, by which the driver says how many pairs it uses; at first that is one
//! ```
//!
//! Each pair is a device as it would be alone: what is not used is stopped, and its queues wait here. The kernel sends
//! frames by the cables of used pairs only.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::write;

use super::control::{Command, answer};
use super::wire::{F_CTRL_VQ, F_MQ};
use crate::devices::virtio::chain::broken;
use crate::devices::virtio::device::{Active, Cause, Device, Irq, Kind};
use crate::spec::MOST_QUEUES;
use crate::sys::lock::lock;

/// Most pairs of one device.
pub const MOST_PAIRS: usize = MOST_QUEUES as usize;

/// Two for each pair, and that of commands: as many of them as there are.
const QUEUES: [u16; 2 * MOST_PAIRS + 1] = [256; 2 * MOST_PAIRS + 1];

/// Where `max_virtqueue_pairs` is in the configuration (5.1.4).
const MOST_AT: usize = 8;

/// Lets an interface send by the cable of a pair, or no longer.
pub type Steer = Box<dyn FnMut(usize, bool) -> io::Result<()> + Send>;

/// The device.
pub struct Pairs {
    pairs: Vec<Box<dyn Device>>,
    steer: Steer,
    /// Readable when one of them has work of the host's making.
    source: OwnedFd,
    /// While a driver has begun.
    begun: Option<Begun>,
}

/// What the driver has begun.
struct Begun {
    features: u64,
    irq: Arc<dyn Irq>,
    /// How many pairs it uses: the first ones.
    used: usize,
    /// The queues of the others, from the first one that is not used to the last.
    waiting: Vec<Active>,
    /// That of its commands, where it has one.
    control: Active,
}

impl Pairs {
    /// A device of these, each of one pair, behind cables of one interface.
    pub fn new(pairs: Vec<Box<dyn Device>>, mut steer: Steer) -> io::Result<Self> {
        let is_possible = (2..=MOST_PAIRS).contains(&pairs.len());
        if !is_possible || pairs.iter().any(|pair| pair.queues().len() != 2) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let source = epoll::create(CreateFlags::CLOEXEC)?;
        for (index, pair) in pairs.iter().enumerate() {
            if let Some(one) = pair.source() {
                epoll::add(&source, one, EventData::new_u64(0), EventFlags::IN)?;
            }
            if index > 0 {
                steer(index, false)?;
            }
        }
        Ok(Self {
            pairs,
            steer,
            source,
            begun: None,
        })
    }

    /// Which queue is that of commands.
    fn control(&self) -> usize {
        2 * self.pairs.len()
    }

    /// Which of the pairs has queue number `queue`, and which queue of its own that is.
    fn pair(&self, queue: u16) -> Option<(&dyn Device, u16)> {
        let pair = self.pairs.get(usize::from(queue / 2))?;
        Some((&**pair, queue % 2))
    }

    /// Serves the driver's commands.
    fn obey(&mut self) -> io::Result<()> {
        // Who does not know of several pairs has set up no queue for commands.
        let knows = |begun: &mut Begun| has_several(begun.features);
        let Some(mut begun) = self.begun.take_if(knows) else {
            return Ok(());
        };
        let obeyed = self.obey_all(&mut begun);
        self.begun = Some(begun);
        obeyed
    }

    fn obey_all(&mut self, begun: &mut Begun) -> io::Result<()> {
        loop {
            while let Some(chain) = begun.control.pop(0)? {
                let mem = Arc::clone(&begun.control.mem);
                let is_done = match Command::parse(&chain, &mem)? {
                    Command::UsePairs(count) => self.use_pairs(begun, count.into())?,
                    Command::Unknown => false,
                };
                let written = answer(&chain, &mem, is_done)?;
                begun.control.give_back(0, chain.head, written)?;
                begun.control.interrupt(0)?;
            }
            if !begun.control.rearm(0)? {
                return Ok(());
            }
        }
    }

    /// Uses the first `count` of them and no other; whether that can be.
    fn use_pairs(&mut self, begun: &mut Begun, count: usize) -> io::Result<bool> {
        if !(1..=self.pairs.len()).contains(&count) {
            return Ok(false);
        }
        while begun.used < count && !begun.waiting.is_empty() {
            // The host may have taken the interface away.
            if (self.steer)(begun.used, true).is_err() {
                return Ok(false);
            }
            let active = begun.waiting.remove(0);
            let begins = self.pairs[begun.used].activate(active, begun.features);
            begun.used += 1;
            begins?;
        }
        while begun.used > count {
            begun.used -= 1;
            let active = self.pairs[begun.used].stop();
            let active = active.ok_or_else(|| broken("a pair that cannot be stopped"))?;
            begun.waiting.insert(0, active);
            // Who is taken away sends nothing.
            let _gone = (self.steer)(begun.used, false);
        }
        Ok(true)
    }
}

impl Device for Pairs {
    fn kind(&self) -> Kind {
        Kind::Network
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES[..=self.control()]
    }

    /// Who does not know of several has one pair, as it would be alone.
    fn needed(&self, features: u64) -> usize {
        match has_several(features) {
            true => self.queues().len(),
            false => 2,
        }
    }

    fn features(&self) -> u64 {
        self.pairs[0].features() | F_CTRL_VQ | F_MQ
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; MOST_AT + 2];
        let most = u16::try_from(self.pairs.len()).unwrap_or(u16::MAX);
        config[MOST_AT..].copy_from_slice(&most.to_le_bytes());
        let rest = usize::try_from(offset).ok().and_then(|at| config.get(at..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(data.len());
        data[..len].copy_from_slice(&rest[..len]);
    }

    fn activate(&mut self, active: Active, features: u64) -> io::Result<()> {
        let irq: Arc<dyn Irq> = Arc::new(InTurn {
            irq: Mutex::new(Arc::clone(&active.irq)),
            event: self
                .interrupt()
                .map(|event| event.try_clone_to_owned())
                .transpose()?,
        });
        let mut queues = active.queues.into_iter();
        let mut next = |count| Active {
            mem: Arc::clone(&active.mem),
            irq: Arc::clone(&irq),
            queues: queues.by_ref().take(count).collect(),
        };
        let first = next(2);
        let waiting = (1..self.pairs.len()).map(|_| next(2)).collect();
        let control = next(1);
        self.begun = Some(Begun {
            features,
            irq: active.irq,
            used: 1,
            waiting,
            control,
        });
        self.pairs[0].activate(first, features)
    }

    fn stop(&mut self) -> Option<Active> {
        let begun = self.begun.take()?;
        let mut queues = Vec::new();
        for (index, pair) in self.pairs.iter_mut().take(begun.used).enumerate() {
            queues.extend(pair.stop().into_iter().flat_map(|active| active.queues));
            if index > 0 {
                // Who is taken away sends nothing.
                let _gone = (self.steer)(index, false);
            }
        }
        queues.extend(begun.waiting.into_iter().flat_map(|active| active.queues));
        queues.extend(begun.control.queues);
        Some(Active {
            mem: begun.control.mem,
            irq: begun.irq,
            queues,
        })
    }

    fn call(&self, queue: u16) -> Option<BorrowedFd<'_>> {
        let (pair, queue) = self.pair(queue)?;
        pair.call(queue)
    }

    fn interrupt(&self) -> Option<BorrowedFd<'_>> {
        self.pairs[0].interrupt()
    }

    fn notify(&mut self, queue: u16) -> io::Result<()> {
        if usize::from(queue) == self.control() {
            return self.obey();
        }
        let used = self.begun.as_ref().map_or(0, |begun| begun.used);
        let pair = usize::from(queue / 2);
        match self.pairs.get_mut(pair).filter(|_| pair < used) {
            Some(pair) => pair.notify(queue % 2),
            None => Ok(()),
        }
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.source.as_fd())
    }

    fn poll(&mut self) -> io::Result<()> {
        self.pairs.iter_mut().try_for_each(|pair| pair.poll())
    }
}

/// Whether a driver with these features knows of several pairs: without commands it could not say so (5.1.3.1).
fn has_several(features: u64) -> bool {
    features & (F_MQ | F_CTRL_VQ) == F_MQ | F_CTRL_VQ
}

/// The interrupt of all pairs, raised by one at a time: of a line that another holds up nobody sees an edge.
#[derive(Debug)]
struct InTurn {
    irq: Mutex<Arc<dyn Irq>>,
    /// By which it is raised, where somebody else does that for used buffers.
    event: Option<OwnedFd>,
}

impl Irq for InTurn {
    fn signal(&self, cause: Cause) {
        match (&self.event, cause) {
            (Some(event), Cause::Queue) => {
                // A full counter is seen, too.
                let _full = write(event, &1u64.to_ne_bytes());
            }
            _ => lock(&self.irq).signal(cause),
        }
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairs")
            .field("count", &self.pairs.len())
            .field("used", &self.begun.as_ref().map(|begun| begun.used))
            .finish_non_exhaustive()
    }
}
