//! A bound of the guest's memory: a balloon as large as the host says, out of which the guest takes nothing by itself.
//!
//! ```text
//!  want(pages) ──▶ more than before? ──▶ what can the guest spare? ─┬─▶ enough: the target ──▶ it inflates
//!                    └─▶ less: the target ──▶ it deflates           └─▶ Short: nothing is taken
//! ```
//!
//! VIRTIO_BALLOON_F_DEFLATE_ON_OOM is not offered: a guest that needs more kills, as one that booted with no more does. So
//! its kernel counts what is in the balloon no longer as memory, and its programs see the bound (MemTotal).

use std::io;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::pages::{self, DEFLATE, F_STATS_VQ, INFLATE, PAGE, STATISTICS};
use super::statistics;
use crate::devices::virtio::chain::{Chain, broken};
use crate::devices::virtio::device::{Active, Cause, Device, Kind};
use crate::sys::lock::lock;

/// The queues, in the order that they have where statistics are accepted (5.5.2).
const QUEUES: [u16; 3] = [128, 128, 16];

/// What a guest keeps of what it could spare: the estimate is its kernel's, and one without a free page would kill for the
/// next. Pages.
const KEPT: u64 = (4 << 20) / PAGE;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// The guest has not said what it could spare.
    Unheard,
    /// The guest was told.
    Told {
        /// Bytes that are in it.
        inflated: u64,
        /// Bytes that are to be in it.
        target: u64,
    },
    /// The guest was not told: it could not spare as much.
    Short {
        /// Bytes that it could spare.
        spare: u64,
    },
}

/// What its user and the device know together, in pages.
#[derive(Debug, Default)]
struct Scale {
    /// What its user wants in it.
    wanted: u64,
    /// What the guest is told.
    target: u64,
    /// What is in it, as the driver says.
    inflated: u64,
    /// What the guest could spare, where that was too little for what is wanted.
    spare: Option<u64>,
}

/// Who says how large it is.
#[derive(Debug, Clone, Default)]
pub struct Dial(Arc<Mutex<Scale>>);

/// The device.
#[derive(Debug)]
pub struct Limit {
    scale: Arc<Mutex<Scale>>,
    active: Option<Active>,
    /// The driver's buffer for statistics, kept until they are wanted.
    asked: Option<u16>,
}

impl Dial {
    /// Has so many bytes in it, in whole pages. The device looks at it when it is polled, and when its driver comes.
    pub fn want(&self, bytes: u64) {
        let mut scale = lock(&self.0);
        (scale.wanted, scale.spare) = (bytes / PAGE, None);
    }

    /// How far it is.
    pub fn look(&self) -> Standing {
        let scale = lock(&self.0);
        match scale.spare {
            _ if scale.wanted == scale.target => Standing::Told {
                inflated: scale.inflated.saturating_mul(PAGE),
                target: scale.target * PAGE,
            },
            Some(spare) => Standing::Short {
                spare: spare.saturating_mul(PAGE),
            },
            None => Standing::Unheard,
        }
    }
}

impl Limit {
    /// As large as `dial` says.
    pub fn new(dial: &Dial) -> Self {
        Self {
            scale: Arc::clone(&dial.0),
            active: None,
            asked: None,
        }
    }

    fn serve(&mut self, queue: usize) -> io::Result<()> {
        let Some(mut active) = self.active.take() else {
            return Ok(());
        };
        let served = pages::serve(&mut active, queue, |chain, active| {
            match queue {
                INFLATE => {
                    let pages = pages::take(chain, active)?;
                    let mut scale = lock(&self.scale);
                    scale.inflated = scale.inflated.saturating_add(pages);
                }
                DEFLATE => {
                    let pages = pages::count(chain)?;
                    let mut scale = lock(&self.scale);
                    scale.inflated = scale.inflated.saturating_sub(pages);
                }
                _ => {
                    self.decide(chain, active)?;
                    return pages::keep(&mut self.asked, chain, active);
                }
            }
            Ok(true)
        });
        self.active = Some(active);
        served
    }

    /// The guest says what it could spare: enough for what is wanted, or not.
    fn decide(&self, chain: &Chain, active: &Active) -> io::Result<()> {
        let Some(available) = statistics::hear(chain, active)? else {
            return Ok(());
        };
        let mut scale = lock(&self.scale);
        let (spare, more) = (
            (available / PAGE).saturating_sub(KEPT),
            scale.wanted.saturating_sub(scale.inflated),
        );
        if scale.wanted <= scale.target || more <= spare {
            let changes = scale.target != scale.wanted;
            scale.target = scale.wanted;
            drop(scale);
            if changes {
                active.irq.signal(Cause::Config);
            }
        } else {
            scale.spare = Some(spare);
        }
        Ok(())
    }
}

impl Device for Limit {
    fn kind(&self) -> Kind {
        Kind::Balloon
    }

    fn queues(&self) -> &'static [u16] {
        &QUEUES
    }

    fn features(&self) -> u64 {
        F_STATS_VQ
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let scale = lock(&self.scale);
        pages::read_config((scale.target, scale.inflated), offset, data);
    }

    /// A driver that says nothing of its guest could be asked for what that has not.
    fn activate(&mut self, active: Active, features: u64) -> io::Result<()> {
        if features & F_STATS_VQ == 0 {
            return Err(broken("a driver that does not want all of the balloon"));
        }
        (self.active, self.asked) = (Some(active), None);
        lock(&self.scale).inflated = 0;
        // Linux calls for its first statistics before it is ready.
        self.serve(STATISTICS)
    }

    fn stop(&mut self) -> Option<Active> {
        self.active.take()
    }

    fn notify(&mut self, queue: u16) -> io::Result<()> {
        self.serve(queue.into())
    }

    /// Somebody wants another size: a smaller balloon at once, a larger one when the guest was asked.
    fn poll(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let mut scale = lock(&self.scale);
        if scale.wanted <= scale.target {
            scale.target = scale.wanted;
            drop(scale);
            active.irq.signal(Cause::Config);
            return Ok(());
        }
        drop(scale);
        pages::ask(&mut self.asked, active)
    }
}
