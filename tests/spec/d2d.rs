//! Device reference 14: a Cloud Proxy that brings its neighbours into the cloud.

use ciborium::Value;
use shared::coap::ResponseType::*;
use tests::{Msg, Peer, World, content, delete, get, link, map, member, plain, post};

fn proxy_and_client(world: &World) -> (Peer, Peer) {
    let user = world.user();
    (user.signed_in_device(), user.signed_in_client())
}

fn anchored(href: &str, anchor: &str) -> Value {
    let Value::Map(mut pairs) = link(href, "oic.r.switch.binary") else { unreachable!("a map") };
    pairs.push(("anchor".into(), anchor.into()));
    Value::Map(pairs)
}

fn ask(proxy: &Peer, client: &Peer, request: Msg, answer: Msg) -> (Msg, Msg) {
    let token = client.send(request);
    let routed = proxy.take();
    proxy.respond(&routed, answer);
    (routed, client.answer_to(token).expect("an answer"))
}

/// Device reference 14: the list on the proxy is read and changed like any resource.
#[test]
fn the_list_of_neighbours_is_read_and_changed_through_the_cloud() {
    let world = World::new();
    let (proxy, client) = proxy_and_client(&world);
    let path = proxy.path("/d2dserverlist");
    let neighbour = world.device_id();
    let list = map([("dis", Value::Array(vec![neighbour.to_string().into()]))]);
    let (routed, got) = ask(&proxy, &client, get(&path), content(list.clone()));
    assert_eq!((routed.path().as_str(), got.cbor()), ("/d2dserverlist", list.clone()));
    let change = format!("{path}?di={neighbour}");
    for (request, code) in [
        (post(&change, vec![]), Created),
        (post(&change, vec![]), Valid),
        (post(&path, vec![]), BadRequest),
        (post(&change, vec![]), NotFound),
        (post(&format!("{path}?scan=1"), vec![]), Changed),
        (delete(&change), Deleted),
        (delete(&change), Content),
    ] {
        let (routed, got) = ask(&proxy, &client, request.clone(), plain(code));
        assert_eq!(routed.queries(), request.queries());
        assert_eq!(got.code, code);
    }
}

/// Device reference 14: the neighbour's links are the proxy's, with the neighbour's id in their path:
/// only the first segment is taken off.
#[test]
fn links_of_a_neighbour_are_published_discovered_and_reached_through_the_proxy() {
    let world = World::new();
    let (proxy, client) = proxy_and_client(&world);
    let neighbour = world.device_id();
    let href = format!("/{neighbour}/light/1");
    proxy.publish(&[&href]);
    let found = client.expect(get("/oic/res"), Content).cbor();
    let link = found.as_array().expect("links")[0].clone();
    let discovered = member(&link, "href").and_then(Value::as_text).expect("href").to_owned();
    assert_eq!(discovered, format!("/{}/{neighbour}/light/1", proxy.id));
    let (routed, got) = ask(&proxy, &client, get(&discovered), content(b"\xa0"));
    assert_eq!((routed.path(), got.code), (href, Content.into()));
    let token = client.send(get(&discovered).observe(0));
    let registration = proxy.take();
    proxy.respond(&registration, content(b"\xa0").observe(0));
    assert_eq!(client.answer_to(token).expect("an answer").observed(), Some(1));
    // The neighbour itself is no device of the cloud.
    client.expect(get(&format!("/{neighbour}/light/1")), NotFound);
}

/// Device reference 14: an anchor is kept if it is the session's or the first segment of the href.
#[test]
fn an_anchor_is_kept_only_if_it_is_the_proxys_or_the_neighbours() {
    let world = World::new();
    let (proxy, client) = proxy_and_client(&world);
    let (neighbour, other) = (world.device_id(), world.device_id());
    let foreign = world.user().signed_in_device().id;
    let own = format!("ocf://{}", proxy.id);
    for (href, anchor, shown) in [
        (format!("/{neighbour}/1"), format!("ocf://{neighbour}"), format!("ocf://{neighbour}")),
        (format!("/{neighbour}/2"), own.clone(), own.clone()),
        (format!("/{neighbour}/3"), format!("ocf://{other}"), own.clone()),
        (format!("/{neighbour}/4"), format!("ocf://{foreign}"), own.clone()),
        ("/5".to_owned(), format!("ocf://{neighbour}"), own.clone()),
        ("/6".to_owned(), "ocf://nobody".to_owned(), own.clone()),
        ("/7".to_owned(), "coap://x".to_owned(), own.clone()),
        (
            format!("/{neighbour}/8"),
            format!("ocf://{}", neighbour.to_string().to_uppercase()),
            format!("ocf://{neighbour}"),
        ),
    ] {
        proxy.expect(delete("/oic/rd"), Deleted);
        proxy.expect(proxy.publish_request([anchored(&href, &anchor)]), Changed);
        let found = client.expect(get("/oic/res"), Content).cbor();
        let link = &found.as_array().expect("links")[0];
        assert_eq!(member(link, "anchor"), Some(&Value::from(shown)), "{href} {anchor}");
        let path = Value::from(proxy.path(&href));
        assert_eq!(member(link, "href"), Some(&path));
    }
}
