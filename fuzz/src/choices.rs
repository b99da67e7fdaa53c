//! The input of a target as a stream of choices.

/// Reads choices from the front of the input; zeros when nothing is left.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'d>(&'d [u8]);

impl<'d> Choices<'d> {
    /// All of these bytes.
    pub fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    /// Nothing left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number of two bytes.
    pub fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// Fewer than so many bytes, by choice. At most 256 make sense.
    pub fn some(&mut self, limit: usize) -> &'d [u8] {
        let len = usize::from(self.byte()) % limit;
        self.bytes(len)
    }

    /// At most so many bytes, fewer at the end.
    pub fn bytes(&mut self, len: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
