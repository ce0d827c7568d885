//! The container's root: the image's tree under a writable layer in memory, and in it, by init's own
//! code, what init would do in a guest: files, volumes, file systems in memory, the working directory, the user.
//!
//! ```text
//!  workspace/        a tmpfs that nobody else sees, no larger than the container's memory
//!  ├ lower           the image's tree   ─ lower ─▶│
//!  ├ written/upper   what is written    ─ upper ─▶│ overlay
//!  ├ root ◀───────────────────────────────────────┘
//!  ├ bundle          for the OCI runtime
//!  └ state           the runtime's own
//! ```
//!
//! An overlay notes in attributes of its upper layer's files what has been removed. Those of an ordinary user's
//! overlay are attributes of users, which a tmpfs has from Linux 6.6 on only: before, `written` is on disk.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::job::{Job, PROBE_PATH};
use husk_init::sys::mount::chroot;
use husk_init::user::{self, User};
use husk_init::workload::Program;
use husk_init::{files, places, sys};
use rustix::fs::{XattrFlags, setxattr};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use rustix::process::{fchdir, umask};

use super::error::{Error, root as failed};
use super::shares::Trees;
use crate::spec::{ContainerSpec, Missing};

/// How the layers are put together, as init does in a guest: renames of the image's directories work,
/// nothing is indexed, and no attribute that an image could carry is trusted.
const LAYERS: &CStr = c"lowerdir=lower,upperdir=written/upper,workdir=written/work,redirect_dir=on,metacopy=off,index=off,\
     xino=off";

/// The same in a user namespace, where the kernel keeps its notes in attributes of users.
const ROOTLESS_LAYERS: &CStr =
    c"lowerdir=lower,upperdir=written/upper,workdir=written/work,userxattr,index=off,xino=off";

/// Room for husk's own files beside what the workload writes, bytes.
const OWN_ROOM: u64 = 1 << 20;

/// A root that is mounted.
#[derive(Debug)]
pub struct Root {
    /// The workspace, where it is mounted.
    pub workspace: PathBuf,
}

/// What was found in the image for the workload.
#[derive(Debug)]
pub struct Prepared {
    /// Who runs it.
    pub user: User,
    /// What runs.
    pub program: Program,
}

impl Root {
    /// Mounts the root of `spec`. No device in it works: not before the container has a group that
    /// tells them apart.
    pub fn mount(
        spec: &ContainerSpec,
        rootless: bool,
        missing: &mut Vec<Missing>,
    ) -> Result<Self, Error> {
        let workspace = spec.workspace.clone();
        fs::create_dir_all(&workspace).map_err(failed("workspace"))?;
        let options = format!("mode=0700,size={}", spec.memory + OWN_ROOM);
        let quiet = MountFlags::NOSUID | MountFlags::NODEV;
        let options =
            sys::string(options.as_bytes()).map_err(|errno| failed("workspace")(errno.into()))?;
        mount("tmpfs", &workspace, "tmpfs", quiet, options.as_c_str())
            .map_err(|errno| failed("file system in memory")(errno.into()))?;
        let root = Self { workspace };
        for folder in ["lower", "written", "root", "bundle", "state"] {
            make_directory(&root.place(folder), 0o700).map_err(failed("folders"))?;
        }
        mount_bind(&spec.tree, root.place("lower"))
            .map_err(|errno| failed("the image's tree")(errno.into()))?;
        if let Some(disk) = &spec.written {
            if root.mount_on_disk(disk, rootless).is_ok() {
                return Ok(root);
            }
            missing.push(Missing {
                text: "neither this host's memory nor the store's disk can take all that an \
                       overlay notes: a directory of the image that was removed cannot be made again"
                    .to_owned(),
                asked: false,
            });
        }
        root.mount_layers(rootless)?;
        Ok(root)
    }

    /// Has the workload write to the directory `disk`. Nothing is mounted where that cannot be.
    fn mount_on_disk(&self, disk: &Path, rootless: bool) -> Result<(), Error> {
        let written = self.place("written");
        setxattr(disk, "user.husk", &[], XattrFlags::empty())
            .map_err(|errno| failed("attributes on disk")(errno.into()))?;
        mount_bind(disk, &written).map_err(|errno| failed("disk")(errno.into()))?;
        self.mount_layers(rootless).inspect_err(|_| {
            // It is covered by nothing, and its files are closed.
            let _unmounted = unmount(&written, UnmountFlags::DETACH);
        })
    }

