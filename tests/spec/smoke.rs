//! t
use shared::coap::ResponseType::*;
use tests::*;

#[test]
fn smoke() {
    let world = World::new();
    let user = world.user();
    let light = user.light();
    let client = user.client();
    let got = client.ask(&loadtest::device::Ask::Retrieve {
        device: light.id(),
        href: "/light/1",
        query: &[],
    });
    assert_eq!(got.code, Content);
    let d = user.signed_in_device();
    d.publish(&["/a"]);
    let a = d.expect(get("/oic/res"), Content);
    println!("{:?}", a.cbor());
}
