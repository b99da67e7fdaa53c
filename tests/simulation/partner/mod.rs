//! `api` processes: they ask, come and go, and give devices their tokens; they are an authorization
//! server ([`consenting`]), subscribe for others ([`subscribing`]) and deliver events ([`delivering`]).

mod consenting;
mod delivering;
mod subscribing;

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::shard::{ChannelId, Input};
use shared::channel::message::{
    Command, CommandEnvelope, Content, Failure, Reply, ReplyEnvelope, Subject,
};
use shared::ids::GrantId;
use shared::time::Instant;

use super::agenda::Event;
use super::model::canary;
use super::peer::HREFS;
use super::plan::Fault;
use super::run::{Season, Simulation};
use super::verdict::Invariant;

/// How long callers wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nothing takes longer, the store and other shards included.
const LONGEST_REPLY: Duration = Duration::from_secs(150);

/// A command under way.
#[derive(Clone)]
pub(super) struct Commanded {
    pub(super) channel: ChannelId,
    pub(super) user: usize,
    pub(super) command: Command,
    /// What it is asked under.
    pub(super) grant: Option<GrantId>,
    pub(super) step: u64,
    at: Instant,
    /// The peer that a token is for.
    peer: Option<usize>,
    answered: bool,
}

/// An `api` process, and the one that follows it.
pub(super) struct Partner {
    channel: ChannelId,
    commands: BTreeMap<u64, Commanded>,
    last: u64,
    /// It has told the shards that it delivers.
    delivers: bool,
}

impl Partner {
    pub(super) fn new(channel: u64) -> Self {
        Self { channel: ChannelId(channel), commands: BTreeMap::new(), last: 0, delivers: false }
    }
}

impl Simulation {
    pub(super) fn partner_wakes(&mut self, number: usize) {
        let wants = |peer: &super::peer::Peer| peer.wants_token && !peer.retired;
        let wanting = self.peers.iter().position(wants);
        let most = if wanting.is_some() { 40 } else { 500 };
        let pause = self.dice.time(Duration::from_millis(10), Duration::from_millis(most));
        self.enter(self.instant + pause, Event::PartnerWakes { partner: number });
        if !self.cloud.is_up() {
            return;
        }
        let late = self.partners[number].commands.values().find(|commanded| {
            !commanded.answered && self.instant.since(commanded.at) > LONGEST_REPLY
        });
        if let Some(late) = late {
            let seen = format!("{:?} has no reply", late.command);
            return self.fail(Invariant::AnsweredOnce, seen);
        }
        if self.dice.happens(self.rate(Fault::PartnerLoss)) {
            return self.lose_partner(number);
        }
        if !self.partners[number].delivers {
            self.introduce(number);
        }
        if let Some(peer) = wanting {
            return self.issue_token(number, peer);
        }
        if self.season == Season::Storm {
            self.command_something(number);
        }
    }

    fn issue_token(&mut self, number: usize, peer: usize) {
        self.peers[peer].wants_token = false;
        self.peers[peer].awaits_token = true;
        let device = (self.dice.below(3) > 0).then_some(self.peers[peer].di);
        let command = Command::IssueDeviceToken { device };
        self.command(number, self.peers[peer].user, command, Some(peer));
    }

    fn command_something(&mut self, number: usize) {
        let peer = self.dice.below(self.peers.len());
        let device = self.peers[peer].di;
        let href = HREFS[self.dice.below(HREFS.len())].to_owned();
        // Mostly the owner; sometimes anybody.
        let user = match self.dice.below(4) {
            0 => self.dice.below(self.users.len()),
            _ => self.peers[peer].user,
        };
        let content = if self.dice.below(2) == 0 { Content::Base } else { Content::All };
        let command = match self.dice.below(56) {
            0..10 => Command::ListDevices { after: None, content },
            10..16 => Command::ReadDevice { device, first_link: 0, content },
            16..26 => Command::Retrieve { device, href, interface: None },
            26..34 => {
                let mut body = Vec::new();
                shared::ocf::cbor::Writer(&mut body).map(1).text("c").text(&canary::of(user));
                Command::Update { device, href, interface: None, body }
            }
            34..36 => Command::ListDeviceTokens,
            36..38 => Command::RegisterMediator,
            38 => Command::RemoveDevice { device },
            40..45 => return self.subscribe(number, user, peer),
            45..48 => {
                let ends = self.dice.below(2) == 0;
                return self.use_subscription(number, user, ends);
            }
            48..56 => return self.authorize(number, user),
            _ => Command::IssueDeviceToken { device: None },
        };
        let grant = if self.dice.below(3) == 0 { self.grant_of(user) } else { None };
        let subject = Subject::User { user: self.users[user], grant };
        self.command_about(number, subject, user, command, None);
    }

