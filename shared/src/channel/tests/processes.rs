//! Two processes: the gateway's side here, the side of `api` in a child that runs this test binary
//! again, for the one test which is that process.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Tells the child where the gateway listens; without it, it is nobody's child.
const SOCKET: &str = "OCF_CHANNEL_TEST_SOCKET";
/// How many commands it sends.
const COMMANDS: &str = "OCF_CHANNEL_TEST_COMMANDS";

const SHARDS: usize = 2;

/// Commands under way at the same time.
const WINDOW: u64 = 64;

/// A process that connects, sends its commands, checks the replies, and ends well.
struct Api {
    process: Child,
    socket: UnixStream,
}

impl Api {
    fn start(commands: u64) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let nth = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("ocf-channel-test-{}-{nth}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "channel::tests::processes::the_api_process_of_these_tests"])
            .env(SOCKET, &name)
            .env(COMMANDS, commands.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        await_readable(&listener);
        let (socket, _) = listener.accept().unwrap();
        Self { process, socket }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // Either has ended already, and then both do nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Answers commands like a shard would, sleeping in between, until there were so many.
fn serve(gateway: &mut GatewayEnd, doorbell: &OwnedFd, commands: u64) {
    let mut served = 0;
    while served < commands {
        if let Some(received) = gateway.next_command().unwrap() {
            assert_eq!(received, command(received.request));
            gateway.send(&reply(received.request)).unwrap();
            served += 1;
        } else if gateway.announce_sleep().unwrap() == Rest::Sleep {
            await_readable(doorbell);
            rustix::io::read(doorbell, &mut [0; 8]).unwrap();
            gateway.wake();
        }
    }
    gateway.flush().unwrap();
}

#[test]
fn the_api_process_of_these_tests() {
    let (Ok(name), Ok(commands)) = (std::env::var(SOCKET), std::env::var(COMMANDS)) else {
        return;
    };
    let commands: u64 = commands.parse().unwrap();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixStream::connect_addr(&address).unwrap();
    let mut link = introduce(&socket, PATIENCE).unwrap();
    let (mut sent, mut received) = (0, 0);
    while received < commands {
        while sent < commands && sent < received + WINDOW {
            link.shards[sent as usize % SHARDS].send(&command(sent)).unwrap();
            sent += 1;
        }
        let received_before = received;
        for shard in &mut link.shards {
            shard.flush().unwrap();
            while let Some(got) = shard.next_reply().unwrap() {
                assert_eq!(got, reply(got.request));
                received += 1;
            }
        }
        if received == received_before {
            sleep(&mut link);
        }
    }
}

/// Waits for the bell, unless a shard has replied.
fn sleep(link: &mut ApiLink) {
    let mut announced = link.shards.iter_mut().map(|shard| shard.announce_sleep().unwrap());
    if announced.all(|rest| rest == Rest::Sleep) {
        await_readable(&link.bell);
        link.bell.clear().unwrap();
    }
    link.shards.iter_mut().for_each(ApiEnd::wake);
}

#[test]
fn two_processes_exchange_a_hundred_thousand_messages_each_way() {
    const COUNT: u64 = 100_000;
    let mut api = Api::start(COUNT);
    let peer = Peer::of(&api.socket).unwrap();
    assert_eq!(peer.pid, Some(api.process.id()));
    assert!(Allowed::own_user().admits(&peer));
    let doorbells = doorbells(SHARDS);
    let mut gateway = welcome(&api.socket, &offer(&doorbells), PATIENCE).unwrap();
    thread::scope(|scope| {
        for (end, doorbell) in gateway.iter_mut().zip(&doorbells) {
            scope.spawn(|| serve(end, doorbell, COUNT / SHARDS as u64));
        }
    });
    assert!(api.process.wait().unwrap().success());
}

#[test]
fn a_process_killed_under_way_is_noticed_and_harms_nobody() {
    let mut api = Api::start(u64::MAX);
    let doorbells = doorbells(SHARDS);
    let mut gateway = welcome(&api.socket, &offer(&doorbells), PATIENCE).unwrap();
    for (end, doorbell) in gateway.iter_mut().zip(&doorbells) {
        serve(end, doorbell, WINDOW / 2);
    }
    assert!(!is_lost(&api.socket));
    api.process.kill().unwrap();
    await_readable(&api.socket);
    assert!(is_lost(&api.socket));
    for end in &mut gateway {
        let mut left = 0;
        while end.next_command().unwrap().is_some() {
            left += 1;
        }
        assert!(left <= WINDOW, "it had no more under way");
        let lost = loop {
            match end.send(&reply(1)).map_err(Some).and_then(|()| end.flush().map_err(|_| None)) {
                Ok(()) => {}
                Err(why) => break why,
            }
        };
        assert!(matches!(lost, None | Some(SendError::Full)), "{lost:?}");
    }
}
