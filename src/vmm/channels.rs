//! The guest's connections. The first frame of each says what it is: the control channel, or one
//! of the streams of a session that was asked for, and each of those is there once. Everything else
//! breaks the protocol.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use husk_init::frame::{self, Frame, Stream};

use super::talk::Event;
use super::uplink::{self, MAX_CONNECTIONS, Order, Report};
use crate::sessions::{self, SessionId};
use crate::sys::lock::lock;
use crate::sys::seqpacket::Seqpacket;

/// Longest payload that init sends: a failure's detail, which may be a whole command-line argument
/// (MAX_ARG_STRLEN of Linux).
const MAX_ANSWER: u32 = 256 << 10;

/// Frames that may wait for a guest that does not read; more are lost.
const MAX_WAITING: usize = 1024;

/// Who uses a session, over connections of the guest's.
pub type Client = sessions::Client<UnixStream>;

/// What the connections of one guest are connected to.
#[derive(Debug)]
pub struct Hall {
    seats: Mutex<Seats>,
    /// Connections that the guest may open in all.
    allowance: AtomicUsize,
    /// The way to the machine's process.
    uplink: Seqpacket,
    events: Sender<Event>,
}

/// Who may still connect.
#[derive(Debug, Default)]
struct Seats {
    has_control: bool,
    sessions: BTreeMap<u32, (Arc<Client>, Vec<Stream>)>,
    /// The highest session that had seats, ever.
    last: u32,
}

impl Hall {
    /// A hall with seats for the control channel and the workload's `streams`, which `client` uses.
    pub fn new(
        uplink: Seqpacket,
        (client, streams): (Arc<Client>, Vec<Stream>),
        events: Sender<Event>,
    ) -> Self {
        let seats = Seats {
            sessions: [(SessionId::WORKLOAD.0, (client, streams))].into(),
            ..Seats::default()
        };
        Self {
            seats: Mutex::new(seats),
            allowance: AtomicUsize::new(MAX_CONNECTIONS),
            uplink,
            events,
        }
    }

    /// Has seats for one session more, and the machine told to admit them; its report says when it
    /// does.
    pub fn invite(
        &self,
        session: u32,
        client: Arc<Client>,
        streams: Vec<Stream>,
    ) -> io::Result<()> {
        let connections = streams.len();
        self.allowance.fetch_add(connections, Ordering::SeqCst);
        {
            let mut seats = lock(&self.seats);
            seats.last = seats.last.max(session);
            seats.sessions.insert(session, (client, streams));
        }
        let order = Order::Admit {
            connections,
            session,
        };
        uplink::send_now(&self.uplink, &order)
    }

    /// Takes the seats of a session that is over; what was not used of its allowance is none any more.
    pub fn dismiss(&self, session: u32) {
        if let Some((_, unused)) = lock(&self.seats).sessions.remove(&session) {
            self.allowance.fetch_sub(unused.len(), Ordering::SeqCst);
        }
    }
}

/// Follows the machine's reports and turns them, and every connection of the guest, into events.
/// Ends when the machine's process does.
pub fn follow(hall: Arc<Hall>) -> io::Result<()> {
    let uplink = hall.uplink.try_clone()?;
    thread::Builder::new()
        .name("uplink".to_owned())
        .spawn(move || {
            listen_to_machine(&uplink, &hall);
            // The talk may be over already.
            let _over = hall.events.send(Event::Gone);
        })?;
    Ok(())
}

fn listen_to_machine(uplink: &Seqpacket, hall: &Arc<Hall>) {
    let mut connections = 0;
    while let Ok(Some((report, files))) = uplink::receive::<Report>(uplink) {
        if let Report::Connected { port } = report {
            // What is one too many, or nobody's, is closed here.
            if port == frame::PORT && connections < hall.allowance.load(Ordering::SeqCst) {
                connections += 1;
                accept(files, hall);
            }
        } else if hall.events.send(Event::Report(report)).is_err() {
            return;
        }
    }
}

