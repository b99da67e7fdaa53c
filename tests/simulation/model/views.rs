//! What each user may have seen, step by step: every answer must show the state of one moment between
//! the request and the answer.

use std::collections::{BTreeMap, BTreeSet};

use shared::ids::{DeviceId, UserId};

use super::records::Records;

/// What is remembered of a user: more than changes while an answer is on its way, also to somebody who
/// does not read for a while beside hundreds who publish.
const VIEWS_MAX: usize = 2048;

/// What a user sees from a step on.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in crate::simulation) struct View {
    pub(super) devices: Vec<DeviceId>,
    pub(super) links: Vec<String>,
}

#[derive(Default)]
pub(in crate::simulation) struct Views {
    of_users: BTreeMap<UserId, Vec<(u64, View)>>,
    /// Seeds and generations of accounts that were acknowledged at some time: whose tokens may be out.
    pairs: BTreeSet<(UserId, DeviceId, [u8; 16], u32)>,
}

impl Views {
    pub(super) fn note(&mut self, user: UserId, records: &Records, step: u64) {
        let view = View { devices: records.devices_of(user), links: records.links_of(user) };
        for device in &view.devices {
            let account = &records.accounts[&(user, *device)];
            self.pairs.insert((user, *device, account.seed, account.generation));
        }
        let views = self.of_users.entry(user).or_insert_with(|| vec![(0, View::default())]);
        if views.last().is_none_or(|(_, last)| *last != view) {
            views.push((step, view));
            if views.len() > VIEWS_MAX {
                views.remove(0);
            }
        }
    }

    pub(super) fn users(&self) -> Vec<UserId> {
        self.of_users.keys().copied().collect()
    }

    /// The generations of an account whose tokens may be out.
    pub(super) fn pairs_of(
        &self,
        user: UserId,
        device: DeviceId,
    ) -> impl Iterator<Item = ([u8; 16], u32)> {
        let first = (user, device, [0; 16], 0);
        let last = (user, device, [0xff; 16], u32::MAX);
        self.pairs.range(first..=last).map(|(_, _, seed, generation)| (*seed, *generation))
    }

    /// Whether these devices may be a list that took its time: each was there at some moment since a
    /// step, and none is missing that was there all the time.
    pub(super) fn listed(&self, user: UserId, step: u64, devices: &[DeviceId]) -> bool {
        let there =
            |device: &DeviceId| self.since(user, step, |view| view.devices.contains(device));
        let all_the_time =
            |device: &DeviceId| !self.since(user, step, |view| !view.devices.contains(device));
        let Some((_, last)) = self.of_users.get(&user).and_then(|views| views.last()) else {
            return devices.is_empty();
        };
        devices.iter().all(there)
            && last.devices.iter().all(|device| !all_the_time(device) || devices.contains(device))
    }

    /// Whether something was so at one moment since a step.
    pub(super) fn since(&self, user: UserId, step: u64, was: impl Fn(&View) -> bool) -> bool {
        let Some(views) = self.of_users.get(&user) else { return was(&View::default()) };
        // The newest one that is not younger than the step, and all behind it.
        let first = views.partition_point(|(from, _)| *from <= step).saturating_sub(1);
        views[first..].iter().any(|(_, view)| was(view))
    }
}
