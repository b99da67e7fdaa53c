//! The codec against those of others: coap-lite for messages, aiocoap for whole TCP frames. Random
//! messages go both ways, written here and read there and the other way round; so do frames that are
//! damaged at random, where both must agree on what they are, if anything.
//!
//! `OCF_DIFFERENTIAL_CASES` says how many; the random numbers are the same every time.

use std::fmt::Write as _;
use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use coap_lite::{CoapOption, MessageClass, Packet};
use shared::coap::{Code, Frame, Framed, Message, MessageWriter, Token};

/// A message as all codecs understand it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Meaning {
    code: u8,
    token: Vec<u8>,
    /// In the order of their numbers.
    options: Vec<(u16, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Meaning {
    fn random(random: &mut Random) -> Self {
        let mut options: Vec<_> = (0..random.below(8))
            .map(|_| (random.option_number(), random.bytes_of_some_length()))
            .collect();
        options.sort_by_key(|(number, _)| *number);
        let payload = random.bytes_of_some_length();
        let token = random.bytes(8);
        Self { code: random.code(), token, options, payload }
    }

    fn of(frame: Frame<'_>) -> Option<Self> {
        let message = Message::parse(frame).ok()?;
        Some(Self {
            code: message.code.byte(),
            token: message.token.as_bytes().to_vec(),
            options: message.options.map(|o| (o.number, o.value.to_vec())).collect(),
            payload: message.payload.to_vec(),
        })
    }

    /// Written by our codec.
    fn frame(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let token = Token::new(&self.token).expect("at most eight bytes");
        let mut message = MessageWriter::new(&mut bytes, Code::from_byte(self.code), token);
        for (number, value) in &self.options {
            message.option(*number, value);
        }
        message.payload(&self.payload);
        message.finish();
        bytes
    }

    /// The form that aiocoap's side reads and writes.
    fn text(&self) -> String {
        let mut text = format!("{} {}- {}-", self.code, hex(&self.token), hex(&self.payload));
        for (number, value) in &self.options {
            let _ = write!(text, " {number}={}", hex(value));
        }
        text
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn cases() -> u32 {
    let wanted = std::env::var("OCF_DIFFERENTIAL_CASES").ok();
    wanted.map_or(2000, |wanted| wanted.parse().expect("a number of cases"))
}

/// The only frame of these bytes.
fn only_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    match Frame::parse(bytes, bytes.len()) {
        Ok(Framed::Whole(frame, len)) if len == bytes.len() => Some(frame),
        _ => None,
    }
}

// What coap-lite knows is the message format of UDP: the same code, token, options and payload behind
// another head.

fn datagram(frame: Frame<'_>) -> Vec<u8> {
    let token = frame.token.as_bytes();
    let mut bytes = vec![0x40 | token.len() as u8, frame.code.byte(), 0, 1];
    bytes.extend_from_slice(token);
    bytes.extend_from_slice(frame.body);
    bytes
}

fn of_packet(packet: &Packet) -> Meaning {
    let options = packet
        .options()
        .flat_map(|(number, values)| values.iter().map(|value| (*number, value.clone())))
        .collect();
    Meaning {
        code: u8::from(packet.header.code),
        token: packet.get_token().to_vec(),
        options,
        payload: packet.payload.clone(),
    }
}

fn packet(meaning: &Meaning) -> Packet {
    let mut packet = Packet::new();
    packet.header.code = MessageClass::from(meaning.code);
    packet.set_token(meaning.token.clone());
    for (number, value) in &meaning.options {
        packet.add_option(CoapOption::from(*number), value.clone());
    }
    packet.payload.clone_from(&meaning.payload);
    packet
}

/// Codes that coap-lite keeps: those that it does not know it maps to one of its own.
fn is_kept(code: u8) -> bool {
    u8::from(MessageClass::from(code)) == code
}

#[test]
fn coap_lite_reads_what_we_write() {
    let mut random = Random::new(1);
    for _ in 0..cases() {
        let mut meaning = Meaning::random(&mut random);
        if !is_kept(meaning.code) {
            meaning.code = 0x45;
        }
        let bytes = meaning.frame();
        let frame = only_frame(&bytes).expect("a frame of ours is one");
        let read = Packet::from_bytes(&datagram(frame)).expect("coap-lite reads it");
        assert_eq!(of_packet(&read), meaning);
    }
}

#[test]
fn we_read_what_coap_lite_writes() {
    let mut random = Random::new(2);
    for _ in 0..cases() {
        let mut meaning = Meaning::random(&mut random);
        if !is_kept(meaning.code) {
            meaning.code = 0x02;
        }
        let written = packet(&meaning).to_bytes_unlimited().expect("coap-lite writes it");
        let token_end = 4 + meaning.token.len();
        let frame = Frame {
            code: Code::from_byte(written[1]),
            token: Token::new(&written[4..token_end]).expect("at most eight bytes"),
            body: &written[token_end..],
        };
        assert_eq!(Meaning::of(frame), Some(meaning));
    }
}

/// coap-lite is more lenient in two things, which the reference decides: it takes a marker without
/// payload, and any number of options.
#[test]
fn we_and_coap_lite_agree_on_what_is_damaged() {
    let mut random = Random::new(3);
    let (mut sound, mut refused) = (0, 0);
    for _ in 0..cases() {
        let mut bytes = Meaning::random(&mut random).frame();
        let Some(frame) = only_frame(&bytes) else { unreachable!("a frame of ours is one") };
        let at = bytes.len() - frame.body.len();
        random.damage(&mut bytes, at);
        let frame = Frame { code: Code::from_byte(0x45), token: Token::EMPTY, body: &bytes[at..] };
        let ours = Meaning::of(frame);
        let theirs = Packet::from_bytes(&datagram(frame)).ok().map(|packet| of_packet(&packet));
        match (&ours, &theirs) {
            (Some(_), _) => {
                assert_eq!(ours, theirs);
                sound += 1;
            }
            (None, Some(theirs)) => {
                let is_marker_alone = bytes.ends_with(&[0xff]) && theirs.payload.is_empty();
                assert!(is_marker_alone || theirs.options.len() > 64, "{bytes:02x?}");
            }
            (None, None) => refused += 1,
        }
    }
    assert!(sound > 0 && refused > 0, "both kinds occur");
}

/// aiocoap's codec, in a process of its own.
struct Aiocoap {
    process: Child,
    requests: Option<BufWriter<ChildStdin>>,
    answers: BufReader<ChildStdout>,
}

/// Questions on the way before their answers are read: few enough for the pipes to hold.
const AT_A_TIME: u32 = 16;

impl Aiocoap {
    /// None where it is not installed; a failure where it has to be.
    fn start() -> Option<Self> {
        let found = Command::new("python3").args(["-c", "import aiocoap"]).output();
        if !found.is_ok_and(|found| found.status.success()) {
            let required =
                std::env::var("OCF_TESTS_REQUIRE_TOOLS").is_ok_and(|value| !value.is_empty());
            assert!(!required, "the Python module aiocoap is missing");
            eprintln!("skipped: the Python module aiocoap is missing");
            return None;
        }
        let mut process = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/aiocoap_codec.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let requests = process.stdin.take().map(BufWriter::new);
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Some(Self { process, requests, answers })
    }

    fn ask(&mut self, kind: u8, body: &[u8]) {
        let requests = self.requests.as_mut().expect("it is open");
        requests.write_all(&[kind]).expect("it reads");
        requests.write_all(&(body.len() as u32).to_be_bytes()).expect("it reads");
        requests.write_all(body).expect("it reads");
    }

    fn answer(&mut self) -> Vec<u8> {
        self.requests.as_mut().expect("it is open").flush().expect("it reads");
        let mut len = [0; 4];
        self.answers.read_exact(&mut len).expect("it answers");
        let mut answer = vec![0; u32::from_be_bytes(len) as usize];
        self.answers.read_exact(&mut answer).expect("it answers");
        answer
    }

    /// Asks about many things, and compares each answer with what was expected.
    fn compare<T>(
        &mut self,
        kind: u8,
        mut next: impl FnMut() -> (Vec<u8>, T),
        mut judge: impl FnMut(&T, &[u8]),
    ) {
        let mut left = cases();
        while left > 0 {
            let count = left.min(AT_A_TIME);
            let asked: Vec<T> = (0..count)
                .map(|_| {
                    let (question, expected) = next();
                    self.ask(kind, &question);
                    expected
                })
                .collect();
            asked.iter().for_each(|expected| judge(expected, &self.answer()));
            left -= count;
        }
    }
}

impl Drop for Aiocoap {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.requests = None;
        let _ = self.process.wait();
    }
}

#[test]
fn aiocoap_reads_what_we_write() {
    let Some(mut aiocoap) = Aiocoap::start() else { return };
    let mut random = Random::new(4);
    aiocoap.compare(
        b'D',
        || {
            let meaning = for_aiocoap(&mut random);
            (meaning.frame(), meaning)
        },
        |meaning, answer| assert_eq!(String::from_utf8_lossy(answer), meaning.text()),
    );
}

#[test]
fn we_read_what_aiocoap_writes() {
    let Some(mut aiocoap) = Aiocoap::start() else { return };
    let mut random = Random::new(5);
    aiocoap.compare(
        b'E',
        || {
            let meaning = for_aiocoap(&mut random);
            (meaning.text().into_bytes(), meaning)
        },
        |meaning, answer| {
            let frame = only_frame(answer).expect("a frame of aiocoap's is one");
            assert_eq!(Meaning::of(frame).as_ref(), Some(meaning));
            assert_eq!(answer, meaning.frame(), "there is one encoding");
        },
    );
}

/// Whole frames, damaged anywhere. aiocoap is more lenient in what the reference decides: a marker
/// without payload, any number of options, option numbers above 65 535. It looks into values while
/// reading, and refuses texts that are none; here that is for whoever serves the request.
#[test]
fn we_and_aiocoap_agree_on_what_is_damaged() {
    let Some(mut aiocoap) = Aiocoap::start() else { return };
    let mut random = Random::new(6);
    let (mut sound, mut refused) = (0, 0);
    aiocoap.compare(
        b'D',
        || {
            let mut bytes = for_aiocoap(&mut random).frame();
            random.damage(&mut bytes, 0);
            if bytes.len() < 6 {
                bytes.resize(6, 0);
            }
            (bytes.clone(), bytes)
        },
        |bytes, answer| {
            let answer = String::from_utf8_lossy(answer);
            match only_frame(bytes).and_then(Meaning::of) {
                Some(_) if answer.starts_with("!UnicodeDecodeError") => {}
                Some(ours) => {
                    assert_eq!(shortened(&answer), shortened(&ours.text()), "{bytes:02x?}");
                    sound += 1;
                }
                None if answer.starts_with('!') => refused += 1,
                None => assert!(is_lenience(bytes, &answer), "{answer}: {bytes:02x?}"),
            }
        },
    );
    assert!(sound > 0 && refused > 0, "both kinds occur");
}

/// What aiocoap takes and the reference does not (device reference 18, malformed input).
fn is_lenience(bytes: &[u8], meaning: &str) -> bool {
    let numbers: Vec<u64> = meaning
        .split(' ')
        .skip(3)
        .filter_map(|option| option.split_once('=')?.0.parse().ok())
        .collect();
    bytes.ends_with(&[0xff]) || numbers.len() > 64 || numbers.iter().any(|&number| number > 65_535)
}

/// Values without leading zeros: aiocoap keeps numbers as numbers.
fn shortened(meaning: &str) -> Vec<String> {
    let short = |part: &str| match part.split_once('=') {
        Some((number, value)) => {
            let mut value = value;
            while let Some(rest) = value.strip_prefix("00") {
                value = rest;
            }
            format!("{number}={value}")
        }
        None => part.to_owned(),
    };
    meaning.split(' ').map(short).collect()
}

/// A message that aiocoap says again as it was: it keeps what it understands in a form of its own, so
/// options are those that it does not understand.
fn for_aiocoap(random: &mut Random) -> Meaning {
    let mut meaning = Meaning::random(random);
    for (number, _) in &mut meaning.options {
        *number = (*number).max(3000);
    }
    meaning
}

/// Xorshift: the same numbers every time.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// At most so many bytes.
    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }

    /// Lengths at which encodings change are as frequent as others.
    fn bytes_of_some_length(&mut self) -> Vec<u8> {
        let most = [0, 2, 12, 14, 40, 300][self.below(6)];
        match self.below(12) {
            0 => vec![self.next() as u8; [12, 13, 268, 269, 270][self.below(5)]],
            _ => self.bytes(most),
        }
    }

    fn option_number(&mut self) -> u16 {
        match self.below(3) {
            0 => self.below(70) as u16,
            1 => [258, 269, 282, 292, 2049, 2053, 65_535][self.below(7)],
            _ => self.next() as u16,
        }
    }

    fn code(&mut self) -> u8 {
        [0x01, 0x02, 0x03, 0x04, 0x41, 0x44, 0x45, 0x84, 0x85, 0xa0, 0xa3, 0xa5][self.below(12)]
    }

    /// Changes, adds or takes away a few bytes behind `from`.
    fn damage(&mut self, bytes: &mut Vec<u8>, from: usize) {
        for _ in 0..=self.below(3) {
            let at = from + self.below(bytes.len() - from + 1);
            match self.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                _ if at < bytes.len() => bytes[at] = self.next() as u8,
                _ => bytes.push(0xff),
            }
        }
    }
}
