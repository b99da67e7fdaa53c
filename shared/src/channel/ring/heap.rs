//! A ring in ordinary memory, for tests and fuzz targets: what the other process could do to it, they do.

use std::sync::Arc;

use super::{Alone, AtomicU32, AtomicU64, Consumer, Control, Memory, Producer, WORD_BYTES, Word};

/// Shared by both ends.
pub(in crate::channel) struct Heap {
    pub(in crate::channel) control: Control,
    pub(in crate::channel) words: Box<[Word]>,
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
    pub(in crate::channel) fn new(bytes: usize) -> Arc<Self> {
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
#[cfg(test)]
pub(super) fn ring(bytes: usize) -> (Producer<Arc<Heap>>, Consumer<Arc<Heap>>) {
    ends(&Heap::new(bytes))
}

/// Both ends of the ring in this memory.
pub(in crate::channel) fn ends(heap: &Arc<Heap>) -> (Producer<Arc<Heap>>, Consumer<Arc<Heap>>) {
    (Producer::new(heap.clone()), Consumer::new(heap.clone()))
}
