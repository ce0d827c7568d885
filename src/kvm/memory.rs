//! Guest memory: anonymous host pages, mapped lazily, at guest physical address 0 upwards.

use std::sync::Arc;

use vm_memory::GuestMemoryMmap;

/// Guest memory, shared by vCPUs and devices.
pub type Mem = Arc<GuestMemoryMmap>;
