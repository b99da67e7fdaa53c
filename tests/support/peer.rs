//! A peer that says exactly what the test tells it, and what the cloud says to it.

use std::fmt::Write as _;

use ciborium::Value;
use shared::coap::signal::SignalCode;
use shared::coap::{Code, ResponseType, Token};
use shared::ids::DeviceId;

use crate::message::{Body, Msg, map, post};
use crate::station::{Account, Script, Station};
use crate::world::World;

/// A scripted peer. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Peer {
    /// Where it lives.
    pub world: World,
    pub(super) station: usize,
    /// Its device id.
    pub id: DeviceId,
}

impl Peer {
    fn script<R>(&self, use_it: impl FnOnce(&mut Script) -> R) -> R {
        let mut state = self.world.state();
        let Station::Script(script) = &mut state.stations[self.station] else {
            unreachable!("a peer is a scripted station")
        };
        use_it(script)
    }

    /// Connects, does the TLS handshake and reads the cloud's CSM.
    pub fn connect(&self) {
        self.knock();
        assert!(self.script(|script| script.is_established()), "the handshake succeeds");
        assert_eq!(self.take().code, SignalCode::Csm.code(), "the cloud's CSM comes first");
    }

    /// Connects, whatever comes of it.
    pub fn knock(&self) {
        self.knock_with(Vec::new());
    }

    /// Connects, and reads nothing of what the cloud says before [`reads`](Self::reads) allows it.
    pub fn knock_without_reading(&self) {
        let hello = self.script(Script::connect);
        {
            let mut state = self.world.state();
            state.open(self.station);
            if let Some(socket) = state.socket(self.station) {
                socket.peer_reads = false;
            }
            state.send(self.station, hello);
        }
        self.world.settle();
    }

    /// Opens a TCP connection; TLS does not begin.
    pub fn open(&self) {
        self.world.state().open(self.station);
        self.world.settle();
    }

    /// Connects; these bytes go out before those of TLS.
    pub fn knock_with(&self, first: Vec<u8>) {
        let hello = self.script(Script::connect);
        {
            let mut state = self.world.state();
            state.open(self.station);
            state.send(self.station, first);
            state.send(self.station, hello);
        }
        self.world.settle();
    }

    /// Sends bytes that TLS knows nothing of.
    pub fn send_unsealed(&self, bytes: &[u8]) {
        self.world.state().send(self.station, bytes.to_vec());
        self.world.settle();
    }

    /// Sends bytes in one TLS record.
    pub fn send_bytes(&self, plain: &[u8]) {
        let sealed = self.script(|script| script.seal(plain));
        self.send_unsealed(&sealed);
    }

    /// Sends bytes in one TLS record, which the network brings one by one.
    pub fn send_byte_by_byte(&self, plain: &[u8]) {
        let sealed = self.script(|script| script.seal(plain));
        for byte in sealed {
            self.send_unsealed(&[byte]);
        }
    }

    /// Sends a message. Returns its token, which is chosen here unless the message has one.
    pub fn send(&self, message: Msg) -> Token {
        let message = self.with_token(message);
        self.send_bytes(&message.encode());
        message.token.expect("it was chosen")
    }

    /// Sends messages in one TLS record each, all in one segment, before anything is answered.
    /// Returns their tokens.
    pub fn send_together(&self, messages: impl IntoIterator<Item = Msg>) -> Vec<Token> {
        let mut bytes = Vec::new();
        let mut tokens = Vec::new();
        for message in messages {
            let message = self.with_token(message);
            tokens.extend(message.token);
            bytes.extend(self.script(|script| script.seal(&message.encode())));
        }
        self.send_unsealed(&bytes);
        tokens
    }

    fn with_token(&self, mut message: Msg) -> Msg {
        if message.token.is_none() {
            let token = self.script(Script::next_token);
            message.token = Token::new(&token);
        }
        message
    }

    /// Asks, and gets the answer without the passing of time. What else has come stays.
    pub fn request(&self, message: Msg) -> Msg {
        let token = self.send(message);
        self.answer_to(token).expect("the request is answered without the passing of time")
    }

    /// Asks, and gets an answer with this code.
    pub fn expect(&self, message: Msg, code: ResponseType) -> Msg {
        let answer = self.request(message);
        assert_eq!(answer.code, code, "{}", describe(&answer));
        answer
    }

