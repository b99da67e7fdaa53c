//! Random bytes from the system, fetched in blocks.

use crate::shard::Randomness;

const BLOCK_BYTES: usize = 1024;

/// The system's generator.
pub struct SystemRandom {
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl SystemRandom {
    /// Fetches a first block, so that a system without random numbers is found out at the start.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut block = [0; BLOCK_BYTES];
        getrandom::fill(&mut block)?;
        Ok(Self { block, used: 0 })
    }
}

impl Randomness for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == BLOCK_BYTES {
                // Linux never takes back what it granted at the start.
                getrandom::fill(&mut self.block).expect("the system has random bytes");
                self.used = 0;
            }
            *byte = std::mem::take(&mut self.block[self.used]);
            self.used += 1;
        }
    }
}
