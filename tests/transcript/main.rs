//! Everything that peers hear from a cloud, decrypted, while a script goes on that is the same at every
//! run: what is printed must not depend on who holds the keys, rustls or the record layer.
//!
//! ```sh
//! cargo run -p tests --bin transcript > records.txt
//! cargo run -p tests --bin transcript --features whole-tls > whole.txt
//! cmp records.txt whole.txt
//! ```

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use rustls::{CipherSuite, ClientConfig};
use shared::ids::ShardId;
use tests::{Msg, PKI, Peer, User, World, content, delete, get, plain, post};

/// Steps of the script.
const STEPS: usize = 4000;

/// One peer after the other has one of them.
const SUITES: [CipherSuite; 5] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// xorshift64*: all that a script needs of chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

struct Script<W> {
    world: World,
    users: Vec<User>,
    configs: Vec<Arc<ClientConfig>>,
    peers: Vec<Peer>,
    dice: Dice,
    /// Ends of connections that have been told.
    ended: usize,
    out: W,
}

fn main() -> io::Result<()> {
    let world = World::of_shards(2);
    let users = (0..4).map(|number| world.user_on(ShardId(number % 2))).collect();
    let out = BufWriter::new(io::stdout().lock());
    let configs = SUITES.map(|suite| PKI.product_with_suite(suite)).to_vec();
    let dice = Dice(0x0cf0_c10d);
    let mut script = Script { world, users, configs, peers: Vec::new(), dice, ended: 0, out };
    for _ in 0..12 {
        script.arrive();
    }
    for step in 0..STEPS {
        script.step();
        script.tell(step)?;
    }
    script.out.flush()
}

impl<W: Write> Script<W> {
    /// Somebody new connects, to whichever shard, and signs up and in.
    fn arrive(&mut self) {
        let shard = ShardId(self.dice.below(2) as u16);
        self.world.next_connection_on(shard);
        let config = Arc::clone(&self.configs[self.peers.len() % self.configs.len()]);
        let peer = self.world.connect_as(self.world.device_id(), config);
        let user = self.dice.below(self.users.len());
        peer.sign_up(&self.users[user].token());
        peer.sign_in();
        peer.publish(&["/a", "/b"]);
        self.peers.push(peer);
    }

    fn anybody(&mut self) -> Peer {
        let number = self.dice.below(self.peers.len());
        self.peers[number].clone()
    }

    fn step(&mut self) {
        let (peer, other) = (self.anybody(), self.anybody());
        if !peer.is_connected() {
            peer.connect();
            peer.sign_in();
            return;
        }
        let path = other.path(["/a", "/b", "/oic/d", "/nowhere"][self.dice.below(4)]);
        match self.dice.below(16) {
            0 | 1 => _ = peer.send(get("/oic/res")),
            2 => _ = peer.send(get(&path).observe(0)),
            3 => _ = peer.send(delete(&path)),
            4 => {
                // Up to some records long.
                let bytes = self.dice.below(40_000);
                _ = peer.send(post(&path, vec![7; bytes].as_slice()));
            }
            5 => peer.send_byte_by_byte(&get("/oic/res").token(&[1; 8]).encode()),
            6 => _ = peer.send_together([get(&path), get("/oic/res"), get(&path)]),
            7 => peer.send_bytes(&[0xff; 5]),
            8 => peer.say_goodbye(),
            9 => peer.lose(),
            10 => _ = peer.refresh(),
            11 => self.world.advance_secs(self.dice.below(20) as u64),
            _ => _ = peer.send(get(&path)),
        }
    }

    /// Prints what everybody has heard, and answers what was asked.
    fn tell(&mut self, step: usize) -> io::Result<()> {
        loop {
            let mut heard = false;
            for (number, peer) in self.peers.iter().enumerate() {
                for message in peer.take_all() {
                    heard = true;
                    let bytes = message.encode();
                    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    writeln!(self.out, "{step} {number} {} {hex}", message.code)?;
                    if let Some(answer) = answer(&message, self.dice.below(8)) {
                        peer.respond(&message, answer);
                    }
                }
            }
            if !heard {
                break;
            }
        }
        let ended = self.world.ended();
        for ended in &ended[self.ended..] {
            writeln!(self.out, "{step} ended {:?} {:?}", ended.device, ended.reason)?;
        }
        self.ended = ended.len();
        Ok(())
    }
}

/// What a device answers, if it does.
fn answer(message: &Msg, chance: usize) -> Option<Msg> {
    let is_request = message.code.class() == 0;
    is_request.then_some(())?;
    match chance {
        0 => None,
        1 => Some(plain(shared::coap::ResponseType::NotFound)),
        2 => Some(content(vec![0x42; 30_000].as_slice())),
        _ => Some(content(b"\xa1\x65value\xf5").observe(7)),
    }
}
