//! The kernel rings of one owner as one: who has to be entered, whose completions come next.

use std::io;

use super::event::SocketId;
use super::kernel::{KernelRing, signals_before_look};
use super::ops::{Completion, Kernel, Operation};

/// Completions taken from one ring before the next one's turn.
const TURN: u32 = 64;

pub(super) struct Rings {
    pub(super) rings: Vec<KernelRing>,
    slots_per_ring: u32,
    /// Rings with queued requests, each once.
    pending: Vec<u32>,
    is_pending: Box<[bool]>,
    /// Whose completions are read, and how many more of them.
    current: usize,
    left: u32,
}

impl Rings {
    pub(super) fn new(rings: Vec<KernelRing>, slots_per_ring: u32) -> Self {
        let is_pending = vec![false; rings.len()].into_boxed_slice();
        Self { rings, slots_per_ring, pending: Vec::new(), is_pending, current: 0, left: TURN }
    }

    /// Ring and slot of a socket.
    pub(super) fn locate(&self, socket: SocketId) -> (usize, u32) {
        ((socket.index / self.slots_per_ring) as usize, socket.index % self.slots_per_ring)
    }

    /// Enters each ring that has queued requests, then each with completions to be fetched. (The
    /// former may fetch the completions of all: with cooperative task runs they are the thread's.)
    pub(super) fn submit(&mut self) -> io::Result<()> {
        for &ring in &self.pending {
            self.rings[ring as usize].enter()?;
        }
        for (ring, is_pending) in self.rings.iter_mut().zip(&self.is_pending) {
            if !is_pending && ring.has_completions_to_fetch() {
                ring.enter()?;
            }
        }
        let Self { rings, is_pending, .. } = self;
        self.pending.retain(|&ring| {
            let ring = ring as usize;
            is_pending[ring] = rings[ring].has_requests();
            is_pending[ring]
        });
        Ok(())
    }

    /// The next completion of any ring; the rings take turns.
    pub(super) fn next(&mut self) -> Option<Completion> {
        for _ in 0..=self.rings.len() {
            if self.left > 0
                && let Some(completion) = self.rings[self.current].next()
            {
                self.left -= 1;
                return Some(completion);
            }
            self.current = (self.current + 1) % self.rings.len();
            self.left = TURN;
        }
        None
    }

    /// Switches the signals on; false, and off again, if there is something to do first.
    pub(super) fn arm_signals(&mut self) -> bool {
        self.rings.iter_mut().for_each(|ring| ring.signal(true));
        signals_before_look();
        let mut rings = self.rings.iter_mut();
        let busy = rings.any(|ring| ring.has_completions() || ring.has_completions_to_fetch());
        let idle = self.pending.is_empty() && !busy;
        if !idle {
            self.disarm_signals();
        }
        idle
    }

    pub(super) fn disarm_signals(&mut self) {
        self.rings.iter_mut().for_each(|ring| ring.signal(false));
    }

    fn mark(&mut self, ring: usize) {
        if !std::mem::replace(&mut self.is_pending[ring], true) {
            self.pending.push(ring as u32);
        }
    }
}

impl Kernel for Rings {
    fn push(&mut self, socket: SocketId, operation: Operation) {
        let (ring, slot) = self.locate(socket);
        self.rings[ring].push(socket, slot, operation);
        self.mark(ring);
    }

    fn give_back(&mut self, ring: u32, buffer: u16) {
        self.rings[ring as usize].buffers().give_back(buffer);
    }

    fn buffers_free(&self, ring: u32) -> u32 {
        self.rings[ring as usize].buffers_free()
    }
}