    fn command(&mut self, number: usize, user: usize, command: Command, peer: Option<usize>) {
        let subject = Subject::User { user: self.users[user], grant: None };
        self.command_about(number, subject, user, command, peer);
    }

    /// A process asks for something, on behalf of a user.
    fn command_about(
        &mut self,
        number: usize,
        subject: Subject,
        user: usize,
        command: Command,
        peer: Option<usize>,
    ) {
        self.counts.commands += 1;
        let partner = &mut self.partners[number];
        partner.last += 1;
        let (request, channel) = (partner.last, partner.channel);
        let commanded = Commanded {
            channel,
            user,
            command: command.clone(),
            grant: commanded_under(&subject),
            step: self.step,
            at: self.instant,
            peer,
            answered: false,
        };
        partner.commands.insert(request, commanded);
        if let Command::RemoveDevice { device } = &command {
            self.model.facts.doubt(*device, (channel.0 | 1 << 63, request), self.instant);
        }
        let grant = commanded_under(&subject);
        self.tell(format_args!("partner {number} user {user} {grant:?}: {request} {command:?}"));
        let patience_ms = PATIENCE.as_millis() as u32;
        let envelope = Box::new(CommandEnvelope { request, patience_ms, subject, command });
        let at = self.soon();
        self.enter(at, Event::Command { epoch: self.cloud.epoch, channel, envelope });
    }

    /// A reply leaves its shard.
    pub(super) fn replied(&mut self, channel: ChannelId, envelope: Box<ReplyEnvelope>) {
        let to = self.partners.iter_mut().find(|partner| partner.channel == channel);
        // Of a process that is gone.
        let Some(partner) = to else { return };
        self.counts.messages += 1;
        let known = partner.commands.get_mut(&envelope.request).filter(|known| !known.answered);
        let Some(commanded) = known else {
            let seen = format!("nobody waits for reply {}", envelope.request);
            return self.fail(Invariant::AnsweredOnce, seen);
        };
        commanded.answered = true;
        let commanded = commanded.clone();
        self.judge_reply(&commanded, &envelope);
        let at = self.soon();
        self.enter(at, Event::Reply { channel, envelope });
    }

    /// A reply reaches its process.
    pub(super) fn hear_reply(&mut self, channel: ChannelId, envelope: ReplyEnvelope) {
        let Some(number) = self.partners.iter().position(|it| it.channel == channel) else {
            return;
        };
        let commanded = self.partners[number].commands.remove(&envelope.request);
        let Some(Commanded { user, peer: Some(peer), .. }) = commanded else { return };
        self.tell(format_args!("partner {number} hears {:?}", failure(&envelope.reply)));
        self.peers[peer].awaits_token = false;
        if self.peers[peer].user != user || self.peers[peer].retired {
            return;
        }
        match envelope.reply {
            Reply::DeviceToken { token, .. } => self.peers[peer].token = Some(token),
            Reply::Failed(Failure::OwnedByAnother) => self.have_removed(number, peer),
            _ => self.peers[peer].wants_token = true,
        }
    }

    /// The owner lets a device go that somebody else wants.
    fn have_removed(&mut self, number: usize, peer: usize) {
        let device = self.peers[peer].di;
        let owner = self.model.acknowledged.owner(device);
        if let Some(owner) = owner.and_then(|owner| self.number_of(owner)) {
            self.command(number, owner, Command::RemoveDevice { device }, None);
        }
        self.peers[peer].wants_token = true;
    }

    /// Whether the process behind a channel is there.
    pub(super) fn is_channel_open(&self, channel: ChannelId) -> bool {
        self.partners.iter().any(|partner| partner.channel == channel)
    }

    fn lose_partner(&mut self, number: usize) {
        self.tell(format_args!("partner {number} is lost"));
        let channel = self.forget_commands(number);
        for node in 0..self.cloud.nodes.len() {
            self.feed(node, Input::ChannelClosed { channel });
        }
    }

    /// The gateway is gone, and all channels with it.
    pub(super) fn lose_all_commands(&mut self) {
        for number in 0..self.partners.len() {
            self.forget_commands(number);
        }
    }

    fn forget_commands(&mut self, number: usize) -> ChannelId {
        self.channels += 1;
        let next = Partner::new(self.channels);
        let Partner { channel, commands, .. } = std::mem::replace(&mut self.partners[number], next);
        for peer in commands.values().filter_map(|commanded| commanded.peer) {
            self.peers[peer].awaits_token = false;
            self.peers[peer].wants_token = true;
        }
        channel
    }
}

/// The grant under which something is asked.
fn commanded_under(subject: &Subject) -> Option<GrantId> {
    match subject {
        Subject::User { grant, .. } => *grant,
        Subject::Partition(_) => None,
    }
}

/// How a reply fails, without what it shows.
fn failure(reply: &Reply) -> Option<Failure> {
    match reply {
        Reply::Failed(failure) => Some(*failure),
        _ => None,
    }
}
