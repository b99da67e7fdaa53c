//! Bugs that are planted on purpose, to show that the simulation of the whole cloud catches them.
//!
//! Only builds with the feature `seeded-bugs` have them; in all others [`is_planted`] is a constant
//! `false`, and nothing of them is left in the program.

/// A bug, named after what it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Requests reach devices whoever owns them.
    ForeignDevicesAnswer,
    /// Commands reach devices whoever owns them.
    ForeignDevicesAreCommanded,
    /// A publish is acknowledged and not written.
    LinksAreNotWritten,
    /// A sign-up is acknowledged and not written.
    AccountsAreNotWritten,
    /// After a start the links of devices are gone.
    LinksAreNotLoaded,
    /// A request that no device answers in time is not answered at all.
    TimeoutsAreSilent,
    /// A client gets the answer of a device twice.
    AnswersComeTwice,
    /// A request goes to its device twice.
    RequestsGoTwice,
    /// Whoever has a device keeps it when somebody else claims it.
    ClaimsDoNotEvict,
    /// The refresh token before the newest one does not count.
    RefreshesCannotBeRepeated,
    /// A sign-up whose answer was lost is refused when it is repeated.
    SignUpsCannotBeRepeated,
    /// Links are shown before they are durable.
    LinksComeBeforeTheirCommit,
    /// Tokens are given out before their account is durable.
    TokensComeBeforeTheirCommit,
    /// Only the first of many observers hears of a change.
    OneObserverIsTold,
    /// Those who observe links hear of no change.
    LinkObserversAreNotTold,
    /// A claim that was refused is never forgotten.
    ClaimsAreKept,
    /// Those who observe links are not forgotten when they leave.
    LinkObserversAreKept,
    /// A device whose connection ends stays online.
    DevicesStayOnline,
    /// Subscribers are told of the devices of all users.
    ForeignSubscribersAreTold,
    /// Notifications are handed out and not written.
    EventsAreNotWritten,
    /// It is not written how many notifications have been dealt with.
    NumbersAreNotWritten,
    /// A notification whose delivery has failed is not tried again.
    FailedEventsAreDropped,
    /// Subscribers are not told of links that are gone.
    UnpublishedLinksAreNotTold,
    /// After a start subscribers are not told who has gone.
    LostDevicesAreNotTold,
    /// Commands under a grant that has ended are carried out.
    RevokedGrantsAreGood,
    /// A code is good as often as it is presented.
    CodesAreGoodTwice,
    /// Whoever asks for a later block of an answer gets what is in the first.
    LaterBlocksAreTheFirst,
}

impl Bug {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 27] = [
        Self::ForeignDevicesAnswer,
        Self::ForeignDevicesAreCommanded,
        Self::LinksAreNotWritten,
        Self::AccountsAreNotWritten,
        Self::LinksAreNotLoaded,
        Self::TimeoutsAreSilent,
        Self::AnswersComeTwice,
        Self::RequestsGoTwice,
        Self::ClaimsDoNotEvict,
        Self::RefreshesCannotBeRepeated,
        Self::SignUpsCannotBeRepeated,
        Self::LinksComeBeforeTheirCommit,
        Self::TokensComeBeforeTheirCommit,
        Self::OneObserverIsTold,
        Self::LinkObserversAreNotTold,
        Self::ClaimsAreKept,
        Self::LinkObserversAreKept,
        Self::DevicesStayOnline,
        Self::ForeignSubscribersAreTold,
        Self::EventsAreNotWritten,
        Self::NumbersAreNotWritten,
        Self::FailedEventsAreDropped,
        Self::UnpublishedLinksAreNotTold,
        Self::LostDevicesAreNotTold,
        Self::RevokedGrantsAreGood,
        Self::CodesAreGoodTwice,
        Self::LaterBlocksAreTheFirst,
    ];
}

#[cfg(feature = "seeded-bugs")]
mod planted {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in the shards of this thread, or takes it out again.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "seeded-bugs")]
pub(crate) use planted::is_planted;
#[cfg(feature = "seeded-bugs")]
pub use planted::plant;

/// Whether a bug is to do its work.
#[cfg(not(feature = "seeded-bugs"))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
