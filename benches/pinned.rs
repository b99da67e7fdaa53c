//! Becomes another program, on certain cores, to be killed when whoever started it ends.
//!
//! `bench-pinned PARENT CPUS PROGRAM ARGUMENTS...`: the harness's process id, and cores with commas.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

fn main() -> ExitCode {
    let error = match become_program() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    eprintln!("bench-pinned: {error:#}");
    ExitCode::FAILURE
}

fn become_program() -> Result<std::convert::Infallible> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(parent), Some(cpus), Some(program)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        bail!("started by the benchmarks only");
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The harness may have ended before we asked.
    let is_parent = getppid()
        .is_some_and(|pid| pid.as_raw_nonzero().to_string().as_str() == parent.to_string_lossy());
    if !is_parent {
        bail!("the harness has ended");
    }
    let cpus = cpus.to_string_lossy();
    let cpus: Vec<usize> =
        cpus.split(',').map(str::parse).collect::<Result<_, _>>().context("cores")?;
    benches::cpu::pin(&cpus)?;
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.to_string_lossy()))
}
