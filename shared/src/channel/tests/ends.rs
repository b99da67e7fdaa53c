//! The two ends, both keeping the rules.

use super::*;
use crate::channel::message::{DevicesPage, MESSAGE_BYTES_MAX};

#[test]
fn commands_and_replies_arrive_as_they_were_sent() {
    let mut link = linked(2);
    for (gateway, api) in link.gateway.iter_mut().zip(&mut link.api.shards) {
        for request in 0..100 {
            api.send(&command(request)).unwrap();
        }
        assert_eq!(gateway.next_command(), Ok(None), "not flushed yet");
        api.flush().unwrap();
        for request in 0..100 {
            assert_eq!(gateway.next_command(), Ok(Some(command(request))));
            gateway.send(&reply(request)).unwrap();
        }
        gateway.flush().unwrap();
        for request in 0..100 {
            assert_eq!(api.next_reply(), Ok(Some(reply(request))));
        }
        assert_eq!(api.next_reply(), Ok(None));
    }
}

#[test]
fn a_full_ring_is_an_error_and_costs_no_message() {
    let mut link = linked(1);
    let (gateway, api) = (&mut link.gateway[0], &mut link.api.shards[0]);
    let mut sent = 0;
    while api.send(&command(sent)).is_ok() {
        sent += 1;
    }
    assert_eq!(api.send(&command(sent)), Err(SendError::Full));
    api.flush().unwrap();
    for request in 0..sent {
        assert_eq!(gateway.next_command(), Ok(Some(command(request))));
    }
    assert_eq!(gateway.next_command(), Ok(None));
    api.send(&command(sent)).unwrap();
    api.flush().unwrap();
    assert_eq!(gateway.next_command(), Ok(Some(command(sent))));
}

#[test]
fn a_message_above_the_limit_is_refused_and_the_next_one_goes_through() {
    let mut link = linked(1);
    let (gateway, api) = (&mut link.gateway[0], &mut link.api.shards[0]);
    let answer = |bytes| DeviceAnswer {
        code: 0x45,
        content_format: None,
        max_age: None,
        body: vec![1; bytes],
    };
    let reply = |bytes| ReplyEnvelope { request: 1, reply: Reply::Device(answer(bytes)) };
    assert_eq!(gateway.send(&reply(MESSAGE_BYTES_MAX)), Err(SendError::TooLarge));
    let nearly = reply(MESSAGE_BYTES_MAX - 100);
    gateway.send(&nearly).unwrap();
    let page = Reply::Devices(DevicesPage::default());
    let page = ReplyEnvelope { request: 2, reply: page };
    gateway.send(&page).unwrap();
    gateway.flush().unwrap();
    assert_eq!(api.next_reply(), Ok(Some(nearly)));
    assert_eq!(api.next_reply(), Ok(Some(page)));
}

#[test]
fn a_shard_is_woken_by_its_own_doorbell_and_only_when_it_sleeps() {
    let mut link = linked(2);
    let (gateway, api) = (&mut link.gateway[1], &mut link.api.shards[1]);
    api.send(&command(1)).unwrap();
    api.flush().unwrap();
    assert!(!is_readable(&link.doorbells[1]), "it is awake");
    assert_eq!(gateway.announce_sleep(), Ok(Rest::StayAwake), "there is a command");
    gateway.next_command().unwrap().unwrap();
    assert_eq!(gateway.announce_sleep(), Ok(Rest::Sleep));
    api.send(&command(2)).unwrap();
    assert!(!is_readable(&link.doorbells[1]), "not flushed yet");
    api.flush().unwrap();
    assert!(is_readable(&link.doorbells[1]));
    assert!(!is_readable(&link.doorbells[0]));
    gateway.wake();
    assert_eq!(gateway.next_command(), Ok(Some(command(2))));
}

#[test]
fn an_api_process_is_woken_by_one_bell_for_all_shards() {
    let mut link = linked(3);
    for api in &mut link.api.shards {
        assert_eq!(api.announce_sleep(), Ok(Rest::Sleep));
    }
    assert!(!is_readable(&link.api.bell));
    for gateway in &mut link.gateway {
        gateway.send(&reply(1)).unwrap();
        gateway.flush().unwrap();
        assert!(is_readable(&link.api.bell));
    }
    link.api.bell.clear().unwrap();
    assert!(!is_readable(&link.api.bell));
    for api in &mut link.api.shards {
        api.wake();
        assert_eq!(api.next_reply(), Ok(Some(reply(1))));
    }
}

#[test]
fn nobody_falls_asleep_on_what_is_not_flushed() {
    let mut link = linked(1);
    let (gateway, api) = (&mut link.gateway[0], &mut link.api.shards[0]);
    api.send(&command(1)).unwrap();
    assert_eq!(api.announce_sleep(), Ok(Rest::Sleep));
    assert_eq!(gateway.next_command(), Ok(Some(command(1))));
}

#[test]
fn an_end_may_move_to_another_thread() {
    let mut link = linked(1);
    let mut gateway = link.gateway.remove(0);
    let api = &mut link.api.shards[0];
    api.send(&command(1)).unwrap();
    api.flush().unwrap();
    let received = thread::spawn(move || gateway.next_command()).join().unwrap();
    assert_eq!(received, Ok(Some(command(1))));
}

#[test]
fn a_gateway_that_is_gone_is_noticed_at_the_socket_and_at_the_bell() {
    let link = linked(2);
    assert!(!is_lost(&link.api_socket));
    drop((link.gateway, link.gateway_socket));
    await_readable(&link.api_socket);
    assert!(is_lost(&link.api_socket));
    await_readable(&link.api.bell);
    assert_eq!(link.api.bell.clear(), Err(ChannelError::PeerGone));
}

#[test]
fn an_api_process_that_is_gone_is_noticed_at_the_socket_and_when_it_is_rung() {
    let mut link = linked(1);
    assert!(!is_lost(&link.gateway_socket));
    assert_eq!(link.api.shards[0].announce_sleep(), Ok(Rest::Sleep));
    drop((link.api, link.api_socket));
    await_readable(&link.gateway_socket);
    assert!(is_lost(&link.gateway_socket));
    let gateway = &mut link.gateway[0];
    gateway.send(&reply(1)).unwrap();
    assert_eq!(gateway.flush(), Err(ChannelError::PeerGone));
    assert_eq!(gateway.next_command(), Err(ChannelError::PeerGone), "lost once, lost for ever");
}

#[test]
fn one_link_knows_nothing_of_another() {
    let (first, mut second) = (linked(1), linked(1));
    drop(first);
    second.api.shards[0].send(&command(1)).unwrap();
    second.api.shards[0].flush().unwrap();
    assert_eq!(second.gateway[0].next_command(), Ok(Some(command(1))));
}