    /// The first message with this token that has come. It is taken.
    pub fn answer_to(&self, token: Token) -> Option<Msg> {
        self.world.settle();
        self.script(|script| {
            let at = script.inbox.iter().position(|message| message.token == Some(token))?;
            script.inbox.remove(at)
        })
    }

    /// The next message that has come, which must have this code. It is taken.
    pub fn expect_reply(&self, code: ResponseType) -> Msg {
        let reply = self.take();
        assert_eq!(reply.code, code, "{}", describe(&reply));
        reply
    }

    /// The next message that has come; there must be one. It is taken.
    pub fn take(&self) -> Msg {
        self.next().expect("something has come")
    }

    /// The next message that has come, if any. It is taken.
    pub fn next(&self) -> Option<Msg> {
        self.world.settle();
        self.script(|script| script.inbox.pop_front())
    }

    /// Everything that has come. It is taken.
    pub fn take_all(&self) -> Vec<Msg> {
        self.world.settle();
        self.script(|script| script.inbox.drain(..).collect())
    }

    /// Nothing has come.
    pub fn expect_silence(&self) {
        let all = self.take_all();
        let said: Vec<_> = all.iter().map(describe).collect();
        assert!(all.is_empty(), "nothing was expected: {said:?}");
    }

    /// The next request of the cloud's, which must be for this path. It is taken.
    pub fn expect_request(&self, path: &str) -> Msg {
        let request = self.take();
        assert_eq!(request.code.class(), 0, "{}", describe(&request));
        assert_eq!(request.path(), path);
        request
    }

    /// Answers a request of the cloud's with the message that it is given.
    pub fn respond(&self, to: &Msg, response: Msg) {
        self.send(Msg { token: to.token, ..response });
    }

    /// Answers a request of the cloud's with a representation.
    pub fn respond_content(&self, to: &Msg, body: impl Into<Body>) {
        self.respond(to, content(body));
    }

    /// Lengths of all frames that have come on this connection, in bytes.
    pub fn frame_lengths(&self) -> Vec<usize> {
        self.script(|script| script.frame_lengths.clone())
    }

    /// What TLS said when it failed.
    pub fn tls_error(&self) -> Option<rustls::Error> {
        self.script(|script| script.tls_error.clone())
    }

    /// Looks at the TLS connection.
    pub fn tls<R>(&self, look: impl FnOnce(&rustls::ClientConnection) -> R) -> R {
        self.script(|script| look(script.tls()))
    }

    /// Whether the cloud has closed TLS in good order.
    pub fn was_told_goodbye(&self) -> bool {
        self.script(|script| script.said_goodbye)
    }

    /// How often the cloud has acknowledged bytes of this connection without an answer to them.
    pub fn acknowledged(&self) -> u32 {
        self.world.settle();
        self.world.state().socket(self.station).map_or(0, |socket| socket.acknowledged)
    }

    /// Whether the connection is open.
    pub fn is_connected(&self) -> bool {
        self.world.settle();
        self.world.state().place(self.station).is_some()
    }

    /// The shard that has the connection.
    pub fn shard(&self) -> Option<shared::ids::ShardId> {
        let place = self.world.state().place(self.station);
        place.map(|(node, _)| shared::ids::ShardId(node as u16))
    }

    /// Closes the connection in good order.
    pub fn close(&self) {
        let goodbye = self.script(Script::goodbye);
        {
            let mut state = self.world.state();
            state.send(self.station, goodbye);
            state.hang_up(self.station, true);
        }
        self.world.settle();
    }

    /// Announces the end of TLS and leaves TCP open.
    pub fn say_goodbye(&self) {
        let goodbye = self.script(Script::goodbye);
        self.send_unsealed(&goodbye);
    }

    /// The network loses the connection.
    pub fn lose(&self) {
        self.world.state().hang_up(self.station, false);
        self.world.settle();
    }

    /// Stops reading what the cloud sends, or begins again.
    pub fn reads(&self, reads: bool) {
        {
            let mut state = self.world.state();
            let place = state.place(self.station);
            if let Some(socket) = state.socket(self.station) {
                socket.peer_reads = reads;
            }
            if let (Some((node, connection)), true) = (place, reads) {
                state.finish_send(node, connection);
            }
        }
        self.world.settle();
    }

    /// The tokens that it was given.
    pub fn account(&self) -> Account {
        self.script(|script| script.account.clone())
    }

