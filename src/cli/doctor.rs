//! `husk doctor`.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::Status;
use super::output::{Failure, say};
use crate::compare::report;
use crate::image::Store;
use crate::kvm::{self, Flavour, Kvm};
use crate::net;
use crate::spec::sentence::sentence;
use crate::spec::units::show_size;
use crate::sys::limits::most_open_files;
use crate::sys::tun::PATH as TUN;

/// Say what this machine offers, and the remedy for what is missing
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    /// As it should be.
    Good,
    /// husk works, and something is slower or less than it could be.
    Note,
    /// husk cannot run machines.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    subject: &'static str,
    grade: Grade,
    /// What there is.
    fact: String,
    /// What it means for the user, and what to do.
    meaning: String,
}

/// Memory that a machine of the default size takes at most.
const USUAL_MEMORY: u64 = 512 << 20;

/// Looks at everything; exits 0 when machines can run here, 1 when not.
pub fn doctor(args: &Args) -> Status {
    let findings = examine();
    if args.json {
        say(&format!("{:#}\n", to_json(&findings)))?;
    } else {
        findings
            .iter()
            .try_for_each(|finding| say(&to_text(finding)))?;
    }
    Ok(u8::from(
        findings.iter().any(|finding| finding.grade == Grade::Bad),
    ))
}

fn examine() -> Vec<Finding> {
    let mut findings = match Kvm::open() {
        Ok(kvm) => examine_kvm(&kvm),
        Err(error) => vec![absent_kvm(&error)],
    };
    findings.extend([
        memory(),
        open_files(),
        cgroups(),
        user_namespaces(),
        tun(),
        store(),
    ]);
    findings
}

/// What runs machines here.
pub fn kind_of_kvm() -> Result<report::Kvm, Failure> {
    let failed = |error: kvm::Error| Failure::new(sentence(&error));
    let kvm = Kvm::open().map_err(failed)?;
    Ok(match Flavour::measure(&kvm).map_err(failed)? {
        Flavour::Hardware => report::Kvm::Hardware,
        Flavour::Software => report::Kvm::Software,
    })
}

fn absent_kvm(error: &kvm::Error) -> Finding {
    let grade = Grade::Bad;
    let meaning = match error {
        kvm::Error::Absent => "load the module (modprobe kvm_intel, or kvm_amd); in a virtual machine, switch on nested virtualization; in a container, pass /dev/kvm in".to_owned(),
        kvm::Error::Forbidden => {
            let group = fs::metadata("/dev/kvm").map(|meta| meta.gid()).unwrap_or_default();
            format!("join the group that owns it (gid {group}, usually `sudo usermod -aG kvm $USER`), then log in again")
        }
        _ => "no machine can run until this is mended".to_owned(),
    };
    Finding {
        subject: "/dev/kvm",
        grade,
        fact: error.to_string(),
        meaning,
    }
}

fn examine_kvm(kvm: &Kvm) -> Vec<Finding> {
    let mut findings = vec![Finding {
        subject: "/dev/kvm",
        grade: Grade::Good,
        fact: "present, readable and writable".to_owned(),
        meaning: "machines need no other rights".to_owned(),
    }];
    findings.push(match Flavour::measure(kvm) {
        Ok(Flavour::Hardware) => Finding {
            subject: "kind of KVM",
            grade: Grade::Good,
            fact: "hardware (VMX or SVM)".to_owned(),
            meaning: "guest kernels run at full speed".to_owned(),
        },
        Ok(Flavour::Software) => Finding {
            subject: "kind of KVM",
            grade: Grade::Note,
            fact: "software: the kernel interprets guest kernels".to_owned(),
            meaning: "images run, and user code at full speed; boots take seconds and system calls of guests a fraction of a millisecond; for speed use a machine with VMX or SVM".to_owned(),
        },
        Err(error) => Finding {
            subject: "kind of KVM",
            grade: Grade::Bad,
            fact: error.to_string(),
            meaning: "a machine of one page could not be run; no other will".to_owned(),
        },
    });
    let capabilities = kvm.capabilities();
    let missing: Vec<_> = capabilities
        .iter()
        .filter(|cap| !cap.present)
        .map(|cap| cap.name)
        .collect();
    findings.push(if missing.is_empty() {
        Finding {
            subject: "KVM capabilities",
            grade: Grade::Good,
            fact: format!("all {} that husk needs", capabilities.len()),
            meaning: format!("up to {} CPUs in one machine", kvm.max_vcpus()),
        }
    } else {
        Finding {
            subject: "KVM capabilities",
            grade: Grade::Bad,
            fact: format!("missing: {}", missing.join(", ")),
            meaning: "the host's kernel is too old or built without them: update it".to_owned(),
        }
    });
    findings
}

fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let available = kib.unwrap_or(0) * 1024;
    let (grade, meaning) = if available >= USUAL_MEMORY {
        (
            Grade::Good,
            "guests take memory as they touch it, not at their start".to_owned(),
        )
    } else {
        (
            Grade::Note,
            "little: give machines less with --memory, or close something".to_owned(),
        )
    };
    Finding {
        subject: "memory",
        grade,
        fact: format!("{} available", show_size(available)),
        meaning,
    }
}

/// Each conversation of a machine with the world is an open file.
fn open_files() -> Finding {
    let files = most_open_files();
    let most = net::room(files, false);
    let conversations =
        format!("a machine's network has room for {most} conversations at one time");
    let (grade, meaning) = match most < net::room(usize::MAX, false) {
        true => (
            Grade::Note,
            format!("{conversations}; for more, raise the hard limit (ulimit -Hn, LimitNOFILE=)"),
        ),
        false => (Grade::Good, conversations),
    };
    Finding {
        subject: "open files",
        grade,
        fact: format!("up to {files} in one process"),
        meaning,
    }
}

fn cgroups() -> Finding {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    let (fact, meaning) = match unified {
        Ok(controllers) => (
            format!("v2, with {}", controllers.trim()),
            "a machine's process can be limited from outside by your service manager; root's containers are limited by it".to_owned(),
        ),
        Err(_) => (
            "v1, hybrid or none".to_owned(),
            "nothing that machines need; limits from outside, and those of root's containers, are v1's".to_owned(),
        ),
    };
    Finding {
        subject: "cgroups",
        grade: Grade::Good,
        fact,
        meaning,
    }
}

fn user_namespaces() -> Finding {
    let read = |path| {
        fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
    };
    let most = read("/proc/sys/user/max_user_namespaces").unwrap_or(0);
    let forbidden = read("/proc/sys/kernel/unprivileged_userns_clone") == Some(0);
    let (fact, meaning) = if most > 0 && !forbidden {
        (
            "user namespaces are allowed",
            "nothing that machines need; with --wall container ordinary users have containers",
        )
    } else {
        (
            "user namespaces are not allowed",
            "nothing that machines need: they keep guests apart by KVM; --wall container is for root alone",
        )
    };
    Finding {
        subject: "namespaces",
        grade: Grade::Good,
        fact: fact.to_owned(),
        meaning: meaning.to_owned(),
    }
}

fn tun() -> Finding {
    let opened = File::options().read(true).write(true).open(TUN);
    let (grade, fact, meaning) = match opened {
        Ok(_) => (
            Grade::Good,
            "readable and writable".to_owned(),
            "machines can be on networks of this host's (--network tap=); with --wall container, containers have a network",
        ),
        Err(error) => (
            Grade::Note,
            error.to_string(),
            "machines need it for --network tap= alone; containers have no network: load the module (modprobe tun), or let your user open it",
        ),
    };
    Finding {
        subject: TUN,
        grade,
        fact,
        meaning: meaning.to_owned(),
    }
}

fn store() -> Finding {
    let finding = |grade, fact: String, meaning: &str| Finding {
        subject: "store",
        grade,
        fact,
        meaning: meaning.to_owned(),
    };
    let path = match Store::default_path() {
        Ok(path) => path,
        Err(error) => {
            return finding(
                Grade::Bad,
                error.to_string(),
                "images have to be kept somewhere",
            );
        }
    };
    match Store::open(&path) {
        Ok(_) => {
            let free = rustix::fs::statvfs(&path).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
            let fact = format!("{}, {} free", path.display(), show_size(free));
            finding(Grade::Good, fact, "HUSK_HOME puts it elsewhere")
        }
        Err(error) => finding(
            Grade::Bad,
            sentence(&error),
            "set HUSK_HOME to a folder that you may write to",
        ),
    }
}

fn to_json(findings: &[Finding]) -> serde_json::Value {
    let list: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "subject": finding.subject,
                "grade": word(finding.grade),
                "fact": finding.fact,
                "meaning": finding.meaning,
            })
        })
        .collect();
    json!(list)
}

fn to_text(finding: &Finding) -> String {
    let Finding {
        subject,
        grade,
        fact,
        meaning,
    } = finding;
    format!("{:<5} {subject}: {fact}\n      {meaning}\n", word(*grade))
}

fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Good => "ok",
        Grade::Note => "note",
        Grade::Bad => "BAD",
    }
}
