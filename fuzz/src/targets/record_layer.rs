//! The TLS record layer against a peer that holds the right keys and may do anything, on a network
//! that may do anything.
//!
//! What must hold: the text that comes out is a prefix of the text that went in, in order; nothing
//! comes out after an error or a goodbye; the stream counts as ended in order only if the peer said
//! goodbye; the peer can open everything that we answer, until the end.

use crate::{Choices, bounded};
use shared::record::{Opened, Records, Step, Suite};

const SUITES: [Suite; 5] = [
    Suite::Tls12Aes128,
    Suite::Tls12Aes256,
    Suite::Tls13Aes128,
    Suite::Tls13Aes256,
    Suite::Tls13ChaCha20,
];

/// One input.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let suite = SUITES[usize::from(choices.byte()) % SUITES.len()];
    let (server, client) = Records::pair(suite, [choices.byte(); 32]);
    let mut world = World::new(server, client);
    while !choices.is_empty() && !world.failed {
        world.step(&mut choices);
    }
}

struct World {
    server: Records,
    client: Records,
    /// On the way to the server.
    wire: Vec<u8>,
    /// What the server has received and not opened.
    received: Vec<u8>,
    /// What an honest network would make of what the client sealed as text.
    sent: Vec<u8>,
    /// How much of it has come out.
    opened: usize,
    said_goodbye: bool,
    failed: bool,
}

impl World {
    fn new(server: Records, client: Records) -> Self {
        Self {
            server,
            client,
            wire: Vec::new(),
            received: Vec::new(),
            sent: Vec::new(),
            opened: 0,
            said_goodbye: false,
            failed: false,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 10 {
            // Text, as it should be.
            0..=2 => {
                let text = [choices.byte()].repeat(choices.number() % 20_000);
                if !self.said_goodbye {
                    self.sent.extend_from_slice(&text);
                }
                let sealed = self.client.seal(&mut self.wire, |out| {
                    out.extend_from_slice(&text);
                    true
                });
                assert_eq!(sealed, Ok(()));
            }
            // Whatever the peer likes, under the right key.
            3 | 4 => {
                let kind = [20, 21, 22, 24, 0][usize::from(choices.byte()) % 5];
                let text = choices.some(64);
                self.count_as_sent(kind, text);
                self.client.seal_any(&mut self.wire, text, kind);
            }
            5 if self.client.suite().is_tls13() => {
                let request = choices.byte() % 2;
                self.client.send_key_update(&mut self.wire, request == 1);
            }
            6 => {
                self.said_goodbye = true;
                self.client.close_notify(&mut self.wire);
            }
            // Whatever the network likes.
            7 => self.wire.extend_from_slice(choices.some(32)),
            8 if !self.wire.is_empty() => {
                let at = choices.number() % self.wire.len();
                self.wire[at] ^= choices.byte().max(1);
            }
            // Some of it arrives.
            _ => {
                let len = (choices.number() + 1).min(self.wire.len());
                self.received.extend(self.wire.drain(..len));
                self.receive();
            }
        }
    }

    /// In TLS 1.3 the content type stands behind the text, where the peer may write what it likes.
    fn count_as_sent(&mut self, kind: u8, text: &[u8]) {
        let end = text.iter().rposition(|&byte| byte != 0);
        let (kind, text) = match end {
            Some(end) if kind == 0 && self.client.suite().is_tls13() => (text[end], &text[..end]),
            _ => (kind, text),
        };
        match (kind, text) {
            (23, text) if !self.said_goodbye => self.sent.extend_from_slice(text),
            (21, [_, 0]) => self.said_goodbye = true,
            _ => {}
        }
    }

    fn receive(&mut self) {
        let mut at = 0;
        let mut answers = Vec::new();
        let mut opener = self.server.opener();
        loop {
            let front = &mut self.received[at..];
            let front_len = front.len();
            // An answer is an alert.
            match bounded(front_len, || opener.next(front, &mut answers)) {
                Ok(Step::Partial { needed }) => {
                    assert!(needed > front_len);
                    break;
                }
                Ok(Step::Record { len, opened }) => {
                    assert!(len <= front_len);
                    if let Opened::Text(range) = opened {
                        let text = &self.received[at..][range];
                        let expected = &self.sent[self.opened..];
                        assert!(expected.starts_with(text), "text that nobody sent");
                        self.opened += text.len();
                    }
                    at += len;
                }
                Err(_) => {
                    self.failed = true;
                    break;
                }
            }
        }
        self.received.drain(..at);
        assert!(!self.server.peer_closed() || self.said_goodbye, "a goodbye that nobody said");
        self.answered(&mut answers);
    }

    /// The peer understands what it is told, and text after it.
    fn answered(&mut self, answers: &mut Vec<u8>) {
        if !self.failed {
            let sealed = self.server.seal(answers, |out| {
                out.push(b'!');
                true
            });
            assert_eq!(sealed, Ok(()));
        }
        let mut at = 0;
        let mut out = Vec::new();
        let mut opener = self.client.opener();
        while at < answers.len() {
            match opener.next(&mut answers[at..], &mut out) {
                Ok(Step::Record { opened: Opened::Closed, .. }) | Err(_) if self.failed => return,
                Ok(Step::Record { len, opened }) => {
                    let is_last = at + len == answers.len();
                    match opened {
                        Opened::Text(text) if is_last => {
                            assert_eq!(answers[at..][text], *b"!");
                        }
                        opened => assert_eq!(opened, Opened::Nothing),
                    }
                    at += len;
                }
                other => panic!("not what the peer can understand: {other:?}"),
            }
        }
    }
}
