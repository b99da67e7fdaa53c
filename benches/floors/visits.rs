//! The floor of `handshake` beside the cryptography: a bare loop over epoll that accepts, receives and
//! sends as many bytes as a visit has in as many flights, and closes when its peer does. And the visitor.
//!
//! `--serve` is the server; without it, commands come and reports go as `bench-load` has them.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benches::load::{Command, Report};
use clap::Parser;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, accept_with, bind,
    connect, recv, send, shutdown, socket_with, sockopt,
};

/// Stands for the listener among the events.
const LISTENER: u64 = u64::MAX;

/// Events taken with one call.
const EVENTS: usize = 256;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// Bytes that one receive takes.
const READ_BYTES: usize = 16 * 1024;

/// Source addresses that take turns: one has too few ports for so many connections in a row.
const SOURCES: u32 = 200;

/// What a visitor says at its end: a record with an alert.
const GOODBYE_BYTES: usize = 31;

/// Visits under way are given up when none has ended for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bare server, or its visitors; started by the benchmarks.
#[derive(Parser)]
struct Arguments {
    /// Serve, instead of visiting.
    #[arg(long)]
    serve: bool,
    /// Whom to visit.
    #[arg(long, required_unless_present = "serve")]
    server: Option<SocketAddr>,
    /// Times that the visitor says something and is answered.
    #[arg(long)]
    flights: u32,
    /// Bytes that the visitor says each time.
    #[arg(long)]
    asked: usize,
    /// Bytes of each answer.
    #[arg(long)]
    answered: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.serve { serve(&arguments) } else { visit_on_command(&arguments) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-visits: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The connections of one side, by place.
struct Sockets {
    epoll: OwnedFd,
    places: Vec<Option<Place>>,
    free: Vec<usize>,
}

struct Place {
    socket: OwnedFd,
    /// Bytes received so far.
    received: usize,
}

impl Sockets {
    fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, places: Vec::new(), free: Vec::new() })
    }

    fn add(&mut self, socket: OwnedFd) -> Result<usize> {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        let interest = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &socket, EventData::new_u64(at as u64), interest)?;
        self.places[at] = Some(Place { socket, received: 0 });
        Ok(at)
    }

    fn remove(&mut self, at: usize) {
        if self.places[at].take().is_some() {
            self.free.push(at);
        }
    }

    fn under_way(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, timeout: Option<Duration>) -> Result<()> {
        events.clear();
        let timeout = timeout.map(TryInto::try_into).transpose()?;
        match epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Place {
    /// Receives what is there. How much has come in all, or none at the peer's end, which the event may
    /// tell together with the last bytes.
    fn receive(&mut self, event: EventFlags, buffer: &mut [u8]) -> Option<usize> {
        let is_last = event.intersects(EventFlags::RDHUP | EventFlags::HUP);
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return None,
                Ok((received, _)) => {
                    self.received += received;
                    if received < buffer.len() {
                        return (!is_last).then_some(self.received);
                    }
                }
                Err(Errno::WOULDBLOCK) => return Some(self.received),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Says all of these bytes: they are few, so an empty socket takes them at once.
fn say(socket: &OwnedFd, bytes: &[u8]) -> Result<()> {
    let sent = send(socket, bytes, SendFlags::NOSIGNAL)?;
    if sent < bytes.len() { bail!("a socket took {sent} of {} bytes", bytes.len()) } else { Ok(()) }
}

fn serve(arguments: &Arguments) -> Result<()> {
    let listener = shared::ring::listen((Ipv4Addr::LOCALHOST, 0).into(), BACKLOG)?;
    listener.set_nonblocking(true)?;
    println!("ready {}", listener.local_addr()?);
    let mut sockets = Sockets::new()?;
    epoll::add(&sockets.epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let answer = vec![7; arguments.answered];
    let (mut events, mut buffer) = (Vec::with_capacity(EVENTS), vec![0; READ_BYTES]);
    loop {
        sockets.wait(&mut events, None)?;
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => accept_all(&listener, &mut sockets)?,
                _ => answer_one(&mut sockets, event, arguments, &answer, &mut buffer),
            }
        }
    }
}

fn accept_all(listener: &TcpListener, sockets: &mut Sockets) -> Result<()> {
    loop {
        match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => sockets.add(socket)?,
            Err(Errno::WOULDBLOCK | Errno::CONNABORTED | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
    }
}

/// Answers each time that as much has come as is asked at a time; closes at the peer's end.
fn answer_one(
    sockets: &mut Sockets,
    event: epoll::Event,
    arguments: &Arguments,
    answer: &[u8],
    buffer: &mut [u8],
) {
    let at = event.data.u64() as usize;
    let Some(place) = &mut sockets.places[at] else { return };
    let before = place.received / arguments.asked;
    let alive = match place.receive(event.flags, buffer) {
        Some(received) => {
            (before..received / arguments.asked).all(|_| say(&place.socket, answer).is_ok())
        }
        None => false,
    };
    if !alive {
        sockets.remove(at);
    }
}

/// Carries out commands, one a line.
fn visit_on_command(arguments: &Arguments) -> Result<()> {
    let server = arguments.server.context("whom to visit?")?;
    for line in std::io::stdin().lock().lines() {
        let Command::Handshake { millis, in_flight, .. } = serde_json::from_str(&line?)? else {
            bail!("visitors only come and go");
        };
        let report = Visitors::new(arguments, server)?.visit(millis, in_flight as usize)?;
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

struct Visitors<'a> {
    arguments: &'a Arguments,
    server: SocketAddr,
    sockets: Sockets,
    question: Vec<u8>,
    begun: u32,
}

impl<'a> Visitors<'a> {
    fn new(arguments: &'a Arguments, server: SocketAddr) -> Result<Self> {
        let question = vec![7; arguments.asked];
        Ok(Self { arguments, server, sockets: Sockets::new()?, question, begun: 0 })
    }

    fn visit(mut self, millis: u64, in_flight: usize) -> Result<Report> {
        let begun = Instant::now();
        let until = begun + Duration::from_millis(millis);
        let (mut report, mut last) = (Report::default(), begun);
        let (mut events, mut buffer) = (Vec::with_capacity(EVENTS), vec![0; READ_BYTES]);
        loop {
            let now = Instant::now();
            while now < until && self.sockets.under_way() < in_flight {
                self.come()?;
            }
            if self.sockets.under_way() == 0 {
                break;
            }
            if last + PATIENCE < now {
                let left = self.sockets.under_way() as u64;
                report.failures = BTreeMap::from([("no answer".to_owned(), left)]);
                break;
            }
            self.sockets.wait(&mut events, Some(PATIENCE))?;
            for event in events.drain(..) {
                if self.go_on(event, &mut buffer)? {
                    (report.done, last) = (report.done + 1, Instant::now());
                }
            }
        }
        let visit = self.arguments.flights as u64 * report.done;
        report.bytes_sent =
            visit * self.arguments.asked as u64 + report.done * GOODBYE_BYTES as u64;
        report.bytes_received = visit * self.arguments.answered as u64;
        report.nanos = (last - begun).as_nanos() as u64;
        Ok(report)
    }

    fn come(&mut self) -> Result<()> {
        self.begun += 1;
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let source = Ipv4Addr::from_bits(0x7f02_0001 + self.begun % SOURCES);
        bind(&socket, &SocketAddr::from((source, 0)))?;
        // On this machine a connection is there at once.
        connect(&socket, &self.server)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        say(&socket, &self.question)?;
        self.sockets.add(socket)?;
        Ok(())
    }

    /// Says the next thing when the whole answer has come. Whether the visit is over.
    fn go_on(&mut self, event: epoll::Event, buffer: &mut [u8]) -> Result<bool> {
        let at = event.data.u64() as usize;
        let Some(place) = &mut self.sockets.places[at] else { return Ok(false) };
        let answers = place.received / self.arguments.answered;
        let Some(received) = place.receive(event.flags, buffer) else {
            self.sockets.remove(at);
            return Ok(true);
        };
        let now_answers = received / self.arguments.answered;
        if now_answers == answers {
            return Ok(false);
        }
        if now_answers as u32 == self.arguments.flights {
            say(&place.socket, &[7; GOODBYE_BYTES])?;
            shutdown(&place.socket, Shutdown::Write)?;
        } else {
            say(&place.socket, &self.question)?;
        }
        Ok(false)
    }
}
