//! The device ring's bookkeeping against a model of the kernel: slots, buffers, sends and moves in
//! any order of requests and completions.

use crate::Choices;
use shared::ring::Capabilities;

/// One input.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let flags = choices.byte();
    let capabilities = Capabilities {
        socket_options: flags & 1 != 0,
        bind: flags & 2 != 0,
        prompt_close: flags & 4 != 0,
    };
    let steps = std::iter::from_fn(move || {
        (!choices.is_empty()).then(|| (choices.byte(), usize::from(choices.byte()), choices.byte()))
    });
    shared::ring::model::run(capabilities, steps);
}
