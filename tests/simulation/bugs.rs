//! Bugs that are planted on purpose, and what catches them.

use gateway::seeded::{Bug, plant};

use super::plan::{Plan, Scale};
use super::run::simulate;
use super::verdict::{Invariant, Violation};

/// Seeds after which a bug counts as not caught.
const SEEDS_MAX: u64 = 1000;

/// Which invariant a bug is made to break.
pub fn breaks(bug: Bug) -> Invariant {
    match bug {
        Bug::ForeignDevicesAnswer
        | Bug::ForeignDevicesAreCommanded
        | Bug::ForeignSubscribersAreTold => Invariant::Isolation,
        Bug::LinksAreNotWritten | Bug::AccountsAreNotWritten | Bug::EventsAreNotWritten => {
            Invariant::CommitFirst
        }
        Bug::NumbersAreNotWritten | Bug::FailedEventsAreDropped => Invariant::EventsInOrder,
        Bug::UnpublishedLinksAreNotTold | Bug::LostDevicesAreNotTold => Invariant::EventsComplete,
        Bug::RevokedGrantsAreGood | Bug::CodesAreGoodTwice => Invariant::Revocation,
        Bug::LinksAreNotLoaded => Invariant::Durability,
        Bug::TimeoutsAreSilent
        | Bug::AnswersComeTwice
        | Bug::RequestsGoTwice
        | Bug::LaterBlocksAreTheFirst => Invariant::AnsweredOnce,
        Bug::ClaimsDoNotEvict => Invariant::OneOwner,
        Bug::RefreshesCannotBeRepeated | Bug::SignUpsCannotBeRepeated => Invariant::NoLockout,
        Bug::LinksComeBeforeTheirCommit | Bug::TokensComeBeforeTheirCommit => {
            Invariant::CommitFirst
        }
        Bug::OneObserverIsTold | Bug::LinkObserversAreNotTold => Invariant::LatestState,
        Bug::ClaimsAreKept | Bug::LinkObserversAreKept => Invariant::Bounded,
        Bug::DevicesStayOnline => Invariant::Consistency,
    }
}

/// The first world in which a bug is caught.
pub fn hunt(bug: Bug) -> Option<Violation> {
    plant(Some(bug));
    let caught =
        (1..=SEEDS_MAX).find_map(|seed| simulate(&Plan::of_seed(seed, Scale::Small)).violation);
    plant(None);
    caught
}
