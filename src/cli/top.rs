//! `husk top`.

use std::io;
use std::thread;
use std::time::Duration;

use husk_init::archive::program::Order;
use husk_init::processes::Running;

use super::Status as ExitStatus;
use super::completion;
use super::cp::failed;
use super::machines::{REFUSED, refused};
use super::output::{Failure, say};
use super::template::align;
use crate::run;
use crate::run::files::{Archiver, read_bounded};
use crate::spec::sentence::printable;
use crate::spec::time;

/// List the processes of a machine that runs, by their numbers in it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or ID
    #[arg(add = completion::running())]
    machine: String,
    /// As of ps: -e, -f and their like, and -o COLUMNS, like -eo pid,user,args
    #[arg(
        value_name = "PS-OPTION",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    options: Vec<String>,
}

/// Columns by their names in ps, their titles, and where they stand in a row.
const COLUMNS: [(&str, &str, usize); 17] = [
    ("user", "USER", 0),
    ("euser", "EUSER", 0),
    ("pid", "PID", 1),
    ("ppid", "PPID", 2),
    ("c", "C", 3),
    ("pcpu", "%CPU", 3),
    ("%cpu", "%CPU", 3),
    ("stime", "STIME", 4),
    ("start_time", "START", 4),
    ("tty", "TT", 5),
    ("tt", "TT", 5),
    ("tname", "TTY", 5),
    ("time", "TIME", 6),
    ("cputime", "TIME", 6),
    ("cmd", "CMD", 7),
    ("args", "COMMAND", 7),
    ("command", "COMMAND", 7),
];

/// Docker's columns, which are those of `ps -ef`.
const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

/// Most bytes that are taken of a machine's list.
const MOST: u64 = 16 << 20;

const DAY: Duration = Duration::from_secs(86_400);

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Lists them.
pub fn top(args: &Args) -> ExitStatus {
    let columns = choose(&args.options)?;
    let mut machine = run::machines()?.find(&args.machine).map_err(refused)?;
    if !machine.kept {
        return Err(refused(machine.not_running()));
    }
    let (from, list) = io::pipe()?;
    let archiver =
        Archiver::begin(&mut machine, &Order::Processes, None, list.into()).map_err(failed)?;
    let reader = thread::Builder::new().name("list".to_owned());
    let reader = reader.spawn(move || read_bounded(from, MOST))?;
    archiver.end().map_err(failed)?;
    let list = reader.join().unwrap_or(Ok(Vec::new()))?;
    let now = time::now();
    let mut rows = vec![];
    for record in list
        .split(|byte| *byte == 0)
        .filter(|record| !record.is_empty())
    {
        // What a guest says may be anything.
        let one = Running::read(record).ok_or_else(|| {
            let text = format!("`{}` lists processes that are none", args.machine);
            Failure::new(text).with_status(REFUSED)
        })?;
        rows.push(row(&one, now));
    }
    let titles = columns.iter().map(|(title, _)| *title).collect();
    let shown = rows
        .iter()
        .map(|row| columns.iter().map(|(_, at)| row[*at].as_str()).collect());
    let lines: Vec<Vec<_>> = [titles].into_iter().chain(shown).collect();
    say(&align(&lines))?;
    Ok(0)
}

