//! A world that fails, made as small as it can be while it still fails in the same way.

use std::time::Duration;

use super::plan::{Fault, Plan};
use super::run::simulate;
use super::verdict::Violation;

/// Takes away what the failure does not need: faults, peers, users, shards, time.
pub fn shrink(plan: &Plan, violation: &Violation) -> (Plan, Violation) {
    let mut best = (plan.clone(), violation.clone());
    loop {
        let before = best.0.clone();
        for smaller in smaller_than(&best.0) {
            let failed = simulate(&smaller).violation;
            if let Some(failed) = failed.filter(|it| it.invariant == violation.invariant) {
                best = (smaller, failed);
                break;
            }
        }
        if best.0 == before {
            return best;
        }
    }
}

fn smaller_than(plan: &Plan) -> Vec<Plan> {
    let mut all: Vec<Plan> = Fault::ALL
        .into_iter()
        .filter(|fault| plan.rate(*fault) > 0)
        .map(|fault| plan.clone().without(fault))
        .collect();
    let with = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        smaller
    };
    all.push(with(&|plan| plan.peers = plan.peers.div_ceil(2)));
    all.push(with(&|plan| plan.peers = (plan.peers - 1).max(1)));
    all.push(with(&|plan| plan.users = plan.users.div_ceil(2)));
    all.push(with(&|plan| plan.shards = 1));
    all.push(with(&|plan| plan.span = Duration::from_secs(plan.span.as_secs().div_ceil(2))));
    all.retain(|smaller| smaller != plan);
    all
}
