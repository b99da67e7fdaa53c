//! One device or client on a socket of its own, driven by the calling thread (I/O): for tests that want
//! to see every step of a few devices. The swarm drives its thousands otherwise.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use shared::time::Instant;

use crate::credentials::Credentials;
use crate::device::{Driven, Event, Input, Output, authority};
use crate::io::Clock;

/// What one read takes at most.
const READ_BYTES: usize = 16 * 1024;
/// How long a connection may take to come about.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A station with its socket and its clock.
pub struct Driver<'c, S> {
    /// The device or client.
    pub station: S,
    /// What it has told so far; take what was seen.
    pub events: Vec<Event>,
    credentials: &'c Credentials,
    clock: Clock,
    stream: Option<TcpStream>,
    /// Where to connect, whatever address it was told.
    pub connect: Option<SocketAddr>,
}

impl<'c, S: Driven> Driver<'c, S> {
    /// Nothing happens before [`run_until`](Self::run_until).
    pub fn new(station: S, credentials: &'c Credentials) -> Self {
        let clock = Clock::start();
        Self { station, events: Vec::new(), credentials, clock, stream: None, connect: None }
    }

    /// The time for whatever is done with the station.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Drives until `is_done`, at most for `limit`. Returns whether it was done.
    ///
    /// # Errors
    /// If the system does not let us wait on the socket.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut is_done: impl FnMut(&S, &[Event]) -> bool,
    ) -> io::Result<bool> {
        let end = self.now() + limit;
        loop {
            self.drain();
            if is_done(&self.station, &self.events) {
                return Ok(true);
            }
            let now = self.now();
            if now >= end {
                return Ok(false);
            }
            let timeout = self.station.poll_timeout();
            if timeout.is_some_and(|at| at <= now) {
                self.station.handle(Input::Timeout, now);
            } else {
                self.wait(timeout.map_or(end, |at| at.min(end)).since(now))?;
            }
        }
    }

    /// Cuts the connection, as a bad network would.
    pub fn cut(&mut self) {
        if self.stream.take().is_some() {
            self.station.handle(Input::Closed, self.clock.now());
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.station.poll_output() {
            let now = self.now();
            match output {
                Output::Connect => match self.open() {
                    Ok((stream, config)) => {
                        self.stream = Some(stream);
                        self.station.handle(Input::Connected(config), now);
                    }
                    Err(error) => self.station.handle(Input::NotConnected(error.kind()), now),
                },
                Output::Send(bytes) => {
                    let sent = self.stream.as_mut().map(|stream| stream.write_all(&bytes));
                    if let Some(Err(_)) = sent {
                        self.stream = None;
                        self.station.handle(Input::Closed, now);
                    }
                }
                Output::Close => self.stream = None,
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn open(&self) -> io::Result<(TcpStream, std::sync::Arc<rustls::ClientConfig>)> {
        let address = match self.connect {
            Some(address) => address,
            None => {
                let cis = self.station.cis().and_then(authority).ok_or(io::ErrorKind::NotFound)?;
                cis.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?
            }
        };
        let stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
        let config = self.credentials.config(self.station.di()).map_err(io::Error::other)?;
        Ok((stream, config))
    }

    /// Reads once, or lets the time pass.
    fn wait(&mut self, time: Duration) -> io::Result<()> {
        // A time-out of zero would be none at all.
        let time = time.max(Duration::from_millis(1));
        let Some(stream) = &mut self.stream else {
            std::thread::sleep(time);
            return Ok(());
        };
        stream.set_read_timeout(Some(time))?;
        let mut bytes = [0; READ_BYTES];
        match stream.read(&mut bytes) {
            Ok(count @ 1..) => {
                let (bytes, cut) = (&bytes[..count], count == READ_BYTES);
                self.station.handle(Input::Received { bytes, cut }, self.clock.now());
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) => {}
            Ok(_) | Err(_) => {
                self.stream = None;
                self.station.handle(Input::Closed, self.clock.now());
            }
        }
        Ok(())
    }
}
