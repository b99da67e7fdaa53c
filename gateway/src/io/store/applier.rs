//! The threads between log and base: one applies full segments, one merges the base's tables.
//!
//! Segments are applied in the order of their numbers or not at all: after a failure nothing more is
//! applied until the store has been opened again. Merging takes seconds at times and nothing depends
//! on it, so nothing waits for it. Both have less of a core than the shards, whose devices do wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::base::Base;
use super::frame;
use super::log::{Sealed, Slot};
use crate::io::heap;

/// How long a commit waits for the applier when all segments are full, before it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much the threads yield to the others of the process, as `nice` counts it: where there is not enough
/// of a core, they get a tenth of what a shard gets. A log that is full makes commits wait all the same.
const NICE: i32 = 10;

/// Applies sealed segments: all that wait, at once. The further it is behind, the larger the tables that
/// it makes of them.
pub(super) struct Applier {
    work: Option<Sender<Sealed>>,
    progress: Receiver<Result<Progress, String>>,
    threads: Vec<JoinHandle<()>>,
    /// Segments handed over and not received back.
    under_way: usize,
    /// How often something was applied and tables were not merged afterwards yet.
    untidy: usize,
}

/// What the threads tell.
enum Progress {
    /// These segments are in the base; their files are free.
    Applied(Vec<Slot>),
    /// Tables are merged as far as it was necessary; once for each time that something was applied.
    Merged,
}

impl Applier {
    /// Starts the threads.
    pub(super) fn start(base: &Arc<Base>) -> std::io::Result<Self> {
        let (work, sealed) = channel();
        let (report, progress) = channel();
        let (merge, merges) = channel();
        let mut applier =
            Self { work: Some(work), progress, threads: Vec::new(), under_way: 0, untidy: 0 };
        let (base_to_merge, report_merged) = (Arc::clone(base), report.clone());
        applier
            .spawn("store-merger", move || merge_all(&base_to_merge, &merges, &report_merged))?;
        let base = Arc::clone(base);
        applier.spawn("store-applier", move || apply_all(&base, &sealed, &merge, &report))?;
        Ok(applier)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let yielding = || {
            // Linux has a priority for each thread, and takes none for the one that asks.
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::warn!(%error, "threads of the store do not yield to the shards");
            }
            run();
        };
        self.threads.push(std::thread::Builder::new().name(name.into()).spawn(yielding)?);
        Ok(())
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
        while self.is_behind() || self.untidy > 0 {
            let progress = self.progress.recv().map_err(|_| stopped())?;
            slots.extend(self.received(progress)?);
        }
        Ok(slots)
    }

    fn received(&mut self, progress: Result<Progress, String>) -> Result<Vec<Slot>, String> {
        match progress? {
            Progress::Applied(slots) => {
                self.under_way -= slots.len();
                self.untidy += 1;
                Ok(slots)
            }
            Progress::Merged => {
                self.untidy -= 1;
                Ok(Vec::new())
            }
        }
    }
}

impl Drop for Applier {
    /// Waits for the threads: the base must be closed before it can be opened again.
    fn drop(&mut self) {
        self.work = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that applies the log panicked");
            }
        }
    }
}

fn stopped() -> String {
    "the thread that applies the log has stopped".into()
}

fn apply_all(
    base: &Base,
    sealed: &Receiver<Sealed>,
    merge: &Sender<()>,
    report: &Sender<Result<Progress, String>>,
) {
    while let Ok(first) = sealed.recv() {
        let waiting = std::iter::once(first).chain(sealed.try_iter()).collect();
        let applied = apply_sealed(base, waiting).map(Progress::Applied);
        heap::give_back();
        let go_on = applied.is_ok();
        if report.send(applied).is_err() || !go_on || merge.send(()).is_err() {
            return;
        }
    }
}

fn merge_all(base: &Base, merges: &Receiver<()>, report: &Sender<Result<Progress, String>>) {
    while merges.recv().is_ok() {
        let merged = loop {
            match base.merge() {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(cause) => break Err(cause),
            }
        };
        heap::give_back();
        // Everything is safe already; too many tables only make reading slower.
        if let Err(cause) = merged {
            tracing::warn!("cannot merge tables of the store: {cause}");
        }
        if report.send(Ok(Progress::Merged)).is_err() {
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
