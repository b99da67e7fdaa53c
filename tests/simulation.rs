//! Some hundred worlds of the simulation. `cargo run -p tests --release --bin simulate` runs more.

use tests::simulation::{Plan, Scale, simulate};

/// Worlds that run here.
const SEEDS: u64 = 200;

#[test]
fn every_promise_holds_in_every_world() {
    for seed in 1..=SEEDS {
        let outcome = simulate(&Plan::of_seed(seed, Scale::Small));
        if let Some(violation) = outcome.violation {
            panic!("{violation}; again: simulate --small --seed {seed} --trace");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_world_to_the_byte() {
    for seed in [3, 4, 5, 6] {
        let plan = Plan::of_seed(seed, Scale::Small);
        let (first, again) = (simulate(&plan), simulate(&plan));
        assert_eq!(first, again, "seed {seed}");
        let other = simulate(&Plan::of_seed(seed + 100, Scale::Small));
        assert_ne!(first.digest, other.digest);
    }
}

/// Each of them breaks a promise, and the simulation says so.
#[cfg(feature = "seeded-bugs")]
#[test]
fn every_planted_bug_is_caught() {
    use gateway::seeded::Bug;
    use tests::simulation::bugs::{breaks, hunt};
    for bug in Bug::ALL {
        let caught = hunt(bug).unwrap_or_else(|| panic!("{bug:?} is not caught"));
        assert_eq!(caught.invariant, breaks(bug), "{bug:?}: {caught}");
    }
}
