//! Users and their devices in memory, and what devices do when asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use shared::channel::message::{
    Command, CommandEnvelope, Content, DeviceAnswer, DeviceView, DevicesPage, Failure, LinkView,
    OutstandingToken, Reply, Subject,
};
use shared::coap::{Code, ResponseType};
use shared::ids::{DeviceId, UserId};
use shared::ocf::device::Status;
use tokio::sync::watch;

use super::cloud::PATIENCE;

pub(crate) const ALICE: &str = "77777777-7777-4777-8777-777777777777";
pub(crate) const BOB: &str = "88888888-8888-4888-8888-888888888888";
/// Alice's, online.
pub(crate) const SENSOR: &str = "53080a4f-5e3e-4291-802f-3436238232d2";
/// Alice's, offline.
pub(crate) const LIGHT: &str = "9cfbeb8e-5a1e-4d1c-9d01-00c04fd430c8";
/// Bob's, online.
pub(crate) const LOCK: &str = "b0b00000-0000-4000-8000-000000000001";
/// Nobody's.
pub(crate) const UNKNOWN: &str = "00010000-0000-0000-0000-000000000001";

/// `{"humidity":62,"desiredHumidity":65}`, the sensor's.
pub(crate) const HUMIDITY: &[u8] = b"\xa2\x68humidity\x18\x3e\x6fdesiredHumidity\x18\x41";

/// What a resource does when it is asked.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Says what it holds; takes updates.
    Works,
    /// Says this.
    Answers(DeviceAnswer),
    /// Its shard says this.
    Fails(Failure),
    /// Nobody ever says anything.
    Silent,
}

#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) link: LinkView,
    pub(crate) cbor: Vec<u8>,
    pub(crate) behaviour: Behaviour,
}

#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) status: Status,
    pub(crate) description: Option<Vec<u8>>,
    pub(crate) platform: Option<Vec<u8>>,
    pub(crate) name: Option<String>,
    pub(crate) resources: BTreeMap<String, Resource>,
}

impl Device {
    pub(crate) fn online() -> Self {
        Self {
            status: Status::Online,
            description: None,
            platform: None,
            name: None,
            resources: BTreeMap::new(),
        }
    }

    pub(crate) fn offline() -> Self {
        Self { status: Status::Offline, ..Self::online() }
    }

    /// `/oic/d`, as JSON.
    pub(crate) fn described(mut self, json: &str) -> Self {
        self.description = Some(cbor(json));
        self.with("/oic/d", &["oic.wk.d"], json)
    }

    /// A resource, as JSON.
    pub(crate) fn with(self, href: &str, resource_types: &[&str], json: &str) -> Self {
        self.with_cbor(href, resource_types, &cbor(json))
    }

    pub(crate) fn with_cbor(mut self, href: &str, resource_types: &[&str], cbor: &[u8]) -> Self {
        let link = LinkView {
            href: href.into(),
            resource_types: resource_types.iter().map(|&name| name.into()).collect(),
            interfaces: vec!["oic.if.s".into(), "oic.if.baseline".into()],
            policy: 3,
            title: None,
            media_types: vec![],
            tag_pos_desc: None,
            tag_pos_rel: None,
            tag_func_desc: None,
            tag_locn: None,
            representation: None,
        };
        let resource = Resource { link, cbor: cbor.to_vec(), behaviour: Behaviour::Works };
        self.resources.insert(href.into(), resource);
        self
    }

    pub(crate) fn behaving(mut self, href: &str, behaviour: Behaviour) -> Self {
        self = self.with(href, &["x.test"], "{}");
        self.resources.get_mut(href).unwrap().behaviour = behaviour;
        self
    }
}

/// CBOR of a JSON text, made by another library than the one under test.
pub(crate) fn cbor(json: &str) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let mut cbor = Vec::new();
    ciborium::into_writer(&value, &mut cbor).unwrap();
    cbor
}

pub(crate) fn answer(code: Code) -> DeviceAnswer {
    DeviceAnswer { code: code.byte(), content_format: None, max_age: None, body: vec![] }
}

/// An update that reached a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Update {
    pub(crate) device: DeviceId,
    pub(crate) href: String,
    pub(crate) interface: Option<String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) users: BTreeMap<UserId, BTreeMap<DeviceId, Device>>,
    pub(crate) updates: Vec<Update>,
    pub(crate) tokens: Vec<(UserId, OutstandingToken)>,
    /// Bounds of a page.
    pub(crate) devices_per_page: usize,
    pub(crate) links_per_page: usize,
    /// The reply to everything, if it is set.
    pub(crate) reply: Option<Reply>,
    /// Lists fail from this many pages on.
    pub(crate) pages_until_failure: Option<usize>,
}