    /// Presents these tokens from now on.
    pub fn set_account(&self, account: Account) {
        self.script(|script| script.account = account);
    }

    /// POST `/oic/sec/account` as real devices send it.
    pub fn sign_up_request(&self, token: &str) -> Msg {
        let body = map([("di", self.id.to_string().into()), ("accesstoken", token.into())]);
        post("/oic/sec/account", body)
    }

    /// Signs up, and keeps the tokens.
    pub fn sign_up(&self, token: &str) -> Msg {
        let answer = self.expect(self.sign_up_request(token), ResponseType::Changed);
        self.keep_account(&answer);
        answer
    }

    /// Takes the tokens in the answer to a sign-up or a refresh.
    pub fn keep_account(&self, answer: &Msg) {
        let uid = answer.member("uid").and_then(|uid| uid.into_text().ok());
        let account = Account {
            uid: uid.unwrap_or_else(|| self.account().uid),
            access: answer.member_text("accesstoken"),
            refresh: answer.member_text("refreshtoken"),
        };
        self.set_account(account);
    }

    /// POST `/oic/sec/session` with the tokens that it has.
    pub fn session_request(&self, login: bool) -> Msg {
        let Account { uid, access, .. } = self.account();
        let body = map([
            ("uid", uid.into()),
            ("di", self.id.to_string().into()),
            ("accesstoken", access.into()),
            ("login", login.into()),
        ]);
        post("/oic/sec/session", body)
    }

    /// Signs in.
    pub fn sign_in(&self) -> Msg {
        self.expect(self.session_request(true), ResponseType::Changed)
    }

    /// Signs out.
    pub fn sign_out(&self) -> Msg {
        self.expect(self.session_request(false), ResponseType::Changed)
    }

    /// POST `/oic/sec/tokenrefresh` with the tokens that it has.
    pub fn refresh_request(&self) -> Msg {
        let Account { uid, refresh, .. } = self.account();
        let body = map([
            ("uid", uid.into()),
            ("di", self.id.to_string().into()),
            ("refreshtoken", refresh.into()),
        ]);
        post("/oic/sec/tokenrefresh", body)
    }

    /// Refreshes its tokens, and keeps the new ones.
    pub fn refresh(&self) -> Msg {
        let answer = self.expect(self.refresh_request(), ResponseType::Changed);
        self.keep_account(&answer);
        answer
    }

    /// POST `/oic/rd` of these links.
    pub fn publish_request(&self, links: impl IntoIterator<Item = Value>) -> Msg {
        let links = Value::Array(links.into_iter().collect());
        let body = map([("di", self.id.to_string().into()), ("ttl", 0.into()), ("links", links)]);
        post("/oic/rd", body)
    }

    /// Publishes these hrefs with some resource type.
    pub fn publish(&self, hrefs: &[&str]) -> Msg {
        let links = hrefs.iter().map(|href| link(href, "oic.r.switch.binary"));
        self.expect(self.publish_request(links), ResponseType::Changed)
    }

    /// The path of a resource of this device, as clients ask for it.
    pub fn path(&self, href: &str) -> String {
        format!("/{}{href}", self.id)
    }
}

/// A link with this resource type.
pub fn link(href: &str, resource_type: &str) -> Value {
    map([
        ("href", href.into()),
        ("rt", Value::Array(vec![resource_type.into()])),
        ("if", Value::Array(vec!["oic.if.a".into(), "oic.if.baseline".into()])),
        ("p", map([("bm", 3.into())])),
    ])
}

/// 2.05 with a representation, as devices answer.
pub fn content(body: impl Into<Body>) -> Msg {
    let content = Msg::new(ResponseType::Content).body(body);
    content.uint(shared::coap::option::OCF_CONTENT_VERSION, 2048)
}

/// A response without options and payload.
pub fn plain(code: ResponseType) -> Msg {
    Msg::new(code)
}

/// A message in a few words.
pub fn describe(message: &Msg) -> String {
    let mut words = format!("{}", message.code);
    for (number, value) in &message.options {
        let _ = write!(words, " {number}={value:02x?}");
    }
    match std::str::from_utf8(&message.payload) {
        Ok(text) => words + " " + text,
        Err(_) => format!("{words} {:02x?}", message.payload),
    }
}

/// A code by its class and detail.
pub fn code(class: u8, detail: u8) -> Code {
    Code::from_byte(class << 5 | detail)
}
