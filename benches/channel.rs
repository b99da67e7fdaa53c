//! What a command and its reply cost on the shard channel: nanoseconds and allocations.
//!
//! `cargo bench -p benches --bench channel -- --help`
//!
//! A command is what `api` sends for a GET of a light, its reply what the light answers; both ends are those
//! of gateway and `api`, with real shared memory and doorbells.
//!
//! - `busy`: nobody sleeps, `--batch` commands and then as many replies in one go, all on one thread: what
//!   writing, copying, validating and reading take. Floor: the same bytes copied into a bare ring and
//!   out of it. The archives are the rest, and the allocations are what is read from them.
//! - `asleep`: two threads that sleep until the other one rings, one command at a time; counted is what
//!   both have run. Floor: the same bytes through two pipes.

use std::alloc::System;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::arguments::Common;
use benches::bare;
use benches::cpu::of_this_thread;
use benches::messages;
use benches::population::Population;
use benches::results::{Measure, Results};
use clap::Parser;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use shared::channel::message::{
    Command, CommandEnvelope, DeviceAnswer, Reply, ReplyEnvelope, Subject,
};
use shared::channel::{ApiLink, GatewayEnd, Offer, Rest, RingBytes, introduce, welcome};
use shared::coap::request::OCF_CBOR;
use shared::coap::{Code, ResponseType};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How long the introduction, or a message, may take.
const PATIENCE: Duration = Duration::from_secs(10);

const NANOS: Measure = Measure { name: "ns a command and its reply", more_is_better: false };
const ALLOCATIONS: Measure =
    Measure { name: "allocations a command and its reply", more_is_better: false };

/// What a command and its reply cost on the shard channel.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Commands of a round.
    #[arg(long, default_value_t = 200_000)]
    commands: u64,
    /// Commands that are written before the first one is read.
    #[arg(long, default_value_t = 64)]
    batch: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut results = Results::begin("channel")?;
    results.note(format!("a command has {} bytes, a reply {}", lengths()?.0, lengths()?.1));
    busy(&arguments, &mut results)?;
    asleep(&arguments, &mut results)?;
    results.finish(&arguments.common)
}

/// What a contender has used.
struct Used {
    time: Duration,
    allocations: usize,
}

/// Contenders in turn, after one round to warm up.
fn compare(
    results: &mut Results,
    rounds: usize,
    (case, commands): (&str, u64),
    mut channel: impl FnMut() -> Result<Used>,
    mut floor: impl FnMut() -> Result<Used>,
) -> Result<()> {
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let both = (channel()?, floor()?);
        if round > 0 {
            ours.push(both.0);
            floors.push(both.1);
        }
    }
    let nanos: fn(&Used) -> f64 = |used| used.time.as_nanos() as f64;
    let allocations: fn(&Used) -> f64 = |used| used.allocations as f64;
    for (measure, value) in [(NANOS, nanos), (ALLOCATIONS, allocations)] {
        for (name, used) in [("channel", &ours), ("floor", &floors)] {
            let each = used.iter().map(|used| value(used) / commands as f64);
            results.add(case, name, measure, each.collect(), []);
        }
    }
    Ok(())
}

/// What a closure uses on this thread.
fn used(work: impl FnOnce() -> Result<()>) -> Result<Used> {
    let allocations = || ALLOCATOR.stats().allocations + ALLOCATOR.stats().reallocations;
    let (before, begun) = (allocations(), of_this_thread());
    work()?;
    Ok(Used { time: of_this_thread() - begun, allocations: allocations() - before })
}

fn busy(arguments: &Arguments, results: &mut Results) -> Result<()> {
    let Arguments { common, commands, batch } = arguments;
    let mut linked = Linked::new()?;
    let (command_bytes, reply_bytes) = lengths()?;
    let bytes = RingBytes::default().bytes();
    let mut bare = (bare::Ring::new(bytes, command_bytes), bare::Ring::new(bytes, reply_bytes));
    let case = (&*format!("busy, {batch} at a time"), *commands);
    compare(
        results,
        common.rounds,
        case,
        || used(|| linked.exchange(*commands, *batch)),
        || {
            used(|| {
                for _ in 0..commands / batch {
                    bare.0.pass(*batch)?;
                    bare.1.pass(*batch)?;
                }
                Ok(())
            })
        },
    )
}

fn asleep(arguments: &Arguments, results: &mut Results) -> Result<()> {
    /// Sleeping takes a hundred times as long.
    const FEWER: u64 = 10;
    let commands = (arguments.commands / FEWER).max(1);
    let lengths = lengths()?;
    compare(
        results,
        arguments.common.rounds,
        ("asleep, one at a time", commands),
        || converse(commands),
        || converse_by_pipe(commands, lengths),
    )
}

/// A gateway with one shard and an `api` process, introduced.
struct Linked {
    gateway: GatewayEnd,
    doorbell: OwnedFd,
    api: ApiLink,
    _sockets: (UnixStream, UnixStream),
}

