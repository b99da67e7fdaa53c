//! The writer.

/// Appends single CBOR items: definite lengths, shortest integers.
#[derive(Debug)]
pub struct Writer<'b>(pub &'b mut Vec<u8>);

impl Writer<'_> {
    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        match value {
            0..=23 => self.0.push(major | value as u8),
            24..=0xff => self.0.extend_from_slice(&[major | 24, value as u8]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend_from_slice(&(value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(major | 26);
                self.0.extend_from_slice(&(value as u32).to_be_bytes());
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
        }
        self
    }

    /// An unsigned integer.
    pub fn unsigned(&mut self, value: u64) -> &mut Self {
        self.head(0, value)
    }

    /// The negative integer −1 − `value`.
    pub fn negative(&mut self, value: u64) -> &mut Self {
        self.head(1, value)
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(2, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.text_head(value.len());
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// The head of a text string whose `len` bytes the caller appends.
    pub fn text_head(&mut self, len: usize) -> &mut Self {
        self.head(3, len as u64)
    }

    /// The head of an array.
    pub fn array(&mut self, len: usize) -> &mut Self {
        self.head(4, len as u64)
    }

    /// The head of a map of so many pairs.
    pub fn map(&mut self, pairs: usize) -> &mut Self {
        self.head(5, pairs as u64)
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(if value { 0xf5 } else { 0xf4 });
        self
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Self {
        self.0.push(0xf6);
        self
    }

    /// A float, always in double width.
    pub fn double(&mut self, value: f64) -> &mut Self {
        self.0.push(0xfb);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }
}
