//! `husk compare`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::output::{Failure, say};
use super::progress::Bar;
use super::workload::Workload;
use super::{Status, completion, doctor};
use crate::compare::report::{Kvm, Report, Subject};
use crate::compare::{
    self, Desk, Interrupt, Journal, Length, Request, Wall, check, environment, render,
};
use crate::container;
use crate::image::Store;
use crate::run;
use crate::spec::sentence::sentence;
use crate::spec::units;

/// Suites of a comparison that names none: what people ask first, and soon enough answered.
const USUAL_SUITES: [&str; 3] = ["start", "footprint", compare::SURFACE];

/// Run an image behind several walls in turns, and report what each costs and keeps out
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Walls, the one of interest first: vm, container, or an OCI runtime like runc, crun, /path
    #[arg(
        long,
        value_name = "WALL,…",
        value_delimiter = ',',
        default_value = "vm,container"
    )]
    walls: Vec<String>,
    /// What to measure: start, footprint, surface, cpu, memory, syscall, disk, net, parity, or all
    /// [default: start,footprint,surface]
    #[arg(long, value_name = "SUITE,…", value_delimiter = ',')]
    suite: Vec<String>,
    /// Say whether the command does the same behind each wall: exit status, output, files; status 1 if not
    #[arg(long)]
    diff: bool,
    /// Starts behind each wall
    #[arg(short = 'n', long, value_name = "N", default_value_t = 30)]
    samples: u32,
    /// Start for this long instead, like 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = units::parse_duration, conflicts_with = "samples")]
    duration: Option<Duration>,
    /// Starts behind each wall that do not count
    #[arg(long, value_name = "N", default_value_t = 1)]
    warmups: u32,
    /// Empty the page cache before each start; needs root
    #[arg(long)]
    cold: bool,
    /// Numbers of idle instances whose memory is looked at
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1")]
    instances: Vec<u32>,
    /// Numbers of starters at a time whose rate is looked at
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    parallel: Vec<u32>,
    /// Say this of the environment too, like clock=virtual
    #[arg(long, value_name = "NAME=TEXT")]
    fact: Vec<String>,
    /// Write the report as JSON, after each run; - is stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every sample as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with an earlier report, and end with status 1 where something became worse
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// What --check lets pass, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0 * check::TOLERANCE)]
    tolerance: f64,
    /// Show, or check, this report instead of making one
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    from: Option<PathBuf>,
    #[command(flatten)]
    workload: Workload,
    /// An image in the store, or oci:DIR, oci-archive:FILE, docker-archive:FILE
    #[arg(required_unless_present = "from", add = completion::images())]
    image: Option<String>,
    /// Command and arguments, instead of the image's; it must end by itself
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

/// Compares, reports, checks.
pub fn compare(args: Args) -> Status {
    let baseline = args.check.as_deref().map(read_report).transpose()?;
    let (report, failure) = match &args.from {
        Some(path) => (read_report(path)?, None),
        None => measure(&args)?,
    };
    publish(&args, &report)?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let differs = report.parity.as_ref().is_some_and(|parity| !parity.equal);
    let Some(baseline) = baseline else {
        return Ok(u8::from(args.diff && differs));
    };
    let outcome = check::check(&report, &baseline, args.tolerance / 100.0);
    let outcome = outcome.map_err(|why| Failure::new(why.to_string()))?;
    for line in &outcome.remarks {
        Failure::new(line).print();
    }
    for line in &outcome.regressions {
        Failure::new(line).print();
    }
    Ok(u8::from(!outcome.passes() || (args.diff && differs)))
}

/// Makes a report. What was measured before a failure is in it.
fn measure(args: &Args) -> Result<(Report, Option<Failure>), Failure> {
    let request = build_request(args)?;
    let journal = match &args.json {
        Some(path) if !is_stdout(path) => Journal::at(path),
        _ => Journal::at(&Store::default_path()?.join("compare.json")),
    };
    let desk = Desk::new()?;
    let interrupt = Interrupt::listen()?;
    let mut bar = Bar::new();
    let (report, ended) = compare::compare(&request, desk, &journal, interrupt, &mut |progress| {
        bar.show(&progress)
    });
    bar.finish();
    let failure = ended.err().map(|error| {
        let interrupted = matches!(error, compare::Error::Interrupted);
        let text = sentence(&error);
        let kept = journal.path().display();
        if interrupted {
            Failure::new(format!("{text}: what was measured is in `{kept}`")).with_status(130)
        } else {
            Failure::new(text)
        }
    });
    Ok((report, failure))
}