impl Linked {
    fn new() -> Result<Self> {
        let sockets = UnixStream::pair()?;
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC)?;
        let cloud = benches::population::cloud_id();
        let offer = Offer::new(
            cloud,
            "coaps+tcp://cloud.example:5684",
            RingBytes::default(),
            vec![doorbell.as_fd()],
        )?;
        let (gateway, api) = thread::scope(|scope| {
            let welcoming = scope.spawn(|| welcome(&sockets.0, &offer, PATIENCE));
            let api = introduce(&sockets.1, PATIENCE);
            (welcoming.join(), api)
        });
        let gateway = gateway.ok().context("the gateway's side")??.pop().context("one shard")?;
        Ok(Self { gateway, doorbell, api: api?, _sockets: sockets })
    }

    /// Commands and replies, some at a time, while nobody sleeps.
    fn exchange(&mut self, commands: u64, batch: u64) -> Result<()> {
        let api = &mut self.api.shards[0];
        let (mut command, mut reply) = (command(), reply());
        for first in (0..commands / batch).map(|turn| turn * batch) {
            for number in first..first + batch {
                command.request = number;
                api.send(&command)?;
            }
            api.flush()?;
            while let Some(asked) = self.gateway.next_command()? {
                reply.request = asked.request;
                self.gateway.send(&reply)?;
            }
            self.gateway.flush()?;
            let mut answered = 0;
            while let Some(reply) = api.next_reply()? {
                ensure!(reply.request == first + answered, "replies come in order");
                answered += 1;
            }
            ensure!(answered == batch, "every command is answered");
        }
        Ok(())
    }
}

/// One command at a time between two threads that sleep in between.
fn converse(commands: u64) -> Result<Used> {
    let Linked { mut gateway, doorbell, api: mut link, _sockets } = Linked::new()?;
    both(
        move || {
            let mut reply = reply();
            for _ in 0..commands {
                let command = loop {
                    match gateway.next_command()? {
                        Some(command) => break command,
                        None if gateway.announce_sleep()? == Rest::Sleep => {
                            wait_for(&doorbell)?;
                            rustix::io::read(&doorbell, &mut [0; 8])?;
                            gateway.wake();
                        }
                        None => {}
                    }
                };
                reply.request = command.request;
                gateway.send(&reply)?;
                gateway.flush()?;
            }
            Ok(())
        },
        || {
            let (api, mut command) = (&mut link.shards[0], command());
            for number in 0..commands {
                command.request = number;
                api.send(&command)?;
                api.flush()?;
                let reply = loop {
                    match api.next_reply()? {
                        Some(reply) => break reply,
                        None if api.announce_sleep()? == Rest::Sleep => {
                            wait_for(&link.bell)?;
                            link.bell.clear()?;
                            api.wake();
                        }
                        None => {}
                    }
                };
                ensure!(reply.request == number, "every command has its reply");
            }
            Ok(())
        },
    )
}

fn converse_by_pipe(commands: u64, (command, reply): (usize, usize)) -> Result<Used> {
    let (mut api, mut shard) = bare::pipes(command, reply)?;
    both(
        move || (0..commands).try_for_each(|_| shard.answer()),
        || (0..commands).try_for_each(|_| api.ask()),
    )
}

/// Runs one on a thread of its own and one on this, and adds up what they use.
fn both(
    one: impl FnOnce() -> Result<()> + Send + 'static,
    other: impl FnOnce() -> Result<()>,
) -> Result<Used> {
    let allocations = || ALLOCATOR.stats().allocations + ALLOCATOR.stats().reallocations;
    let before = allocations();
    let thread = thread::spawn(move || -> Result<Duration> {
        let begun = of_this_thread();
        one()?;
        Ok(of_this_thread() - begun)
    });
    let begun = of_this_thread();
    other()?;
    let own = of_this_thread() - begun;
    let time = own + thread.join().ok().context("the other thread")??;
    Ok(Used { time, allocations: allocations() - before })
}

fn wait_for(descriptor: impl AsFd) -> Result<()> {
    let begun = Instant::now();
    let patience = rustix::event::Timespec::try_from(PATIENCE)?;
    let rung = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&patience))?;
    ensure!(rung == 1, "nobody rings for {:?}", begun.elapsed());
    Ok(())
}

fn command() -> CommandEnvelope {
    let population = Population::new(1);
    CommandEnvelope {
        request: 1,
        patience_ms: 2000,
        subject: Subject::User { user: population.user(0), grant: None },
        command: Command::Retrieve {
            device: population.device(0),
            href: messages::HREFS[0].to_owned(),
            interface: None,
        },
    }
}

fn reply() -> ReplyEnvelope {
    let answer = DeviceAnswer {
        code: Code::from(ResponseType::Content).byte(),
        content_format: Some(OCF_CBOR),
        max_age: None,
        body: messages::light(),
    };
    ReplyEnvelope { request: 1, reply: Reply::Device(answer) }
}

/// Bytes of both archives.
fn lengths() -> Result<(usize, usize)> {
    use rkyv::rancor::Error;
    let command = rkyv::to_bytes::<Error>(&command())?;
    Ok((command.len(), rkyv::to_bytes::<Error>(&reply())?.len()))
}
