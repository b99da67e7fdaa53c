//! CoAP frames out of the plaintext of TLS records.
//!
//! iotivity-lite takes one frame out of what a record brought and leaves the rest in its TLS buffer
//! until the next record arrives, and before it knows a frame's length it wants 6 bytes of it. So
//! two frames in a record make everything later lag by one (rule 3), and a frame of 6 bytes or less
//! is waited for without end (rule 2).

use shared::coap::{Frame, FrameError, Framed};

use super::breach::Breach;
use super::stack::{FRAME_BYTES_MAX, Stack};

/// What iotivity-lite reads first.
const FIRST_READ_BYTES: usize = 6;
/// Largest frame for a tolerant stack: what the cloud announces for itself.
const TOLERANT_FRAME_BYTES_MAX: usize = 262_144;

/// Plaintext that is not yet understood, and how often it may be looked at.
#[derive(Debug, Default)]
pub(super) struct Frames {
    plain: Vec<u8>,
    /// Records whose arrival has not yet been used to take a frame.
    turns: usize,
}

/// What came of looking for a frame.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// A whole frame, now in the caller's buffer; and the rule that its record broke, if it did.
    Frame(Option<Breach>),
    /// Nothing before the next record.
    Nothing,
    /// The receiver waits for bytes that never come.
    Hung(Breach),
    /// The device drops the connection.
    Dropped(Breach),
}

impl Frames {
    /// Takes the plaintext of one record.
    pub(super) fn absorb(&mut self, plain: &[u8]) {
        self.plain.extend_from_slice(plain);
        self.turns += 1;
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.turns == 0
    }

    /// Moves the next frame into `frame`, replacing what was there.
    pub(super) fn take(&mut self, frame: &mut Vec<u8>, stack: Stack) -> Taken {
        match stack {
            Stack::Fussy => self.take_fussily(frame),
            Stack::Tolerant => self.take_any(frame),
        }
    }

    fn take_any(&mut self, frame: &mut Vec<u8>) -> Taken {
        self.turns = 0;
        match Frame::parse(&self.plain, TOLERANT_FRAME_BYTES_MAX) {
            Ok(Framed::Whole(_, length)) => self.hand_out(frame, length),
            Ok(Framed::Partial { .. }) => Taken::Nothing,
            Err(_) => Taken::Dropped(Breach::NotCoap),
        }
    }

    fn take_fussily(&mut self, frame: &mut Vec<u8>) -> Taken {
        if self.turns == 0 || self.plain.is_empty() {
            return Taken::Nothing;
        }
        self.turns -= 1;
        match Frame::parse(&self.plain, usize::MAX) {
            Ok(Framed::Whole(_, bytes)) if bytes <= FIRST_READ_BYTES => {
                Taken::Hung(Breach::ShortFrame { bytes })
            }
            Ok(Framed::Whole(_, bytes)) | Ok(Framed::Partial { needed: bytes })
                if bytes > FRAME_BYTES_MAX =>
            {
                Taken::Dropped(Breach::LargeFrame { bytes })
            }
            Ok(Framed::Whole(_, length)) => self.hand_out(frame, length),
            Ok(Framed::Partial { .. }) => Taken::Nothing,
            Err(FrameError::TokenLength(_) | FrameError::TooLarge { .. }) => {
                Taken::Dropped(Breach::NotCoap)
            }
        }
    }

    fn hand_out(&mut self, frame: &mut Vec<u8>, length: usize) -> Taken {
        if length == self.plain.len() {
            *frame = std::mem::take(&mut self.plain);
            return Taken::Frame(None);
        }
        frame.clear();
        frame.extend(self.plain.drain(..length));
        // A whole frame was there, and more: only a record that carries several does that.
        Taken::Frame(Some(Breach::SeveralFramesInRecord))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PING: [u8; 10] = [0x08, 0xe2, 1, 2, 3, 4, 5, 6, 7, 8];
    const PONG: [u8; 10] = [0x08, 0xe3, 1, 2, 3, 4, 5, 6, 7, 8];

    fn take(frames: &mut Frames) -> (Taken, Vec<u8>) {
        let mut frame = Vec::new();
        let taken = frames.take(&mut frame, Stack::Fussy);
        (taken, frame)
    }

    #[test]
    fn a_frame_over_several_records_is_fine() {
        let mut frames = Frames::default();
        for piece in [&PING[..1], &PING[1..3], &PING[3..7]] {
            frames.absorb(piece);
            assert_eq!(take(&mut frames).0, Taken::Nothing);
        }
        frames.absorb(&PING[7..]);
        assert_eq!(take(&mut frames), (Taken::Frame(None), PING.to_vec()));
    }

    #[test]
    fn rule_3_bites_the_second_frame_of_a_record_waits_for_the_next_record() {
        let mut frames = Frames::default();
        frames.absorb(&[PING, PONG].concat());
        let broken = Taken::Frame(Some(Breach::SeveralFramesInRecord));
        assert_eq!(take(&mut frames), (broken, PING.to_vec()));
        assert_eq!(take(&mut frames).0, Taken::Nothing);
        frames.absorb(&PING);
        assert_eq!(take(&mut frames).1, PONG, "everything lags by one");
        assert_eq!(take(&mut frames).0, Taken::Nothing);
    }

    #[test]
    fn rule_2_bites_a_frame_below_seven_bytes_hangs_the_receiver() {
        for frame in [&[0x00, 0xe1][..], &[0x40, 0xe1, 0x23, 0x10, 0, 0]] {
            let mut frames = Frames::default();
            frames.absorb(frame);
            assert_eq!(take(&mut frames).0, Taken::Hung(Breach::ShortFrame { bytes: frame.len() }));
        }
    }

    #[test]
    fn a_frame_above_what_the_device_holds_drops_the_connection() {
        let mut frames = Frames::default();
        frames.absorb(&[0xe8, 0x1b, 0xa8, 0x45, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(take(&mut frames).0, Taken::Dropped(Breach::LargeFrame { bytes: 7361 }));
    }

    #[test]
    fn a_tolerant_stack_takes_all_frames_of_a_record() {
        let mut frames = Frames::default();
        frames.absorb(&[PING, PONG].concat());
        let mut frame = Vec::new();
        frames.take(&mut frame, Stack::Tolerant);
        assert_eq!(frame, PING);
        assert_eq!(frames.take(&mut frame, Stack::Tolerant), Taken::Frame(None));
        assert_eq!(frame, PONG);
        assert_eq!(frames.take(&mut frame, Stack::Tolerant), Taken::Nothing);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            fussy: bool,
        ) {
            let stack = if fussy { Stack::Fussy } else { Stack::Tolerant };
            let mut frames = Frames::default();
            let mut frame = Vec::new();
            for record in records {
                frames.absorb(&record);
                while let Taken::Frame(_) = frames.take(&mut frame, stack) {}
            }
        }
    }
}
