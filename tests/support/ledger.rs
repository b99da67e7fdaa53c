//! What subscribers must have got, compared with what came: numbers without gaps, in order, repeated
//! only unchanged; and for each resource the last state.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::receiver::Notice;

/// What one subscription has got.
#[derive(Default, Debug)]
pub struct Account {
    /// The notifications in the order of their numbers.
    pub taken: Vec<Notice>,
    /// Attempts that came again.
    pub repeated: usize,
}

/// What came, by subscription.
#[derive(Default, Debug)]
pub struct Ledger {
    /// The accounts, by the ids of subscriptions.
    pub accounts: BTreeMap<String, Account>,
    /// Attempts altogether.
    pub attempts: usize,
}

impl Ledger {
    /// Goes through everything that came, in the order in which it came.
    pub fn of(notices: &[Notice], secret: &str) -> Result<Self, String> {
        let mut ledger = Self::default();
        for notice in notices {
            ledger.enter(notice, secret).map_err(|fault| format!("{fault}: {notice:?}"))?;
        }
        Ok(ledger)
    }

    fn enter(&mut self, notice: &Notice, secret: &str) -> Result<(), String> {
        notice.check(secret)?;
        self.attempts += 1;
        let account = self.accounts.entry(notice.id().to_owned()).or_default();
        let next = account.taken.len() as u64;
        match notice.number() {
            number if number == next => account.taken.push(notice.clone()),
            number if number + 1 == next => {
                account.repeated += 1;
                let before = &account.taken[number as usize];
                let same =
                    (before.event_type(), &before.body) == (notice.event_type(), &notice.body);
                if !same {
                    return Err(format!("number {number} was {before:?} before"));
                }
            }
            number => return Err(format!("number {number} comes where {next} is expected")),
        }
        Ok(())
    }
}

impl Account {
    /// How many of a type there are.
    pub fn count(&self, event_type: &str) -> usize {
        self.taken.iter().filter(|notice| notice.event_type() == event_type).count()
    }

    /// Whether each device is online, as its subscriber was told; which ones were told anything.
    pub fn online(&self) -> Result<BTreeMap<String, bool>, String> {
        let mut devices = BTreeMap::new();
        for notice in &self.taken {
            let online = match notice.event_type() {
                "devices_online" => true,
                "devices_offline" => false,
                _ => continue,
            };
            for device in notice.value().as_array().into_iter().flatten() {
                let di = device["di"].as_str().unwrap_or_default().to_owned();
                let before = devices.insert(di.clone(), online);
                // Every change is told: nobody comes twice without having gone.
                if before == Some(online) && notice.number() > 4 {
                    return Err(format!("{di} is told twice to be online: {online}"));
                }
            }
        }
        Ok(devices)
    }

    /// The last representation.
    pub fn content(&self) -> Option<Value> {
        let all = self.taken.iter().rev();
        all.map(|notice| (notice.event_type(), notice))
            .find(|(event_type, _)| *event_type == "resource_contentchanged")
            .map(|(_, notice)| notice.value())
    }
}
