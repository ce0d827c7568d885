//! `husk help`: what one wants to do, and the line that does it.

use clap::Command;

use super::Status;
use super::output::{Failure, say};

/// Show by examples what husk does, or explain one verb
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The verb to explain
    verb: Option<String>,
}

const LESSONS: &str = include_str!("help.txt");

/// Teaches.
pub fn help(args: &Args, mut command: Command) -> Status {
    let Some(name) = &args.verb else {
        say(LESSONS)?;
        return Ok(0);
    };
    command.build();
    let Some(verb) = command.find_subcommand_mut(name) else {
        return Err(Failure::new(format!(
            "`{name}` is no verb of husk: `husk --help` lists them all"
        )));
    };
    say(&verb.render_long_help().to_string())?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::command_line;
    use super::LESSONS;

    #[test]
    fn every_line_that_is_taught_is_one_that_husk_takes() {
        let lines = LESSONS
            .lines()
            .filter_map(|line| line.strip_prefix("    husk "));
        let mut taught = 0;
        for line in lines {
            let line = line.split(" #").next().unwrap_or(line);
            let line = line.split(" | ").next().unwrap_or(line);
            let words = std::iter::once("husk").chain(line.split_whitespace());
            let read = command_line().try_get_matches_from(words);
            assert!(read.is_ok(), "`{line}`: {}", read.unwrap_err());
            taught += 1;
        }
        assert!(taught > 10);
    }
}
