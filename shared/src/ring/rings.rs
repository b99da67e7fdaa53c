//! The kernel rings of one owner as one: who has to be entered, whose completions come next.

use std::io;
use std::time::Duration;

use super::event::SocketId;
use super::kernel::{KernelRing, signals_before_look};
use super::ops::{Completion, Kernel, Operation};

/// Completions taken from one ring before the next one's turn.
const TURN: u32 = 64;

pub(super) struct Rings {
    pub(super) rings: Vec<KernelRing>,
    slots_per_ring: u32,
    /// By ring, whether requests are queued.
    pending: Box<[bool]>,
    /// Whose completions are read, and how many more of them.
    current: usize,
    left: u32,
}

impl Rings {
    pub(super) fn new(rings: Vec<KernelRing>, slots_per_ring: u32) -> Self {
        let pending = vec![false; rings.len()].into_boxed_slice();
        Self { rings, slots_per_ring, pending, current: 0, left: TURN }
    }

    /// Ring and slot of a socket.
    pub(super) fn locate(&self, socket: SocketId) -> (usize, u32) {
        ((socket.index / self.slots_per_ring) as usize, socket.index % self.slots_per_ring)
    }

    /// Buffers of all rings, bytes of those that the kernel goes through, and of all.
    pub(super) fn buffer_memory(&self) -> (usize, usize, usize) {
        self.rings
            .iter()
            .map(KernelRing::buffer_memory)
            .fold((0, 0, 0), |sum, ring| (sum.0 + ring.0, sum.1 + ring.1, sum.2 + ring.2))
    }

    /// Hands what is queued to the kernel and fetches what it has ready.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        self.submit_from(0)
    }

    /// As [`Self::submit`], and unless there is something to do sleeps in the first ring for this
    /// long. The others, when they have something, signal to the eventfd that the first one watches.
    pub(super) fn submit_and_wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.submit_from(1)?;
        let others_idle = self.arm_from(1);
        let first = &mut self.rings[0];
        let slept = if others_idle && !first.has_completions() {
            first.enter_and_wait(timeout)
        } else {
            first.enter()
        };
        self.pending[0] = self.rings[0].has_requests();
        self.disarm_signals();
        slept
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

    fn disarm_signals(&mut self) {
        self.rings.iter_mut().for_each(|ring| ring.signal(false));
    }

    /// Enters each ring that has requests, then each with completions to fetch. (The former may
    /// fetch the completions of all: with cooperative task runs they are the thread's.)
    fn submit_from(&mut self, first: usize) -> io::Result<()> {
        for (ring, pending) in self.rings.iter_mut().zip(&self.pending).skip(first) {
            if *pending {
                ring.enter()?;
            }
        }
        for (ring, pending) in self.rings.iter_mut().zip(&mut self.pending).skip(first) {
            if *pending {
                *pending = ring.has_requests();
            } else if ring.has_completions_to_fetch() {
                ring.enter()?;
            }
        }
        Ok(())
    }

    fn arm_from(&mut self, first: usize) -> bool {
        let rings = &mut self.rings[first..];
        rings.iter_mut().for_each(|ring| ring.signal(true));
        signals_before_look();
        !self.pending[first..].contains(&true)
            && !rings
                .iter_mut()
                .any(|ring| ring.has_completions() || ring.has_completions_to_fetch())
    }
}

impl Kernel for Rings {
    fn push(&mut self, socket: SocketId, operation: Operation) {
        let (ring, slot) = self.locate(socket);
        self.rings[ring].push(socket, slot, operation);
        self.pending[ring] = true;
    }

    fn give_back(&mut self, ring: u32, buffer: u16) {
        self.rings[ring as usize].buffers().give_back(buffer);
    }

    fn buffers_free(&self, ring: u32) -> u32 {
        self.rings[ring as usize].buffers_free()
    }
}
