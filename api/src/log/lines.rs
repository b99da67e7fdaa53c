//! Log lines, gathered for a few milliseconds and written by a thread of their own.
//!
//! A system call per request would be a tenth of its cost, and standard error has one lock for all
//! threads. What a slow reader of the log cannot take is counted and left out: it never holds up a
//! request, and never grows without bound.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(10);

/// Most bytes that wait to be written.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Where lines go to be written.
#[derive(Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    left_out: u64,
    finished: bool,
}

impl Lines {
    /// Starts the thread that writes them.
    pub(super) fn written_to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("log".into());
        let writer = thread.spawn(move || of_thread.write_all(out))?;
        Ok(Self { shared, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Writes what is left, and no more.
    pub(super) fn finish(&self) {
        self.shared.state().finished = true;
        self.shared.changed.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A thread that panicked has nothing left to write.
            let _panicked = writer.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > WAITING_BYTES_MAX {
            state.left_out += 1;
            return;
        }
        let writer_sleeps = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if writer_sleeps {
            self.changed.notify_one();
        }
    }

    fn write_all(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let nothing = |state: &mut State| state.waiting.is_empty() && !state.finished;
            let waited = self.changed.wait_while(self.state(), nothing);
            let finished = waited.unwrap_or_else(PoisonError::into_inner).finished;
            if !finished {
                std::thread::sleep(GATHER);
            }
            let mut state = self.state();
            std::mem::swap(&mut state.waiting, &mut taken);
            let left_out = std::mem::take(&mut state.left_out);
            drop(state);
            if left_out > 0 {
                taken.extend_from_slice(format!("{left_out} log lines left out\n").as_bytes());
            }
            // Where the log itself cannot be written there is nobody left to tell.
            let _nobody = out.write_all(&taken).and_then(|()| out.flush());
            taken.clear();
            if finished {
                return;
            }
        }
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line(&self.shared)
    }
}

/// Takes one line.
pub(super) struct Line<'l>(&'l Shared);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Passes on what is written, and takes its time.
    struct Reader {
        read: mpsc::Sender<Vec<u8>>,
        go_on: mpsc::Receiver<()>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _gone = self.read.send(bytes.to_vec());
            let _gone = self.go_on.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Lines, mpsc::Receiver<Vec<u8>>, mpsc::Sender<()>) {
        let ((read, reads), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
        let lines = Lines::written_to(Reader { read, go_on: goes_on }).unwrap();
        (lines, reads, go_on)
    }

    #[test]
    fn every_line_is_written_in_order_also_the_last() {
        let (lines, reads, go_on) = lines();
        drop(go_on);
        for nth in 0..1000 {
            writeln!(lines.make_writer(), "{nth}").unwrap();
        }
        lines.finish();
        let written: Vec<u8> = reads.try_iter().flatten().collect();
        let expected: String = (0..1000).map(|nth| format!("{nth}\n")).collect();
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn a_slow_reader_costs_lines_and_is_told_so() {
        let (lines, reads, go_on) = lines();
        let line = vec![b'x'; WAITING_BYTES_MAX / 4];
        lines.shared.push(b"first");
        assert_eq!(reads.recv().unwrap(), b"first");
        // Nothing is read from here on, so only four fit.
        (0..6).for_each(|_| lines.shared.push(&line));
        drop(go_on);
        lines.finish();
        let written: Vec<u8> = reads.try_iter().flatten().collect();
        assert_eq!(written.len(), 4 * line.len() + "2 log lines left out\n".len());
        assert!(written.ends_with(b"2 log lines left out\n"));
    }
}
