//! Which disks of the host's are meant by `--device-read-bps` and its like, as control groups name them.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value, json};

use super::error::Error;
use crate::spec::{DeviceRate, DeviceRates};

/// A disk: major and minor number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    major: u32,
    minor: u32,
}

impl Disk {
    /// `MAJOR:MINOR`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// A bound of one disk: bytes or operations a second.
pub type Bound = (Disk, u64);

/// What is bounded: read and written bytes, read and written operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds(pub [Option<Bound>; 4]);

/// What is said where images are on no disk that a control group knows.
pub const NO_DISK: &str = "--device-… of a container is not enforced: the images are on no disk of one's own; write PATH:RATE";

/// How the OCI runtime specification calls them ("Block IO").
const OCI: [&str; 4] = [
    "throttleReadBpsDevice",
    "throttleWriteBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteIOPSDevice",
];

/// The disks of `rates`; those without a name are the one below `images`. `None` where that has none: a file system in
/// memory, or on several disks.
pub fn find(rates: &DeviceRates, images: &Path) -> Result<Option<Bounds>, Error> {
    let mut bounds = Bounds::default();
    let all = [
        ("--device-read-bps", &rates.read_bps),
        ("--device-write-bps", &rates.write_bps),
        ("--device-read-iops", &rates.read_iops),
        ("--device-write-iops", &rates.write_iops),
    ];
    for ((flag, rate), bound) in all.into_iter().zip(&mut bounds.0) {
        let Some(DeviceRate { device, rate }) = rate else {
            continue;
        };
        let disk = match device {
            Some(path) => Some(named(flag, path)?),
            None => below(images).map_err(Error::Process)?,
        };
        let Some(disk) = disk else { return Ok(None) };
        *bound = Some((disk, *rate));
    }
    Ok(Some(bounds))
}

impl Bounds {
    /// As a bundle's configuration has them.
    pub fn to_oci(self) -> Value {
        let mut all = json!({});
        for (key, bound) in OCI.into_iter().zip(self.0) {
            if let Some((Disk { major, minor }, rate)) = bound {
                all[key] = json!([{"major": major, "minor": minor, "rate": rate}]);
            }
        }
        all
    }
}

fn named(flag: &'static str, path: &Path) -> Result<Disk, Error> {
    let refused = |source| Error::NoDisk {
        flag,
        path: path.to_owned(),
        source,
    };
    let file = fs::metadata(path).map_err(refused)?;
    match file.file_type().is_block_device() {
        true => Ok(whole(file.rdev())),
        false => Err(refused(io::ErrorKind::InvalidInput.into())),
    }
}

/// The disk that has the file system of `folder`.
fn below(folder: &Path) -> io::Result<Option<Disk>> {
    let device = fs::metadata(folder)?.dev();
    // Major 0 is of those without a disk of their own (Documentation/admin-guide/devices.txt).
    Ok((rustix::fs::major(device) != 0).then(|| whole(device)))
}

/// The disk of a partition: control groups know no others.
fn whole(device: u64) -> Disk {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let known = format!("/sys/dev/block/{major}:{minor}");
    let part = || {
        fs::metadata(format!("{known}/partition")).ok()?;
        let text = fs::read_to_string(format!("{known}/../dev")).ok()?;
        Disk::parse(&text)
    };
    part().unwrap_or(Disk { major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_in_memory_has_no_disk() {
        assert_eq!(below(Path::new("/proc")).unwrap(), None);
        let rates = DeviceRates {
            read_bps: Some(DeviceRate {
                device: None,
                rate: 7,
            }),
            ..DeviceRates::default()
        };
        assert_eq!(find(&rates, Path::new("/proc")).unwrap(), None);
        let none = find(&DeviceRates::default(), Path::new("/proc"));
        assert_eq!(none.unwrap(), Some(Bounds::default()));
    }

    #[test]
    fn what_is_no_disk_is_told_by_its_name() {
        let rates = DeviceRates {
            write_iops: Some(DeviceRate {
                device: Some("/dev/null".into()),
                rate: 7,
            }),
            ..DeviceRates::default()
        };
        let error = find(&rates, Path::new("/")).unwrap_err().to_string();
        assert!(
            error.starts_with("--device-write-iops: `/dev/null`"),
            "{error}"
        );
    }

    #[test]
    fn a_bundle_names_disks_by_number() {
        let disk = Disk {
            major: 254,
            minor: 3,
        };
        let bounds = Bounds([None, Some((disk, 9)), None, None]);
        let expected = json!({"throttleWriteBpsDevice": [{"major": 254, "minor": 3, "rate": 9}]});
        assert_eq!(bounds.to_oci(), expected);
        assert_eq!(Disk::parse(&format!("{disk}\n")), Some(disk));
        assert_eq!(Disk::parse("Total"), None);
    }
}
