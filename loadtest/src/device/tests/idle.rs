//! What very many devices would cost, and how their tries are counted.

use std::sync::Arc;
use std::time::Duration;

use super::*;

#[test]
fn an_idle_device_owns_its_tokens_its_keys_and_nothing_else() {
    let mut world = signed_in_light();
    assert!(world.station.is_idle(), "after it has published");
    world.pass_secs(21);
    let ping = world.arrived().pop().unwrap();
    let mut pong = Vec::new();
    shared::coap::signal::write_pong(&mut pong, ping.token, false);
    world.send_record(&pong);
    assert!(world.station.is_idle(), "after a Pong");
}

#[test]
fn devices_of_one_cloud_know_it_once() {
    let mut known = Vec::new();
    let (mut one, mut two) = (signed_in_light(), signed_in_light());
    one.station.share_cloud(&mut known);
    two.station.share_cloud(&mut known);
    assert_eq!(known.len(), 1);
    assert_eq!(Arc::strong_count(&known[0]), 3);
}

/// Device reference 13.3: each try after half the limit of the next one to that limit.
#[test]
fn a_device_that_is_cut_off_counts_its_tries() {
    let mut world = signed_in_light();
    world.listening = false;
    world.close();
    assert_eq!(world.station.tries(), 0);
    let (mut tries, began) = (0, world.now);
    while world.now.since(began) < Duration::from_secs(15) {
        world.pass(Duration::from_millis(100));
        if world.station.tries() > tries {
            tries = world.station.tries();
            let after = world.now.since(began).as_secs_f64();
            // A refused connection is known at once, so only the waits before the tries add up.
            let (least, most) = [(1.0, 2.1), (3.0, 6.2), (7.0, 14.3)][usize::from(tries) - 1];
            assert!((least..=most).contains(&after), "try {tries} after {after} s");
        }
        if tries == 2 {
            world.listening = true;
        }
        if world.connections > 1 {
            break;
        }
    }
    world.sign_in(-1);
    assert_eq!(world.station.tries(), 3);
}
