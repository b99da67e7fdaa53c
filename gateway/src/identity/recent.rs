//! What was found out last about certificates, by their digest, in bounded memory.

use std::collections::{HashMap, VecDeque};

/// The last so many that were added.
pub struct Recent<V, const MAX: usize> {
    found: HashMap<[u8; 32], V>,
    order: VecDeque<[u8; 32]>,
}

impl<V, const MAX: usize> Default for Recent<V, MAX> {
    fn default() -> Self {
        Self { found: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V, const MAX: usize> Recent<V, MAX> {
    /// What was found out about it, if that was not too many others ago.
    pub fn get(&self, digest: &[u8; 32]) -> Option<&V> {
        self.found.get(digest)
    }

    /// Adds what was found out; of more than may be, the oldest is forgotten.
    pub fn add(&mut self, digest: [u8; 32], value: V) {
        if self.found.insert(digest, value).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.found.len(), self.order.len());
        self.found.len()
    }
}