fn accept(files: Vec<OwnedFd>, hall: &Arc<Hall>) {
    let Some(connection) = files.into_iter().next().map(UnixStream::from) else {
        return;
    };
    let hall = Arc::clone(hall);
    let events = hall.events.clone();
    let spawned = thread::Builder::new()
        .name("channel".to_owned())
        .spawn(move || {
            if let Err(text) = hall.seat(connection) {
                let _over = hall.events.send(Event::Broken(text));
            }
        });
    if let Err(error) = spawned {
        let _over = events.send(Event::Broken(format!("no thread for it ({error})")));
    }
}

impl Hall {
    /// Serves one connection to its end.
    fn seat(&self, mut connection: UnixStream) -> Result<(), String> {
        let first = match Frame::receive_within(&mut connection, MAX_ANSWER) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(error.to_string());
            }
            // Hanging up without a word is no offence; the machine's end is reported by the machine.
            Err(_) | Ok(None) => return Ok(()),
            Ok(Some(frame)) => frame,
        };
        match first {
            Frame::Hello => {
                self.take_control()?;
                self.converse(connection).map_err(|error| error.to_string())
            }
            Frame::Attach { session, stream } => {
                if let Some(client) = self.take(session, stream)? {
                    let carried = client.carry(stream, connection);
                    let _over = self.events.send(Event::Closed(session, stream, carried));
                }
                Ok(())
            }
            _ => Err("a connection began with the wrong frame".to_owned()),
        }
    }

    fn take_control(&self) -> Result<(), String> {
        match std::mem::replace(&mut lock(&self.seats).has_control, true) {
            false => Ok(()),
            true => Err("a control channel, which it has already".to_owned()),
        }
    }

    /// Who uses the stream; nobody, if its session is over: the guest may not know yet.
    fn take(&self, session: u32, stream: Stream) -> Result<Option<Arc<Client>>, String> {
        let mut seats = lock(&self.seats);
        let last = seats.last;
        let Some((client, free)) = seats.sessions.get_mut(&session) else {
            return match session <= last {
                true => Ok(None),
                false => Err(format!(
                    "a stream of session {session}, which nobody asked for"
                )),
            };
        };
        let at = free.iter().position(|other| *other == stream);
        let at = at.ok_or_else(|| {
            format!("a {stream:?} of session {session} that it may not have, or has already")
        })?;
        free.swap_remove(at);
        Ok(Some(Arc::clone(client)))
    }

    /// The control channel: frames both ways, each way on a thread of its own, because a guest that
    /// does not read must not keep husk from listening.
    fn converse(&self, mut control: UnixStream) -> io::Result<()> {
        let (frames, waiting) = sync_channel(MAX_WAITING);
        let writer = control.try_clone()?;
        thread::Builder::new()
            .name("orders".to_owned())
            .spawn(move || send_all(&waiting, writer))?;
        let _over = self.events.send(Event::Control(Orders(frames)));
        match self.listen(&mut control) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(error),
            // The guest or its machine is gone: the machine's report says how, unless it is not.
            _ => {
                let _over = self.events.send(Event::HungUp);
                Ok(())
            }
        }
    }

    fn listen(&self, control: &mut UnixStream) -> io::Result<()> {
        while let Some(frame) = Frame::receive_within(control, MAX_ANSWER)? {
            if self.events.send(Event::Frame(frame)).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Frames on their way to init.
#[derive(Debug)]
pub struct Orders(SyncSender<Frame>);

impl Orders {
    /// Sends without waiting; whether there was room. A guest that is gone, or does not read, misses
    /// it.
    pub fn send(&self, frame: Frame) -> bool {
        self.0.try_send(frame).is_ok()
    }

    /// To nobody.
    #[cfg(test)]
    pub fn to_nobody() -> Self {
        Self(sync_channel(1).0)
    }
}

/// A way for frames, and its other end, with room for so many.
#[cfg(test)]
pub fn tests_orders(room: usize) -> (Orders, Receiver<Frame>) {
    let (frames, waiting) = sync_channel(room);
    (Orders(frames), waiting)
}

fn send_all(waiting: &Receiver<Frame>, mut control: UnixStream) {
    for frame in waiting {
        if frame.send(&mut control).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use husk_init::job::{Job, Process};

    use super::*;
    use crate::sessions::{Stdio, streams_of};

    /// The machine's end of an uplink, and what `husk run` makes of it.
    struct Machine {
        uplink: Seqpacket,
        events: Receiver<Event>,
        hall: Arc<Hall>,
    }

    impl Machine {
        fn new(with_stdin: bool) -> Self {
            let null = || File::open("/dev/null").unwrap().into();
            let stdio = Stdio {
                stdin: null(),
                stdout: null(),
                stderr: null(),
            };
            let (ours, uplink) = Seqpacket::pair().unwrap();
            let (sender, events) = channel();
            let process = Process {
                stdin: with_stdin,
                ..Process::default()
            };
            let client = Arc::new(Client::new(stdio, &process).unwrap());
            let workload = (client, streams_of(&process));
            let hall = Arc::new(Hall::new(ours, workload, sender));
            follow(Arc::clone(&hall)).unwrap();
            Self {
                uplink,
                events,
                hall,
            }
        }

        fn connect(&self, port: u32) -> UnixStream {
            let (guest, host) = UnixStream::pair().unwrap();
            let report = Report::Connected { port };
            uplink::send(&self.uplink, &report, &[host.as_fd()]).unwrap();
            guest
        }

        fn attach(&self, stream: Stream) -> UnixStream {
            self.attach_to(0, stream)
        }

        fn attach_to(&self, session: u32, stream: Stream) -> UnixStream {
            let mut guest = self.connect(frame::PORT);
            let attach = Frame::Attach { session, stream };
            attach.send(&mut guest).unwrap();
            guest
        }

        fn next(&self) -> Event {
            self.events.recv_timeout(Duration::from_secs(10)).unwrap()
        }

        fn breaks_the_protocol(&self) {
            let event = self.next();
            assert!(matches!(event, Event::Broken(_)), "{event:?}");
        }
    }

    #[test]
    fn stdin_is_for_guests_that_were_given_it() {
        let machine = Machine::new(false);
        let _stdin = machine.attach(Stream::Stdin);
        machine.breaks_the_protocol();
        let machine = Machine::new(true);
        let mut stdin = machine.attach(Stream::Stdin);
        assert_eq!(stdin.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn each_stream_and_the_control_channel_are_there_once() {
        let machine = Machine::new(false);
        let (_first, _second) = (
            machine.attach(Stream::Stdout),
            machine.attach(Stream::Stdout),
        );
        machine.breaks_the_protocol();
        let machine = Machine::new(false);
        let mut first = machine.connect(frame::PORT);
        Frame::Hello.send(&mut first).unwrap();
        assert!(matches!(machine.next(), Event::Control(_)));
        let mut second = machine.connect(frame::PORT);
        Frame::Hello.send(&mut second).unwrap();
        machine.breaks_the_protocol();
    }

    #[test]
    fn a_guest_that_does_not_read_does_not_stop_husk() {
        let machine = Machine::new(false);
        let mut control = machine.connect(frame::PORT);
        Frame::Hello.send(&mut control).unwrap();
        let Event::Control(orders) = machine.next() else {
            panic!("the guest said hello");
        };
        let mut job = Job::default();
        job.process.env = vec![vec![b'x'; 1 << 18]];
        let mut lost = false;
        for _ in 0..2 * MAX_WAITING {
            let heard = orders.send(Frame::Job(Box::new(job.clone())));
            lost |= !heard;
        }
        assert!(lost);
        Frame::Finished.send(&mut control).unwrap();
        assert!(matches!(machine.next(), Event::Frame(Frame::Finished)));
    }

    #[test]
    fn a_long_answer_is_refused_before_it_is_taken() {
        let machine = Machine::new(false);
        let mut control = machine.connect(frame::PORT);
        let length = (MAX_ANSWER + 1).to_le_bytes();
        control.write_all(&length).unwrap();
        control.write_all(&[1, frame::VERSION]).unwrap();
        machine.breaks_the_protocol();
    }

    #[test]
    fn connections_beyond_the_most_and_to_nobody_are_closed() {
        let machine = Machine::new(false);
        let mut nobody = machine.connect(frame::PORT + 1);
        assert_eq!(nobody.read(&mut [0; 1]).unwrap(), 0);
        let _seated: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| machine.connect(frame::PORT))
            .collect();
        let mut refused = machine.connect(frame::PORT);
        assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
    }

    fn null_client() -> Arc<Client> {
        let null = || File::open("/dev/null").unwrap().into();
        let stdio = Stdio {
            stdin: null(),
            stdout: null(),
            stderr: null(),
        };
        Arc::new(Client::new(stdio, &Process::default()).unwrap())
    }

    #[test]
    fn a_session_has_the_streams_that_it_was_invited_with_and_each_once() {
        let machine = Machine::new(false);
        let stdout = vec![Stream::Stdout];
        machine.hall.invite(3, null_client(), stdout).unwrap();
        let order = uplink::receive(&machine.uplink)
            .unwrap()
            .map(|(order, _)| order);
        let admit = Order::Admit {
            connections: 1,
            session: 3,
        };
        assert_eq!(order, Some(admit));
        drop(machine.attach_to(3, Stream::Stdout));
        assert!(matches!(
            machine.next(),
            Event::Closed(3, Stream::Stdout, Ok(()))
        ));
        let _again = machine.attach_to(3, Stream::Stdout);
        machine.breaks_the_protocol();
        for stream in [Stream::Stdin, Stream::Terminal] {
            let _never = machine.attach_to(3, stream);
            machine.breaks_the_protocol();
        }
        let _unasked = machine.attach_to(4, Stream::Stdout);
        machine.breaks_the_protocol();
    }

    #[test]
    fn a_session_that_is_over_is_hung_up_on_and_its_unused_connections_are_none() {
        let machine = Machine::new(false);
        let streams = vec![Stream::Stdout, Stream::Stderr];
        machine.hall.invite(2, null_client(), streams).unwrap();
        let mut late = machine.attach_to(1, Stream::Stdout);
        assert_eq!(late.read(&mut [0; 1]).unwrap(), 0);
        drop(machine.attach_to(2, Stream::Stdout));
        assert!(matches!(
            machine.next(),
            Event::Closed(2, Stream::Stdout, Ok(()))
        ));
        machine.hall.dismiss(2);
        let mut late = machine.attach_to(2, Stream::Stderr);
        assert_eq!(late.read(&mut [0; 1]).unwrap(), 0);
        let seated: Vec<_> = (3..=MAX_CONNECTIONS)
            .map(|_| machine.connect(frame::PORT))
            .collect();
        let mut refused = machine.connect(frame::PORT);
        assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
        drop(seated);
    }

    #[test]
    fn a_machine_that_does_not_read_its_orders_is_not_waited_for() {
        let machine = Machine::new(false);
        let invite = |session| machine.hall.invite(session, null_client(), vec![]);
        let refused = (1..100_000).find_map(|session| invite(session).err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_machine_that_talks_nonsense_is_gone() {
        let machine = Machine::new(false);
        machine.uplink.send(b"{\"Connected\":{}}", &[]).unwrap();
        assert!(matches!(machine.next(), Event::Gone));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn no_first_bytes_stop_husk(bytes in proptest::collection::vec(0u8..10, 0..40)) {
            let machine = Machine::new(false);
            let mut guest = machine.connect(frame::PORT);
            let _hung_up = guest.write_all(&bytes);
            drop(guest);
            drop(machine.uplink);
            while !matches!(machine.events.recv_timeout(Duration::from_secs(10)).unwrap(), Event::Gone) {}
        }

        #[test]
        fn no_report_stops_husk(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..200)) {
            let machine = Machine::new(false);
            let _refused = machine.uplink.send(&bytes, &[]);
            drop(machine.uplink);
            while !matches!(machine.events.recv_timeout(Duration::from_secs(10)).unwrap(), Event::Gone) {}
        }
    }
}
