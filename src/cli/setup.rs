//! `husk network setup`.

use super::Status;
use super::output::{Failure, say};
use crate::run::setup::{apply, steps, undoing};
use crate::spec::HostLink;
use crate::spec::sentence::sentence;

/// Print what root has to do on this host for --network tap=NAME or bridge=NAME, or do it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As it will be at --network: tap=NAME or bridge=NAME, with ip= and gw= this host leads to others, and with queues= the
    /// TAP interface has several queues
    #[arg(value_name = "tap=NAME|bridge=NAME[,ip=…,gw=…][,queues=…]")]
    network: String,
    /// Put the TAP interface on this bridge, which is made if it is not there
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// Whose machines may use the TAP interface [default: who types this, through sudo too]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Do it, as root: what is there already stays
    #[arg(long)]
    apply: bool,
}

/// Prints lines that a shell takes, or does them and says which were needed.
pub fn setup(args: &Args) -> Status {
    let link = HostLink::parse(&args.network).map_err(Failure::new)?;
    let bridge = args.bridge.as_deref();
    let checked = bridge.map(|name| HostLink::parse(&format!("bridge={name}")));
    checked.transpose().map_err(Failure::new)?;
    if let Some(user) = args.user.as_deref().filter(|user| !is_user(user)) {
        return Err(Failure::new(format!(
            "--user `{user}`: that is no name of a user"
        )));
    }
    let user = args.user.clone().or_else(typist);
    let steps = steps(&link, bridge, user.as_deref().unwrap_or("root"));
    if !args.apply {
        let lines = steps.iter().map(|step| format!("{step}\n"));
        let undone = undoing(&link, bridge);
        let undone = undone.iter().map(|line| format!("# to undo it: {line}\n"));
        say(&lines.chain(undone).collect::<String>())?;
        return Ok(0);
    }
    let mut closed = Ok(());
    let done = apply(&steps, |step, was_needed| {
        let line = match was_needed {
            true => format!("{step}\n"),
            false => format!("# already so: {step}\n"),
        };
        closed = say(&line);
    });
    done.map_err(|error| Failure::new(sentence(&error)))?;
    closed?;
    Ok(0)
}

/// Who types, if that is not root.
fn typist() -> Option<String> {
    let named = ["SUDO_USER", "USER"].map(|key| std::env::var(key).ok());
    let mut named = named.into_iter().flatten();
    named.find(|name| is_user(name) && name != "root")
}

/// Whether `name` may be one of a user (useradd(8)), or is a number; a shell takes it as it is.
fn is_user(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(legal)
}
