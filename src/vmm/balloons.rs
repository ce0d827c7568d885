//! What presses on the memory of a guest that runs. A device costs each boot its probing, so these come when they are
//! asked for: fitted here while the vCPUs run, and then announced to the guest by init.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;

use serde::{Deserialize, Serialize};

use super::machine::{Wired, serve_devices};
use super::slots::{MOST_SLOTS, slot};
use super::tuning::Tuning;
use crate::boot::MmioDevice;
use crate::devices::virtio::balloon::{Balloon, Dial, Limit, Sizes, Standing};
use crate::devices::virtio::device::Device;
use crate::devices::virtio::mmio::Transport;
use crate::kvm::bus::Bus;
use crate::kvm::line::Lines;
use crate::kvm::memory::Mem;
use crate::spec::VmSpec;
use crate::sys::lock::lock;

/// Where devices are fitted.
#[derive(Debug)]
pub struct Bay {
    lines: Lines,
    mem: Mem,
    bus: Arc<Bus>,
    /// How many slots have a device.
    taken: u8,
}

/// The balloons of a machine.
#[derive(Debug)]
pub struct Balloons {
    /// Bytes of memory that it booted with.
    memory: u64,
    sizes: Arc<Sizes>,
    fitted: Mutex<Fitted>,
}

#[derive(Debug)]
struct Fitted {
    bay: Bay,
    limit: Option<(Dial, Fit)>,
    /// Whether it works towards a reservation already.
    gives_back: bool,
    reservation: Option<Fit>,
}

/// A device that came later.
#[derive(Debug)]
struct Fit {
    place: MmioDevice,
    transport: Arc<Mutex<Transport>>,
}

/// How the balloons are, as the machine's process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// Devices that no driver has taken.
    pub untaken: Vec<MmioDevice>,
    /// How far the guest's memory is bounded, if it ever was.
    pub limit: Option<Standing>,
}

impl Balloons {
    /// Those of a machine of `spec`: at most one, from its boot on.
    pub fn new(bay: Bay, spec: &VmSpec, sizes: Arc<Sizes>) -> Self {
        Self {
            memory: spec.memory,
            sizes,
            fitted: Mutex::new(Fitted {
                bay,
                limit: None,
                gives_back: spec.reservation.is_some(),
                reservation: None,
            }),
        }
    }

    /// Has memory bounded and given back as `tuning` says; what is missing for it is fitted.
    pub fn tune(&self, tuning: &Tuning) -> io::Result<()> {
        let mut fitted = lock(&self.fitted);
        if let Some(bytes) = tuning.reservation {
            self.sizes.reservation.store(bytes, Ordering::Relaxed);
            if !fitted.gives_back {
                fitted.fit_reservation(Arc::clone(&self.sizes))?;
            }
        }
        if let Some(bytes) = tuning.memory {
            self.sizes.memory.store(bytes, Ordering::Relaxed);
            fitted.bound(self.memory.saturating_sub(bytes))?;
        }
        Ok(())
    }

    /// How they are.
    pub fn look(&self) -> Pressure {
        let fitted = lock(&self.fitted);
        let limit = fitted.limit.as_ref();
        let fits = limit.map(|(_, fit)| fit).into_iter();
        let untaken = fits
            .chain(&fitted.reservation)
            .filter(|fit| !lock(&fit.transport).is_active());
        Pressure {
            untaken: untaken.map(|fit| fit.place).collect(),
            limit: limit.map(|(dial, _)| dial.look()),
        }
    }
}

impl Fitted {
    /// Keeps so many bytes from the guest.
    fn bound(&mut self, bytes: u64) -> io::Result<()> {
        if self.limit.is_none() && bytes > 0 {
            let dial = Dial::default();
            let fit = self.bay.fit(Box::new(Limit::new(&dial)))?;
            self.limit = Some((dial, fit));
        }
        if let Some((dial, fit)) = &self.limit {
            dial.want(bytes);
            lock(&fit.transport).poll();
        }
        Ok(())
    }

    fn fit_reservation(&mut self, sizes: Arc<Sizes>) -> io::Result<()> {
        let fit = self.bay.fit(Box::new(Balloon::new(sizes)?))?;
        // Its clock wakes it; the devices' own thread has begun to wait already.
        let wired = Wired {
            transport: Arc::clone(&fit.transport),
            notifications: Vec::new(),
        };
        (self.reservation, self.gives_back) = (Some(fit), true);
        let serves = thread::Builder::new().name("balloon".to_owned());
        serves.spawn(move || serve_devices(vec![wired]))?;
        Ok(())
    }
}

impl Bay {
    /// Behind so many devices of a machine that is about to run.
    pub fn behind(devices: usize, lines: Lines, mem: &Mem, bus: Arc<Bus>) -> Self {
        Self {
            lines,
            mem: Arc::clone(mem),
            bus,
            taken: u8::try_from(devices).unwrap_or(u8::MAX),
        }
    }

    /// Puts `device` into the next slot. Its driver's calls come by its registers, on the vCPU's own thread: a balloon is not
    /// called often enough for an event per queue.
    fn fit(&mut self, device: Box<dyn Device>) -> io::Result<Fit> {
        if self.taken >= MOST_SLOTS {
            return Err(io::Error::other("it has no interrupt line left"));
        }
        let place = slot(self.taken);
        self.taken += 1;
        let line = self.lines.line(place.gsi);
        let transport = Transport::new(device, Arc::clone(&self.mem), line);
        let transport = Arc::new(Mutex::new(transport));
        self.bus
            .insert_late(place.address, place.len, transport.clone());
        Ok(Fit { place, transport })
    }
}