fn build_request(args: &Args) -> Result<Request, Failure> {
    let suites = suites(&args.suite, args.diff)?;
    let length = length(args)?;
    for (flag, numbers) in [
        ("--instances", &args.instances),
        ("--parallel", &args.parallel),
    ] {
        if numbers.contains(&0) || !numbers.is_sorted() {
            return Err(Failure::new(format!("{flag}: write rising numbers from 1")));
        }
    }
    let walls = walls(&args.walls)?;
    let image = args.image.clone().unwrap_or_default();
    let described = run::describe(&image, args.workload.request(&args.command)?)?;
    let kvm = if walls.iter().any(|wall| wall.words.is_empty()) {
        doctor::kind_of_kvm()?
    } else {
        Kvm::None
    };
    let mut environment = environment::look(kvm, run::GUEST_KERNEL);
    for fact in &args.fact {
        let (name, text) = fact
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("--fact `{fact}`: write NAME=TEXT")))?;
        environment.facts.set(name, text.to_owned());
    }
    Ok(Request {
        walls,
        workload: compare::Workload {
            // The same limits and the same name everywhere, said or not.
            limits: args.workload.limit_words(described.memory, described.cpus),
            words: args.workload.other_words("husk"),
            image: described.reference,
            command: args.command.clone(),
        },
        subject: Subject {
            image,
            digest: described.digest,
            command: described.command,
            memory_bytes: described.memory,
            cpus: described.cpus,
        },
        environment,
        suites,
        length,
        warmups: args.warmups,
        cold: args.cold,
        instances: args.instances.clone(),
        parallel: args.parallel.clone(),
    })
}

fn length(args: &Args) -> Result<Length, Failure> {
    match args.duration {
        Some(time) => Ok(Length::Time(time)),
        None if args.samples < compare::FEWEST => Err(Failure::new(format!(
            "--samples {}: fewer than {} say nothing; 30 are a good number",
            args.samples,
            compare::FEWEST
        ))),
        None => Ok(Length::Rounds(args.samples)),
    }
}

/// The suites by name. `--diff` alone asks for nothing else.
fn suites(asked: &[String], diff: bool) -> Result<Vec<String>, Failure> {
    let known: Vec<_> = USUAL_SUITES
        .into_iter()
        .chain(compare::PROBE_SUITES)
        .chain([compare::PARITY])
        .collect();
    if let Some(suite) = asked
        .iter()
        .find(|suite| *suite != "all" && !known.contains(&suite.as_str()))
    {
        return Err(Failure::new(format!(
            "--suite `{suite}`: there are {}, and all",
            known.join(", ")
        )));
    }
    let is_asked = |suite: &&str| match suite {
        _ if asked.iter().any(|name| name == "all" || name == suite) => true,
        &compare::PARITY => diff,
        usual => asked.is_empty() && !diff && USUAL_SUITES.contains(usual),
    };
    Ok(known
        .iter()
        .copied()
        .filter(is_asked)
        .map(str::to_owned)
        .collect())
}

/// The walls by name. A wall may be compared with itself, and then has two names.
fn walls(names: &[String]) -> Result<Vec<Wall>, Failure> {
    let mut walls: Vec<Wall> = Vec::new();
    for name in names {
        let words = match name.as_str() {
            "" => {
                return Err(Failure::new(
                    "--walls: write names with commas between them",
                ));
            }
            "vm" => Vec::new(),
            "container" => vec!["--wall".into(), "container".into()],
            runtime => {
                let found = container::find_runtime(Path::new(runtime));
                let found = found.map_err(|error| Failure::new(sentence(&error)))?;
                let runtime = found.into_os_string();
                vec![
                    "--wall".into(),
                    "container".into(),
                    "--oci-runtime".into(),
                    runtime,
                ]
            }
        };
        let again = walls.iter().filter(|wall| wall.words == words).count();
        let name = if again == 0 {
            name.clone()
        } else {
            format!("{name}-{}", again + 1)
        };
        walls.push(Wall { name, words });
    }
    Ok(walls)
}

/// A report as a text.
type Form = fn(&Report) -> String;

/// Writes the report in every form that is asked for, and for people where nothing goes to stdout.
fn publish(args: &Args, report: &Report) -> Result<(), Failure> {
    // A comparison has kept its JSON already.
    let json = args.json.as_ref();
    let json = json.filter(|path| args.from.is_some() || is_stdout(path));
    let forms: [(Option<&PathBuf>, Form); 4] = [
        (json, Report::to_json),
        (args.csv.as_ref(), render::csv),
        (args.markdown.as_ref(), render::markdown),
        (args.html.as_ref(), render::html),
    ];
    let mut said = false;
    for (target, form) in forms {
        match target {
            Some(path) if is_stdout(path) => {
                said = true;
                say(&form(report))?;
            }
            Some(path) => fs::write(path, form(report)).map_err(|error| {
                Failure::new(format!("cannot write `{}`: {error}", path.display()))
            })?,
            None => {}
        }
    }
    if said {
        Ok(())
    } else {
        say(&render::table(report))
    }
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn read_report(path: &Path) -> Result<Report, Failure> {
    let named = |why: String| Failure::new(format!("`{}`: {why}", path.display()));
    let json = fs::read(path).map_err(|error| named(error.to_string()))?;
    Report::parse(&json).map_err(|error| named(sentence(&error)))
}
