//! What a machine is made of besides KVM's part of it: taken with the order to build it, the kernel
//! already in memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use super::error::Error;
use super::uplink::{self, Order, Report};
use crate::boot::{self, Initrd, Loaded};
use crate::devices::virtio::fs::{self, Owners};
use crate::kvm::memory::{self, Mem};
use crate::net::Setup;
use crate::spec::VmSpec;
use crate::sys::seqpacket::Seqpacket;

/// A cable to a network of the host's, and what of the host's kernel moves frames there, if anything does.
pub type HostCable = (OwnedFd, Option<OwnedFd>);

/// The parts: nothing of them is a path to open.
pub struct Parts {
    /// What is to be made of them.
    pub spec: VmSpec,
    /// The guest's memory.
    pub mem: Mem,
    /// The kernel in it.
    pub kernel: Loaded,
    /// The initial RAM disk in it, if there is one.
    pub initrd: Option<Initrd>,
    /// Where the kernel's messages go.
    pub console: File,
    /// The disk, piece after piece, with the bytes that each takes.
    pub disk: Vec<(File, u64)>,
    /// The disk that is written, with its bytes.
    pub written: Option<(File, u64)>,
    /// What the guest sees of the host's files.
    pub shares: Vec<fs::Share>,
    /// Its network, if it has one.
    pub network: Option<Setup>,
    /// Its cables, if its network is one of the host's: one for each queue of its card.
    pub cables: Vec<HostCable>,
}

/// Takes the order to build with its files, loads the kernel, and tells so.
pub fn take_parts(uplink: &Seqpacket) -> Result<Parts, Error> {
    let (spec, files, handed) = take_build(uplink)?;
    let files = sort_files(&spec, files)?;
    let network = spec.network.clone();
    let set_up = |network| Setup::new(network, handed.doors, handed.attempts, handed.trunks);
    let network = network
        .map(|network| set_up(network).ok_or_else(misordered))
        .transpose()?;
    let mem = memory::allocate(spec.memory)?;
    let (kernel, initrd) = load(&spec, &mem, files.kernel, files.initrd)?;
    uplink::send(uplink, &Report::Loaded, &[]).map_err(Error::Process)?;
    Ok(Parts {
        mem,
        kernel,
        initrd,
        console: files.console,
        disk: files.disk,
        written: files.written,
        shares: open_shares(&spec, handed.shares)?,
        network,
        cables: handed.cables,
        spec,
    })
}

/// What the parent hands over before the order to build.
#[derive(Default)]
struct Handed {
    shares: Vec<OwnedFd>,
    doors: Vec<OwnedFd>,
    attempts: Option<OwnedFd>,
    cables: Vec<HostCable>,
    trunks: Vec<OwnedFd>,
}

/// The order to build, its files, and what came before it.
fn take_build(uplink: &Seqpacket) -> Result<(VmSpec, Vec<OwnedFd>, Handed), Error> {
    let mut handed = Handed::default();
    loop {
        let (order, files) = next_order(uplink)?;
        if let Order::Build(spec) = order {
            return Ok((*spec, files, handed));
        }
        let mut files = files.into_iter();
        match order {
            Order::Share => handed.shares.extend(files),
            Order::Listen => handed.doors.extend(files),
            Order::Plug => handed.trunks.extend(files),
            Order::Note => handed.attempts = files.next(),
            Order::Wire => handed
                .cables
                .extend(files.next().map(|tap| (tap, files.next()))),
            _ => return Err(misordered()),
        }
    }
}

/// The files of the order itself.
struct Files {
    console: File,
    kernel: File,
    initrd: Option<File>,
    disk: Vec<(File, u64)>,
    written: Option<(File, u64)>,
}

/// In their order: console, kernel, initial RAM disk, one for each piece of the disk, and the disk that
/// is written.
fn sort_files(spec: &VmSpec, files: Vec<OwnedFd>) -> Result<Files, Error> {
    let mut files = files.into_iter().map(File::from);
    let mut next = || files.next().ok_or_else(misordered);
    let (console, kernel) = (next()?, next()?);
    let initrd = spec.initrd.as_ref().map(|_| next()).transpose()?;
    let disk = spec.disk.iter().map(|piece| Ok((next()?, piece.len)));
    let disk = disk.collect::<Result<Vec<_>, Error>>()?;
    let written = spec.written.as_ref();
    let written = written.map(|disk| Ok::<_, Error>((next()?, disk.len)));
    let written = written.transpose()?;
    Ok(Files {
        console,
        kernel,
        initrd,
        disk,
        written,
    })
}

/// What the guest will see of the host's files.
fn open_shares(spec: &VmSpec, files: Vec<OwnedFd>) -> Result<Vec<fs::Share>, Error> {
    if files.len() != spec.shares.len() {
        return Err(misordered());
    }
    let shares = files.into_iter().zip(&spec.shares).enumerate();
    let shares = shares.map(|(number, (file, share))| {
        let owners = Owners::new(share.owner.uid.unwrap_or(0), share.owner.gid.unwrap_or(0));
        fs::Share::new(number, file, share.read_only, owners)
    });
    let shares = shares.collect::<Result<_, _>>();
    shares.map_err(|errno| Error::Process(errno.into()))
}

/// The kernel, and the initial RAM disk if there is one.
fn load(
    spec: &VmSpec,
    mem: &Mem,
    mut kernel: File,
    initrd: Option<File>,
) -> Result<(Loaded, Option<Initrd>), Error> {
    let kernel = boot::load(mem, spec.memory, &mut kernel, !spec.kernel_is_foreign)
        .map_err(|source| in_boot(spec, source))?;
    let initrd = initrd.map(|file| boot::load_initrd(mem, spec.memory, &kernel, file));
    let initrd = initrd.transpose().map_err(|source| Error::Boot {
        path: spec.initrd.clone().unwrap_or_default(),
        source,
    })?;
    Ok((kernel, initrd))
}

/// What is wrong with the kernel of `spec`.
pub fn in_boot(spec: &VmSpec, source: boot::Error) -> Error {
    Error::Boot {
        path: spec.kernel.clone(),
        source,
    }
}

/// The parent may be gone, or have nothing to run after all; then nobody reads what we say.
pub fn next_order(uplink: &Seqpacket) -> Result<(Order, Vec<OwnedFd>), Error> {
    let order = uplink::receive(uplink).map_err(Error::Process)?;
    order.ok_or_else(|| Error::Process(io::ErrorKind::BrokenPipe.into()))
}

/// The parent said what it must not.
pub fn misordered() -> Error {
    Error::Process(io::ErrorKind::InvalidInput.into())
}
