//! A ring in ordinary memory, for tests: what the other process could do to it, they do.

use std::sync::Arc;

use super::{Alone, AtomicU32, AtomicU64, Consumer, Control, Memory, Producer, WORD_BYTES, Word};

/// Shared by both ends.
pub(super) struct Heap {
    pub(super) control: Control,
    pub(super) words: Box<[Word]>,
}

impl Heap {
    /// A new ring of this many bytes.
    #[cfg_attr(
        loom,
        expect(
            clippy::arc_with_non_send_sync,
            reason = "the threads of a model never run at once"
        )
    )]
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            control: Control {
                published: Alone(AtomicU64::new(0)),
                consumed: Alone(AtomicU64::new(0)),
                asleep: Alone(AtomicU32::new(0)),
            },
            words: (0..bytes / WORD_BYTES).map(|_| Word::new(0)).collect(),
        })
    }
}

impl Memory for Arc<Heap> {
    fn control(&self) -> &Control {
        &self.control
    }

    fn words(&self) -> &[Word] {
        &self.words
    }
}

/// Both ends of a new ring of this many bytes.
pub(super) fn ring(bytes: usize) -> (Producer<Arc<Heap>>, Consumer<Arc<Heap>>) {
    let heap = Heap::new(bytes);
    (Producer::new(heap.clone()), Consumer::new(heap))
}