    /// A place in the workspace.
    pub fn place(&self, name: &str) -> PathBuf {
        self.workspace.join(name)
    }

    /// The root directory of an overlay looks as the upper one does: it gets the image's attributes.
    fn make_upper(&self) -> io::Result<()> {
        let image = fs::metadata(self.place("lower"))?;
        let upper = self.place("written/upper");
        make_directory(&upper, 0o700)?;
        make_directory(&self.place("written/work"), 0o700)?;
        chown(&upper, Some(image.uid()), Some(image.gid()))?;
        fs::set_permissions(&upper, Permissions::from_mode(image.mode() & 0o7777))
    }

    fn mount_layers(&self, rootless: bool) -> Result<(), Error> {
        self.make_upper().map_err(failed("upper layer"))?;
        self.mount_overlay(rootless).map_err(failed("overlay"))
    }

    fn mount_overlay(&self, rootless: bool) -> io::Result<()> {
        let before = File::open(".")?;
        // Names from here: a path could have a character in it that means something to the overlay.
        rustix::process::chdir(&self.workspace)?;
        let options = if rootless { ROOTLESS_LAYERS } else { LAYERS };
        let mounted = mount("overlay", "root", "overlay", MountFlags::NODEV, options);
        fchdir(&before)?;
        Ok(mounted?)
    }

    /// Lets devices in the root work, for a container whose group tells them apart.
    pub fn allow_devices(&self) -> Result<(), Error> {
        mount_remount(self.place("root"), MountFlags::BIND, "")
            .map_err(|errno| failed("devices")(errno.into()))
    }

    /// Does in the root what init does in a guest's, in the same order. For a moment the root is this
    /// process's own, so that every link of the image's leads to somewhere inside it.
    pub fn prepare(&self, spec: &ContainerSpec) -> Result<Prepared, Error> {
        let shares = Trees::open(&spec.shares)?;
        let outside = File::open("/").map_err(failed("the host's root"))?;
        let cwd = File::open(".").map_err(failed("the working directory"))?;
        let mask = umask(rustix::fs::Mode::empty());
        let inside = sys::string(self.place("root").as_os_str().as_bytes())
            .and_then(|root| chroot(&root))
            .and_then(|()| sys::mount::chdir(c"/"))
            .map_err(io::Error::from);
        let prepared = inside.map(|()| prepare(&spec.job, &shares, spec.probe.is_some()));
        let back = fchdir(&outside)
            .map_err(io::Error::from)
            .and_then(|()| Ok(chroot(c".")?))
            .and_then(|()| Ok(fchdir(&cwd)?));
        umask(mask);
        back.map_err(failed("the way back from it"))?;
        prepared
            .map_err(failed("the way into it"))?
            .map_err(Error::Refused)
    }
}

/// Removes what was written to the directory `disk`, once nobody writes any more. What resists goes
/// with the store's `prune`.
pub fn discard(disk: Option<&Path>) {
    if let Some(disk) = disk {
        let _resists = fs::remove_dir_all(disk);
    }
}

/// `probe` says that husk's own program will stand in the root, too.
fn prepare(job: &Job, shares: &Trees, probe: bool) -> Result<Prepared, Failure> {
    files::write(&job.files)?;
    places::make(job, shares)?;
    let user = user::resolve(&job.process.user)?;
    let program = Program::new(&job.process, &user)?;
    let cwd = sys::string(&job.process.cwd).and_then(|cwd| sys::mount::chdir(&cwd));
    cwd.at(Stage::Workdir, &job.process.cwd)?;
    // The runtime puts the probe where it is.
    let is_probe = job
        .process
        .argv
        .first()
        .is_some_and(|command| command == PROBE_PATH.as_bytes());
    if !(probe && is_probe) {
        look_for(&program, &job.process.argv)?;
    }
    Ok(Prepared { user, program })
}

/// A command that is not there, or is none, is told before a container is made for it.
pub(super) fn look_for(program: &Program, argv: &[Vec<u8>]) -> Result<(), Failure> {
    let mut errno = libc::ENOENT;
    for file in &program.files {
        let Ok(found) = sys::file::stat(file) else {
            continue;
        };
        if found.st_mode & libc::S_IFMT == libc::S_IFREG && found.st_mode & 0o111 != 0 {
            return Ok(());
        }
        errno = libc::EACCES;
    }
    Err(Failure {
        stage: Stage::Exec,
        errno,
        detail: argv.first().cloned().unwrap_or_default(),
    })
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)
}
