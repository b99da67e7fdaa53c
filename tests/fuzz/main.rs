//! The fuzz targets without a fuzzer: each over its seeds, and over seeds that are changed at random,
//! the same ones every time. What must hold stands at the top of each target.

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::targets::{self, Target};

/// Changed inputs for each target. One that is slow on purpose (a TLS handshake) still takes less than
/// a minute without optimisation.
const CHANGED: u32 = 2000;

/// Longest input.
const BYTES_MAX: usize = 1024;

#[test]
fn every_target_has_seeds_and_every_seed_a_target() {
    let mut named: Vec<_> = targets::ALL.iter().map(|target| target.name.to_owned()).collect();
    named.sort_unstable();
    let mut found: Vec<_> = fs::read_dir(root().join("seeds"))
        .expect("there are seeds")
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("a name"))
        .collect();
    found.sort_unstable();
    assert_eq!(named, found);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("there is a manifest");
    for name in named {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no binary");
        assert!(!seeds(&name).is_empty(), "{name} has no seeds");
    }
}

#[test]
fn every_target_holds_over_its_seeds_and_changed_ones() {
    std::thread::scope(|scope| {
        for target in targets::ALL {
            let thread = std::thread::Builder::new().name(target.name.into());
            thread.spawn_scoped(scope, || run(target)).expect("a thread");
        }
    });
}

fn run(target: &Target) {
    let seeds = seeds(target.name);
    for seed in &seeds {
        (target.run)(seed);
    }
    let mut random = Random(0x5eed_0fce_ed5e_ed01);
    for _ in 0..CHANGED {
        let seed = &seeds[random.below(seeds.len())];
        let mut input = seed[..seed.len().min(BYTES_MAX)].to_vec();
        for _ in 0..=random.below(4) {
            change(&mut input, &seeds, &mut random);
        }
        (target.run)(&input);
    }
}

/// What fuzzers do to an input, in the smallest set that still gets somewhere.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(6) {
        0 => input.truncate(at),
        1 => input.insert(at, random.byte()),
        2 if at < input.len() => input[at] ^= 1 << random.below(8),
        3 if at < input.len() => input[at] = random.byte(),
        4 => {
            let other = &seeds[random.below(seeds.len())];
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        _ => {
            let again = input[at..].to_vec();
            input.extend_from_slice(&again);
        }
    }
    input.truncate(BYTES_MAX);
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(root().join("seeds").join(name)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("it can be read")).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("fuzz")
}

/// Xorshift: the same numbers every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}
