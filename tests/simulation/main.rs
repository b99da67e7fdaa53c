//! Many worlds of the simulation, or one of them step by step.

#![expect(clippy::print_stdout, reason = "it is a program for people")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tests::simulation::shrink::shrink;
use tests::simulation::{Counts, Plan, Scale, crowd, simulate, simulate_traced};

const HELP: &str = "\
Simulates clouds: shards, devices, clients, api processes, and everything that can go wrong.

Usage: simulate [OPTIONS]

  --seeds N        how many worlds [default: 100]
  --from N         the first seed [default: 1]
  --small          small worlds, as `cargo test` runs them
  --seed N         one world
  --trace          with --seed: print every step
  --shrink         with --seed: make a world that fails as small as it can be
  --keep-going     do not stop at the first world that fails
  --bugs           plant one bug after the other, and say where each is caught (in builds with
                   --features seeded-bugs)
  --crowd N        N requests between 50 users with 20 devices each
  --help           this

Examples:
  simulate --seeds 10000                 # prints the seed that failed, if one does
  simulate --seed 4711 --trace           # the same steps again, one line each
  simulate --seed 4711 --shrink
  simulate --crowd 1000000
";

/// What was asked for.
struct Arguments {
    seeds: u64,
    from: u64,
    scale: Scale,
    seed: Option<u64>,
    trace: bool,
    shrink: bool,
    keep_going: bool,
    crowd: Option<u64>,
    bugs: bool,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut arguments = Self {
            seeds: 100,
            from: 1,
            scale: Scale::Full,
            seed: None,
            trace: false,
            shrink: false,
            keep_going: false,
            crowd: None,
            bugs: false,
        };
        while let Some(name) = given.next() {
            let mut number = || {
                let value = given.next().ok_or_else(|| format!("{name} needs a number"))?;
                value.parse::<u64>().map_err(|_| format!("{name} needs a number, not {value}"))
            };
            match name.as_str() {
                "--seeds" => arguments.seeds = number()?,
                "--from" => arguments.from = number()?,
                "--seed" => arguments.seed = Some(number()?),
                "--crowd" => arguments.crowd = Some(number()?),
                "--bugs" => arguments.bugs = true,
                "--small" => arguments.scale = Scale::Small,
                "--trace" => arguments.trace = true,
                "--shrink" => arguments.shrink = true,
                "--keep-going" => arguments.keep_going = true,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("{other} is unknown; see --help")),
            }
        }
        Ok(Some(arguments))
    }
}

fn main() -> ExitCode {
    // What panics is part of the verdict.
    std::panic::set_hook(Box::new(|_| {}));
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(None) => print!("{HELP}"),
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
        Ok(Some(arguments)) if arguments.bugs => return bugs(),
        Ok(Some(arguments)) => {
            let passed = match (arguments.seed, arguments.crowd) {
                (Some(seed), _) => one(&Plan::of_seed(seed, arguments.scale), &arguments),
                (None, Some(requests)) => {
                    one(&crowd::plan(arguments.from, 50, 20, requests), &arguments)
                }
                (None, None) => many(&arguments),
            };
            return if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    }
    ExitCode::SUCCESS
}

fn one(plan: &Plan, arguments: &Arguments) -> bool {
    println!("seed {}: {plan}", plan.seed);
    let since = Instant::now();
    let outcome = if arguments.trace { simulate_traced(plan) } else { simulate(plan) };
    println!("{:.1} s: {}", since.elapsed().as_secs_f64(), outcome.counts);
    println!("{}", outcome.counts.answers());
    println!("digest {:016x}", outcome.digest);
    let Some(violation) = outcome.violation else { return true };
    println!("FAILED {violation}");
    if arguments.shrink {
        let (smaller, violation) = shrink(plan, &violation);
        println!("smaller: {smaller}\nFAILED {violation}");
        simulate_traced(&smaller);
    }
    false
}

fn many(arguments: &Arguments) -> bool {
    let (since, mut told) = (Instant::now(), Instant::now());
    let mut total = Counts::default();
    let mut failed = 0;
    let seeds = arguments.from..arguments.from + arguments.seeds;
    for seed in seeds.clone() {
        let outcome = simulate(&Plan::of_seed(seed, arguments.scale));
        total = total.and(outcome.counts);
        if let Some(violation) = outcome.violation {
            failed += 1;
            println!("FAILED {violation}");
            if !arguments.keep_going {
                println!("again, step by step: simulate --seed {seed} --trace");
                break;
            }
        }
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            println!("{} of {}: {total}", seed + 1 - seeds.start, arguments.seeds);
        }
    }
    println!("{:.1} s: {total}; {failed} failed", since.elapsed().as_secs_f64());
    println!("{}", total.answers());
    failed == 0
}

#[cfg(feature = "seeded-bugs")]
fn bugs() -> ExitCode {
    use gateway::seeded::Bug;
    use tests::simulation::bugs::{breaks, hunt};
    println!(
        "| bug | breaks | seed | step | caught by | what was seen |\n|---|---|---|---|---|---|"
    );
    let mut all = true;
    for bug in Bug::ALL {
        match hunt(bug) {
            Some(caught) => {
                let seen: String = caught.seen.chars().take(100).collect();
                let (seed, step, by) = (caught.seed, caught.step, caught.invariant);
                println!("| {bug:?} | {:?} | {seed} | {step} | {by:?} | {seen} |", breaks(bug));
            }
            None => {
                all = false;
                println!("| {bug:?} | {:?} | NOT CAUGHT | | | |", breaks(bug));
            }
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(feature = "seeded-bugs"))]
fn bugs() -> ExitCode {
    println!("this build has no bugs to plant: --features seeded-bugs");
    ExitCode::from(2)
}
