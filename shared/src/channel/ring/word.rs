//! A word of data in models, in place of an atomic one: loom reports every access to it that is not
//! ordered behind the other side's last. As an atomic it would only show old values, and a consumer
//! that gives words back before it has read them would go unnoticed.

use loom::cell::Cell;
use loom::sync::atomic::Ordering;

pub(crate) struct Word(Cell<u64>);

impl Word {
    #[cfg(test)]
    pub(super) fn new(value: u64) -> Self {
        Self(Cell::new(value))
    }

    pub(super) fn load(&self, _relaxed: Ordering) -> u64 {
        self.0.get()
    }

    pub(super) fn store(&self, value: u64, _relaxed: Ordering) {
        self.0.set(value);
    }
}
