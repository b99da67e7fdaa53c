//! `crash-run`: gateway and api are killed over and over while devices change and receivers fail; prints
//! what came of it, and fails if an event was lost, reordered, or changed under the same number.

use std::process::ExitCode;

use tests::ordeal::Ordeal;

const USAGE: &str = "usage: crash-run [DEVICES SUBSCRIPTIONS ROUNDS CHANGES_PER_SEC SEED]
The default is 1000 20 100 200 1.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(ordeal) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    println!("{ordeal:?}");
    println!("{}", ordeal.run());
    ExitCode::SUCCESS
}

fn parse(arguments: &[String]) -> Option<Ordeal> {
    let [devices, subscriptions, rounds, changes, seed] = match arguments {
        [] => ["1000", "20", "100", "200", "1"],
        [a, b, c, d, e] => [a, b, c, d, e].map(String::as_str),
        _ => return None,
    };
    Some(Ordeal {
        devices: devices.parse().ok()?,
        subscriptions: subscriptions.parse().ok().filter(|&count: &usize| count >= 4)?,
        rounds: rounds.parse().ok()?,
        changes_per_sec: changes.parse().ok()?,
        seed: seed.parse().ok()?,
    })
}
