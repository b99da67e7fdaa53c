//! How many receive buffers the kernel holds at a time.
//!
//! The kernel goes through the buffers that it holds in a circle. The fewer they are, the less memory
//! is ever touched, and the likelier the next one is still in the processor's cache; with too few, a
//! burst finds none and its receives have to be tried again. So their number follows the bursts.

/// It never holds fewer, unless there are no more.
const LEAST: u16 = 64;

/// After so many small bursts in a row it holds half as many.
const CALM: u32 = 4096;

#[derive(Debug)]
pub(super) struct Window {
    size: u16,
    /// All buffers there are.
    max: u16,
    /// Buffers filled since the kernel was last entered.
    burst: u16,
    /// Small bursts in a row.
    calm: u32,
}

impl Window {
    pub(super) fn new(max: u16) -> Self {
        Self { size: LEAST.min(max), max, burst: 0, calm: 0 }
    }

    /// Buffers that the kernel is to hold.
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// A buffer was filled.
    pub(super) fn filled(&mut self) {
        self.burst = self.burst.saturating_add(1);
    }

    /// The kernel is about to be entered: what was filled before it was one burst.
    pub(super) fn turn(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        if burst > self.size / 2 {
            self.calm = 0;
            self.size = self.size.saturating_mul(2).min(self.max);
        } else if burst > self.size / 8 {
            self.calm = 0;
        } else {
            self.calm += 1;
            if self.calm >= CALM {
                self.calm = 0;
                self.size = (self.size / 2).max(LEAST.min(self.max));
            }
        }
    }

    /// A receive found no buffer.
    pub(super) fn ran_out(&mut self) {
        self.burst = u16::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(window: &mut Window, of: u16) {
        (0..of).for_each(|_| window.filled());
        window.turn();
    }

    #[test]
    fn it_grows_before_a_burst_finds_no_buffer() {
        let mut window = Window::new(2048);
        assert_eq!(window.size(), 64);
        burst(&mut window, 32);
        assert_eq!(window.size(), 64);
        burst(&mut window, 33);
        assert_eq!(window.size(), 128);
        for _ in 0..9 {
            window.ran_out();
            window.turn();
        }
        assert_eq!(window.size(), 2048, "all there are");
    }

    #[test]
    fn it_shrinks_when_only_small_bursts_come() {
        let mut window = Window::new(2048);
        burst(&mut window, 64);
        (0..CALM - 1).for_each(|_| burst(&mut window, 16));
        assert_eq!(window.size(), 128);
        burst(&mut window, 17);
        (0..CALM - 1).for_each(|_| burst(&mut window, 16));
        assert_eq!(window.size(), 128, "one that was not small among them");
        burst(&mut window, 0);
        assert_eq!(window.size(), 64);
        (0..CALM).for_each(|_| burst(&mut window, 0));
        assert_eq!(window.size(), 64);
    }

    #[test]
    fn few_buffers_are_all_held() {
        let mut window = Window::new(4);
        assert_eq!(window.size(), 4);
        (0..CALM).for_each(|_| burst(&mut window, 0));
        burst(&mut window, 4);
        assert_eq!(window.size(), 4);
    }
}