/// The world, shared between a test and the gateway's thread.
#[derive(Clone)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    /// How many updates have reached their devices.
    updated: watch::Sender<usize>,
}

impl World {
    /// Alice with two devices, Bob with one.
    pub(crate) fn new() -> Self {
        let state = State { devices_per_page: 100, links_per_page: 100, ..State::default() };
        let world = Self { state: Arc::new(Mutex::new(state)), updated: watch::Sender::new(0) };
        let sensor = Device::online()
            .described(
                r#"{"di":"53080a4f-5e3e-4291-802f-3436238232d2","rt":["oic.wk.d","oic.d.sensor"],
                    "n":"Food safety sensor","dmn":[{"language":"en","value":"Example Appliances"}],
                    "icv":"ocf.2.2.0","dmv":"ocf.res.1.3.0","piid":"6f0aac04-2bb0-468d-b57c-16570a26ae48"}"#,
            )
            .with_cbor("/humidity", &["oic.r.humidity"], HUMIDITY)
            .with("/light/1", &["oic.r.switch.binary"], r#"{"value":true}"#);
        let light =
            Device::offline().with("/light/1", &["oic.r.switch.binary"], r#"{"value":false}"#);
        let lock =
            Device::online().with("/lock", &["oic.r.lock.status"], r#"{"lockState":"Locked"}"#);
        world.put(ALICE, SENSOR, sensor);
        world.put(ALICE, LIGHT, light);
        world.put(BOB, LOCK, lock);
        world
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn put(&self, user: &str, device: &str, is: Device) {
        let (user, device) = (user.parse().unwrap(), device.parse().unwrap());
        self.state().users.entry(user).or_default().insert(device, is);
    }

    pub(crate) fn forget(&self, user: &str, device: &str) {
        let device = device.parse().unwrap();
        self.state().users.get_mut(&user.parse().unwrap()).unwrap().remove(&device);
    }

    pub(crate) fn set_status(&self, user: &str, device: &str, status: Status) {
        let mut state = self.state();
        let devices = state.users.get_mut(&user.parse().unwrap()).unwrap();
        devices.get_mut(&device.parse().unwrap()).unwrap().status = status;
    }

    /// Waits until so many updates have reached their devices.
    pub(crate) async fn until_updated(&self, updates: usize) {
        let mut updated = self.updated.subscribe();
        let reached = updated.wait_for(|&reached| reached >= updates);
        tokio::time::timeout(PATIENCE, reached).await.expect("updates come").unwrap();
    }

    /// What the user's shard replies; none if nobody ever does.
    pub(crate) fn reply(&self, envelope: CommandEnvelope) -> Option<Reply> {
        let Subject::User { user, .. } = envelope.subject else { panic!("{envelope:?}") };
        let mut state = self.state();
        if let Some(reply) = &state.reply {
            return Some(reply.clone());
        }
        let outcome = match envelope.command {
            Command::ListDevices { after, content } => state.list(user, after, content),
            Command::ReadDevice { device, first_link, content } => {
                state.read(user, device, first_link, content)
            }
            Command::Retrieve { device, href, interface } => {
                return state.ask(user, device, &href, interface, None);
            }
            Command::Update { device, href, interface, body } => {
                let reply = state.ask(user, device, &href, interface, Some(body));
                self.updated.send_replace(state.updates.len());
                return reply;
            }
            Command::RegisterMediator => {
                state.users.entry(user).or_default();
                Ok(Reply::Done)
            }
            Command::IssueDeviceToken { device } => state.issue(user, device),
            Command::ListDeviceTokens => Ok(Reply::DeviceTokens(state.tokens_of(user))),
            Command::RemoveDevice { device } => state.remove(user, device),
            Command::DeleteUser => {
                state.users.remove(&user);
                Ok(Reply::Done)
            }
            // The authorization server, events and figures are tested with the real gateway.
            Command::Authorization(_)
            | Command::Registry(_)
            | Command::Events(_)
            | Command::ReadFigures => Err(Failure::StoreUnavailable),
        };
        Some(outcome.unwrap_or_else(Reply::Failed))
    }
}

impl State {
    fn device(&self, user: UserId, device: DeviceId) -> Result<&Device, Failure> {
        self.users.get(&user).and_then(|all| all.get(&device)).ok_or(Failure::NoSuchDevice)
    }

    fn list(
        &mut self,
        user: UserId,
        after: Option<DeviceId>,
        content: Content,
    ) -> Result<Reply, Failure> {
        if let Some(pages) = &mut self.pages_until_failure {
            *pages = pages.checked_sub(1).ok_or(Failure::StoreUnavailable)?;
        }
        let empty = BTreeMap::new();
        let all = self.users.get(&user).unwrap_or(&empty);
        let mut behind = all.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
        let mut page = DevicesPage::default();
        for (id, device) in behind.by_ref().take(self.devices_per_page) {
            let (view, next_link) = self.view(*id, device, 0, content);
            page.devices.push(view);
            page.next_link = next_link;
            if next_link.is_some() {
                break;
            }
        }
        page.more_devices = behind.next().is_some();
        Ok(Reply::Devices(page))
    }

    fn read(
        &self,
        user: UserId,
        device: DeviceId,
        first_link: u32,
        content: Content,
    ) -> Result<Reply, Failure> {
        let found = self.device(user, device)?;
        let (view, next_link) = self.view(device, found, first_link, content);
        Ok(Reply::Devices(DevicesPage { devices: vec![view], next_link, more_devices: false }))
    }

    fn view(
        &self,
        id: DeviceId,
        device: &Device,
        first_link: u32,
        content: Content,
    ) -> (DeviceView, Option<u32>) {
        let links = device.resources.values().skip(first_link as usize).take(self.links_per_page);
        let links: Vec<_> = links
            .map(|resource| LinkView {
                representation: (content == Content::All).then(|| resource.cbor.clone()),
                ..resource.link.clone()
            })
            .collect();
        let next = first_link as usize + links.len();
        let view = DeviceView {
            device: id,
            status: device.status,
            description: device.description.clone(),
            platform: device.platform.clone(),
            name: device.name.clone(),
            links,
        };
        (view, (next < device.resources.len()).then_some(next as u32))
    }

    /// Retrieves, or updates with a body.
    fn ask(
        &mut self,
        user: UserId,
        device: DeviceId,
        href: &str,
        interface: Option<String>,
        body: Option<Vec<u8>>,
    ) -> Option<Reply> {
        let Some(found) = self.users.get_mut(&user).and_then(|all| all.get_mut(&device)) else {
            return Some(Reply::Failed(Failure::NoSuchDevice));
        };
        let status = found.status;
        let Some(resource) = found.resources.get_mut(href) else {
            return Some(Reply::Failed(Failure::NoSuchResource));
        };
        if interface.as_ref().is_some_and(|name| !resource.link.interfaces.contains(name)) {
            return Some(Reply::Failed(Failure::NoSuchInterface));
        }
        if status == Status::Offline {
            return Some(Reply::Failed(Failure::DeviceOffline));
        }
        if let Some(body) = &body {
            let update = Update { device, href: href.into(), interface, body: body.clone() };
            self.updates.push(update);
        }
        match &resource.behaviour {
            Behaviour::Silent => None,
            Behaviour::Fails(failure) => Some(Reply::Failed(*failure)),
            Behaviour::Answers(answer) => Some(Reply::Device(answer.clone())),
            Behaviour::Works => {
                let code =
                    if body.is_some() { ResponseType::Changed } else { ResponseType::Content };
                if let Some(body) = body {
                    resource.cbor = merged(&resource.cbor, &body);
                }
                Some(Reply::Device(DeviceAnswer {
                    content_format: Some(10_000),
                    body: resource.cbor.clone(),
                    ..answer(code.into())
                }))
            }
        }
    }

    fn issue(&mut self, user: UserId, device: Option<DeviceId>) -> Result<Reply, Failure> {
        let owner = |id: DeviceId| {
            self.users.iter().find(|(_, all)| all.contains_key(&id)).map(|(user, _)| *user)
        };
        if device.and_then(owner).is_some_and(|owner| owner != user) {
            return Err(Failure::OwnedByAnother);
        }
        self.tokens.push((user, OutstandingToken { device, expires_in_secs: 600 }));
        Ok(Reply::DeviceToken { token: "one-time".into(), expires_in_secs: 600 })
    }

    fn tokens_of(&self, user: UserId) -> Vec<OutstandingToken> {
        let own = self.tokens.iter().filter(|(owner, _)| *owner == user);
        own.map(|(_, token)| token.clone()).collect()
    }

    fn remove(&mut self, user: UserId, device: DeviceId) -> Result<Reply, Failure> {
        self.device(user, device)?;
        self.users.get_mut(&user).unwrap().remove(&device);
        self.tokens.retain(|(_, token)| token.device != Some(device));
        Ok(Reply::Done)
    }
}

/// A partial representation laid over a whole one.
fn merged(whole: &[u8], part: &[u8]) -> Vec<u8> {
    use ciborium::Value;
    let read = |bytes| ciborium::from_reader::<Value, _>(bytes).unwrap();
    let (Value::Map(mut whole), Value::Map(part)) = (read(whole), read(part)) else {
        return part.to_vec();
    };
    for (key, value) in part {
        whole.retain(|(known, _)| *known != key);
        whole.push((key, value));
    }
    let mut cbor = Vec::new();
    ciborium::into_writer(&Value::Map(whole), &mut cbor).unwrap();
    cbor
}