/// The columns that ps would show by these options: their titles, and where they stand in a row. Which processes are listed is
/// not to be chosen: all of the machine's are.
fn choose(options: &[String]) -> Result<Vec<(&'static str, usize)>, Failure> {
    let wrong = |text: String| Failure::new(text).with_status(REFUSED);
    let mut chosen = Vec::new();
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let letters = word.trim_start_matches('-');
        let (letters, list) = match letters.split_once('o') {
            None => (letters, None),
            Some((letters, "")) => (letters, words.next().map(String::as_str)),
            Some((letters, list)) => (letters, Some(list)),
        };
        let asks_for_list = word.contains('o');
        if letters.chars().any(|letter| !"eAafxw".contains(letter))
            || asks_for_list != list.is_some()
        {
            return Err(wrong(format!(
                "ps option `{word}`: there are -e, -A, -a, -f, -x, -w and -o COLUMNS"
            )));
        }
        for name in list.into_iter().flat_map(|list| list.split(',')) {
            let mut known = COLUMNS.iter();
            let Some((_, title, at)) = known.find(|(known, ..)| *known == name) else {
                let names = COLUMNS.map(|(name, ..)| name).join(", ");
                return Err(wrong(format!("column `{name}`: there are {names}")));
            };
            chosen.push((*title, *at));
        }
    }
    Ok(match chosen.is_empty() {
        true => TITLES.into_iter().zip(0..).collect(),
        false => chosen,
    })
}

fn row(one: &Running, now: u64) -> [String; 8] {
    let age = Duration::from_millis(one.age);
    let share = (one.cpu * 100).checked_div(one.age).unwrap_or(0).min(99);
    [
        printable(&one.user),
        one.pid.to_string(),
        one.parent.to_string(),
        share.to_string(),
        start(age, now),
        terminal(one.terminal),
        clock(one.cpu / 1000),
        printable(&one.command),
    ]
}

/// When it started, UTC: the time of day, or of one that is older the day.
fn start(age: Duration, now: u64) -> String {
    let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    let moment = time::show(now.saturating_sub(age_ns));
    let part = |range| moment.get(range).unwrap_or_default();
    let month: usize = part(5..7).parse().unwrap_or(1);
    match age < DAY {
        true => part(11..16).to_owned(),
        false => format!("{}{}", MONTHS[(month - 1) % MONTHS.len()], part(8..10)),
    }
}

/// The name of a terminal by its device number (kernel's `devices.txt`).
fn terminal(number: u32) -> String {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match major {
        0 => "?".to_owned(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 => "console".to_owned(),
        136..144 => format!("pts/{}", (major - 136) << 8 | minor),
        _ => format!("{major}:{minor}"),
    }
}

fn clock(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_that_ps_would_show() {
        let titles = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            let chosen = choose(&words).map_err(|failure| failure.to_string())?;
            Ok::<_, String>(
                chosen
                    .into_iter()
                    .map(|(title, _)| title)
                    .collect::<Vec<_>>(),
            )
        };
        for all in [&[][..], &["-ef"], &["ax"], &["-e", "-f"]] {
            assert_eq!(titles(all).unwrap(), TITLES);
        }
        for some in [
            &["-eo", "pid,args"][..],
            &["-o", "pid", "-oargs"],
            &["axo", "pid,args"],
        ] {
            assert_eq!(titles(some).unwrap(), ["PID", "COMMAND"], "{some:?}");
        }
        for (words, said) in [
            (&["aux"][..], "`aux`"),
            (&["-o"], "-o COLUMNS"),
            (&["-o", "pid,rss"], "column `rss`: there are user"),
        ] {
            let why = titles(words).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn a_row_reads_as_that_of_ps() {
        let one = Running {
            pid: 7,
            parent: 1,
            terminal: 136 << 8 | 3,
            cpu: 3_723_000,
            age: 7_446_000,
            user: b"root".to_vec(),
            command: b"sh -c \x1b[2J".to_vec(),
        };
        // 2026-11-27 02:00 UTC.
        let now = 1_795_744_800_000_000_000;
        let expected = [
            "root",
            "7",
            "1",
            "50",
            "23:55",
            "pts/3",
            "01:02:03",
            "sh -c \\u{1b}[2J",
        ];
        assert_eq!(row(&one, now), expected.map(str::to_owned));
        let old = Running {
            age: 2 * 86_400_000,
            terminal: 0,
            ..one
        };
        let old = row(&old, now);
        assert_eq!((old[4].as_str(), old[5].as_str()), ("Nov25", "?"));
    }
}
