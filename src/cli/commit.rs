//! `husk commit`.

use std::env;
use std::io::{self, BufReader, BufWriter, Read};
use std::sync::mpsc::channel;
use std::thread;

use husk_init::archive::program::{Halt, Order};
use husk_init::archive::tar::Writer;
use husk_init::archive::{self, CHUNK};

use super::Status as ExitStatus;
use super::completion;
use super::cp::{check, failed, finish};
use super::machines::{REFUSED, refused};
use super::output::{Failure, say};
use crate::image::{Amendment, Files, Image, Instruction, Limits, NewLayer, Reference, Store};
use crate::machines::{Machine, Record};
use crate::run;
use crate::run::changes::{Changes, hidden};
use crate::run::files::Archiver;
use crate::spec::{EnvWord, time};

/// Make an image of what a machine that runs has changed of its own
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who made it
    #[arg(short, long)]
    author: Option<String>,
    /// Change the image's configuration by an instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER,
    /// VOLUME, WORKDIR or STOPSIGNAL
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Halt the machine's processes meanwhile, as is done anyhow where that is possible: --pause commits nothing where they cannot
    /// be halted, and --pause=false lets them go on
    #[arg(
        short,
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pause: Option<bool>,
    /// A message for the image's history
    #[arg(short, long)]
    message: Option<String>,
    /// Name or ID
    #[arg(add = completion::running())]
    machine: String,
    /// What the image is called: [REGISTRY/]NAME[:TAG]
    name: Option<String>,
}

/// Commits, and prints the image's ID.
pub fn commit(args: Args) -> ExitStatus {
    let wrong = |text: String| Failure::new(text).with_status(REFUSED);
    let mut machine = run::machines()?.find(&args.machine).map_err(refused)?;
    let name = args.name.map(|name| {
        Reference::parse(&name).ok_or_else(|| wrong(format!("`{name}` is no name of an image")))
    });
    let name = name.transpose()?;
    let store = Store::open(&Store::default_path()?)?;
    let image = store.find(&machine.record.image_id)?;
    let mut instructions = own(&machine.record);
    for text in &args.change {
        let read = Instruction::parse(text);
        instructions.extend(read.map_err(|why| wrong(format!("--change {why}")))?);
    }
    let amendment = Amendment {
        instructions,
        created: created(),
        created_by: machine.record.resolved.command.join(" "),
        comment: args.message,
        author: args.author,
    };
    let files = store.files(&image)?;
    let halt = match args.pause {
        None => Halt::IfPossible,
        Some(true) => Halt::InAnyCase,
        Some(false) => Halt::Nobody,
    };
    let layer = take_layer(&store, &mut machine, (&image, &files), halt)?;
    let made = layer.commit(&image, &amendment, name)?;
    say(&format!("{}\n", made.id))?;
    Ok(0)
}

/// Now, or when whoever wants the same image twice says.
fn created() -> String {
    let epoch = env::var("SOURCE_DATE_EPOCH").ok();
    let epoch = epoch.and_then(|seconds| seconds.parse::<u64>().ok());
    let moment = epoch.and_then(|seconds| seconds.checked_mul(1_000_000_000));
    time::show(moment.unwrap_or_else(time::now))
}

/// What was asked of the machine is the image's, as docker has it.
fn own(record: &Record) -> Vec<Instruction> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let request = &record.request;
    let mut own = Vec::new();
    if let Some(program) = &request.entrypoint {
        let words = Some(text(program)).filter(|word| !word.is_empty());
        own.push(Instruction::Entrypoint(words.into_iter().collect()));
    }
    if !request.command.is_empty() {
        let words = request.command.iter().map(|word| text(word));
        own.push(Instruction::Cmd(words.collect()));
    }
    own.extend(request.env.iter().map(|word| match word {
        EnvWord::Set(key, value) => Instruction::Env(text(key), text(value)),
        EnvWord::Unset(key) => Instruction::Unset(text(key)),
    }));
    own.extend(request.workdir.clone().map(Instruction::Workdir));
    own.extend(request.user.clone().map(Instruction::User));
    let lifecycle = record.lifecycle();
    let labels = lifecycle.labels.iter();
    own.extend(labels.map(|(key, value)| Instruction::Label(key.clone(), value.clone())));
    own.extend(lifecycle.stop_signal.clone().map(Instruction::StopSignal));
    own
}

/// The machine's changes as a layer of the store, once the machine says that this was all.
fn take_layer<'s>(
    store: &'s Store,
    machine: &mut Machine,
    (image, files): (&Image, &Files),
    halt: Halt,
) -> Result<NewLayer<'s>, Failure> {
    let origin = format!("the changes of {}", machine.record.name);
    let order = Order::Changes {
        contents: true,
        hidden: hidden(&image.config.volumes),
        halt,
    };
    let (from, archive) = io::pipe()?;
    let archiver = Archiver::begin(machine, &order, None, archive.into()).map_err(failed)?;
    let (layer, to) = io::pipe()?;
    let (sender, done) = channel();
    let taken = thread::scope(|scope| {
        let packs = thread::Builder::new().name("layer".to_owned());
        let packs = packs.spawn_scoped(scope, move || {
            let changes = Changes::new(BufReader::with_capacity(CHUNK, from), files);
            let to = Writer::new(BufWriter::with_capacity(CHUNK, to));
            // Whoever waits for it waits for the end of the layer too.
            let _gone = sender.send(pack(changes, to));
        });
        packs.map(|_| store.take_layer(layer, &Limits::default(), &origin))
    })?;
    // What broke off is no layer, whatever the store made of it.
    let done = done
        .recv()
        .unwrap_or(Err(archive::Error::Malformed("nobody read it")));
    match (taken, done) {
        // The store knows why it reads no more.
        (Err(error), Err(archive::Error::Stream(closed)))
            if closed.kind() == io::ErrorKind::BrokenPipe =>
        {
            Err(error.into())
        }
        (taken, done) => {
            let words = finish(archiver, done)?;
            if !words.is_empty() {
                Failure::new(format!("`{}`: {words}", machine.record.name)).print();
            }
            Ok(taken?)
        }
    }
}

/// The layer: changes as the machine tells them, without what is none.
fn pack(
    mut changes: Changes<'_, impl Read>,
    mut to: Writer<impl io::Write>,
) -> Result<(), archive::Error> {
    while let Some(change) = changes.next_change()? {
        if let Some(entry) = change.entry {
            check(&entry)?;
            to.copy(&entry, changes.data())?;
        }
    }
    to.end()
}
