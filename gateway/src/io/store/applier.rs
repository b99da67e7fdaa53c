//! The thread between log and base: it applies full segments and keeps the base tidy.
//!
//! Segments are applied in the order of their numbers or not at all: after a failure nothing more is
//! applied until the store has been opened again.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::base::Base;
use super::frame;
use super::log::{Sealed, Slot};

/// How long a commit waits for the applier when all segments are full, before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// The thread that applies sealed segments, in order: all that wait, at once. The further it is behind,
/// the larger the tables that it makes of them.
pub(super) struct Applier {
    work: Option<Sender<Sealed>>,
    progress: Receiver<Result<Progress, String>>,
    thread: Option<JoinHandle<()>>,
    /// Segments handed over and not received back.
    under_way: usize,
    /// Whether it does nothing when nothing is under way.
    tidy: bool,
}

/// What the applier tells.
enum Progress {
    /// These segments are in the base; their files are free.
    Applied(Vec<Slot>),
    /// The tables of the base are merged as far as they have to be.
    Tidy,
}

impl Applier {
    /// Starts the thread.
    pub(super) fn start(base: Arc<Base>) -> std::io::Result<Self> {
        let (work, sealed) = channel();
        let (report, progress) = channel();
        let apply = move || apply_all(&base, &sealed, &report);
        let thread = std::thread::Builder::new().name("store-applier".into()).spawn(apply)?;
        Ok(Self { work: Some(work), progress, thread: Some(thread), under_way: 0, tidy: false })
    }

    /// Hands over a segment, in the order of their numbers.
    pub(super) fn submit(&mut self, sealed: Sealed) -> Result<(), String> {
        let work = self.work.as_ref().ok_or_else(stopped)?;
        work.send(sealed).map_err(|_| stopped())?;
        self.under_way += 1;
        Ok(())
    }

    /// Files whose segments have been applied.
    pub(super) fn finished(&mut self) -> Result<Vec<Slot>, String> {
        let mut slots = Vec::new();
        loop {
            match self.progress.try_recv() {
                Ok(progress) => slots.extend(self.received(progress)?),
                Err(TryRecvError::Empty) => return Ok(slots),
                Err(TryRecvError::Disconnected) => return Err(stopped()),
            }
        }
    }

    /// The next files whose segments have been applied; none if that does not happen in time.
    pub(super) fn wait(&mut self) -> Result<Vec<Slot>, String> {
        let mut slots = Vec::new();
        while slots.is_empty() {
            match self.progress.recv_timeout(PATIENCE) {
                Ok(progress) => slots = self.received(progress)?,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Err(stopped()),
            }
        }
        Ok(slots)
    }

    /// Whether segments are not applied yet.
    pub(super) fn is_behind(&self) -> bool {
        self.under_way > 0
    }

    /// Waits until it does nothing any more.
    #[cfg(test)]
    pub(super) fn quiesce(&mut self) -> Result<Vec<Slot>, String> {
        let mut slots = Vec::new();
        while self.is_behind() || !self.tidy {
            let progress = self.progress.recv().map_err(|_| stopped())?;
            slots.extend(self.received(progress)?);
        }
        Ok(slots)
    }

    fn received(&mut self, progress: Result<Progress, String>) -> Result<Vec<Slot>, String> {
        match progress? {
            Progress::Applied(slots) => {
                self.under_way -= slots.len();
                self.tidy = false;
                Ok(slots)
            }
            Progress::Tidy => {
                self.tidy = true;
                Ok(Vec::new())
            }
        }
    }
}

impl Drop for Applier {
    /// Waits for it: the base must be closed before it can be opened again.
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that applies the log panicked");
        }
    }
}

fn stopped() -> String {
    "the thread that applies the log has stopped".into()
}

/// What the thread does: apply what waits; when nothing does, or there are many tables, merge some;
/// otherwise wait.
fn apply_all(base: &Base, sealed: &Receiver<Sealed>, report: &Sender<Result<Progress, String>>) {
    let mut tidy = false;
    loop {
        let first = match tidy {
            true => sealed.recv().map_err(|_| TryRecvError::Disconnected),
            false if base.is_crowded() => Err(TryRecvError::Empty),
            false => sealed.try_recv(),
        };
        let progress = match first {
            Ok(first) => {
                tidy = false;
                let waiting = std::iter::once(first).chain(sealed.try_iter()).collect();
                match apply_sealed(base, waiting) {
                    Ok(slots) => Progress::Applied(slots),
                    Err(cause) => {
                        // Whoever hears it opens the store again; if nobody does, it is being closed.
                        report.send(Err(cause)).ok();
                        return;
                    }
                }
            }
            Err(TryRecvError::Empty) => {
                tidy = match base.merge() {
                    Ok(merged) => !merged,
                    // Everything is safe already; too many tables only make reading slower.
                    Err(cause) => {
                        tracing::warn!("cannot merge tables of the store: {cause}");
                        true
                    }
                };
                if !tidy {
                    continue;
                }
                Progress::Tidy
            }
            Err(TryRecvError::Disconnected) => return,
        };
        if report.send(Ok(progress)).is_err() {
            return;
        }
    }
}

fn apply_sealed(base: &Base, sealed: Vec<Sealed>) -> Result<Vec<Slot>, String> {
    let describe =
        |slot: &Slot, cause: &dyn std::fmt::Display| format!("{}: {cause}", slot.path().display());
    let mut segments = Vec::with_capacity(sealed.len());
    for Sealed { number, slot } in &sealed {
        let bytes = slot.read().map_err(|cause| describe(slot, &cause))?;
        match frame::scan(&bytes, base.salt()) {
            Ok(Some(segment)) if segment.number == *number && segment.sealed => {
                segments.push((segment, bytes));
            }
            Ok(_) | Err(frame::Damaged) => {
                return Err(describe(slot, &"it does not read back as it was written"));
            }
        }
    }
    base.apply(&segments).map_err(|cause| cause.to_string())?;
    Ok(sealed.into_iter().map(|sealed| sealed.slot).collect())
}
