//! What the device says equals the vectors of device reference 18, byte for byte.

use shared::coap::{RequestType, Token};
use shared::ids::{DeviceId, UserId};

use super::super::requests::{self, ClientRequest};
use super::super::resources::{Link, What};

fn device() -> DeviceId {
    "11111111-2222-4333-8444-555555555555".parse().unwrap()
}

fn user() -> UserId {
    super::uid()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    hex(&out)
}

#[test]
fn sign_up_is_acc_1() {
    let frame = written(|out| {
        let token = Token::from_u64(0x0100_0000_0000_0001);
        requests::sign_up(out, token, device(), Some("example"), None, "first-token-0001");
    });
    assert_eq!(
        frame,
        "d881020100000000000001b36f696303736563076163636f756e74122710522710e206e30800420800ffbf626469782431313131313131312d323232322d343333332d383434342d3535353535353535353535356c6175746870726f7669646572676578616d706c656b616363657373746f6b656e7066697273742d746f6b656e2d303030316a6465766963657479706566646576696365ff"
    );
}

#[test]
fn sign_in_is_ses_1_and_sign_out_ses_3() {
    let sign_in = written(|out| {
        let token = Token::from_u64(0x0200_0000_0000_0002);
        requests::sign_in(out, token, user(), device(), "access-1");
    });
    assert_eq!(
        sign_in,
        "d883020200000000000002b36f6963037365630773657373696f6e122710522710e206e30800420800ffbf63756964782437373737373737372d373737372d343737372d383737372d373737373737373737373737626469782431313131313131312d323232322d343333332d383434342d3535353535353535353535356b616363657373746f6b656e686163636573732d31656c6f67696ef5ff"
    );
    let sign_out = written(|out| {
        let token = Token::from_u64(0x0300_0000_0000_0003);
        requests::sign_out(out, token, user(), device(), "access-1");
    });
    assert_eq!(
        sign_out,
        "d883020300000000000003b36f6963037365630773657373696f6e122710522710e206e30800420800ffbf63756964782437373737373737372d373737372d343737372d383737372d373737373737373737373737626469782431313131313131312d323232322d343333332d383434342d3535353535353535353535356b616363657373746f6b656e686163636573732d31656c6f67696ef4ff"
    );
}

#[test]
fn refresh_is_ref_1() {
    let frame = written(|out| {
        let token = Token::from_u64(0x0400_0000_0000_0004);
        requests::refresh(out, token, user(), device(), Some("example"), "refresh-1");
    });
    assert_eq!(
        frame,
        "d8b0020400000000000004b36f6963037365630c746f6b656e72656672657368122710522710e206e30800420800ffbf63756964782437373737373737372d373737372d343737372d383737372d373737373737373737373737626469782431313131313131312d323232322d343333332d383434342d3535353535353535353535356c6175746870726f7669646572676578616d706c65696772616e74747970656d726566726573685f746f6b656e6c72656672657368746f6b656e69726566726573682d31ff"
    );
}

#[test]
fn sign_off_is_acc_4() {
    let frame = written(|out| {
        let token = Token::from_u64(0x3000_0000_0000_0030);
        requests::sign_off(out, token, user(), device(), "access-2");
    });
    assert_eq!(
        frame,
        "d874043000000000000030b36f696303736563076163636f756e744d1b7569643d37373737373737372d373737372d343737372d383737372d3737373737373737373737370d1a64693d31313131313131312d323232322d343333332d383434342d3535353535353535353535350d07616363657373746f6b656e3d6163636573732d32222710e206e30800"
    );
}

/// Device reference 5.1: access tokens of at most 50 characters.
#[test]
fn a_sign_off_carries_access_tokens_of_up_to_fifty_characters() {
    assert!(requests::sign_off_carries(&"x".repeat(50)));
    assert!(!requests::sign_off_carries(&"x".repeat(51)));
    let frame = written(|out| {
        requests::sign_off(out, Token::from_u64(1), user(), device(), &"x".repeat(51));
    });
    assert!(!frame.contains(&hex(b"accesstoken")));
}

#[test]
fn publish_is_rd_1() {
    static DESCRIPTION: Link = Link {
        href: "/oic/d",
        resource_types: &["oic.d.light", "oic.wk.d"],
        interfaces: &["oic.if.r", "oic.if.baseline"],
        policy: 3,
        what: What::Description,
    };
    static LIGHT: Link = Link {
        href: "/light/1",
        resource_types: &["oic.r.switch.binary"],
        interfaces: &["oic.if.a", "oic.if.baseline"],
        policy: 3,
        what: What::Switch,
    };
    let links = [(&DESCRIPTION, 305_419_896), (&LIGHT, 2_596_069_104)];
    let frame = written(|out| {
        let token = Token::from_u64(0x0500_0000_0000_0005);
        requests::publish(out, token, device(), "Hall light", links);
    });
    assert_eq!(
        frame,
        "e80022020500000000000005b36f69630272641227103d0272743d6f69632e776b2e7264707562222710e206e30800420800ffbf626469782431313131313131312d323232322d343333332d383434342d353535353535353535353535616e6a48616c6c206c696768746374746c00656c696e6b739fbf6468726566662f6f69632f646272749f6b6f69632e642e6c69676874686f69632e776b2e64ff6269669f686f69632e69662e726f6f69632e69662e626173656c696e65ff6372656c65686f73747363696e731a123456786170bf62626d03ffffbf6468726566682f6c696768742f316272749f736f69632e722e7377697463682e62696e617279ff6269669f686f69632e69662e616f6f69632e69662e626173656c696e65ff6372656c65686f73747363696e731a9abcdef06170bf62626d03ffffffff"
    );
}

/// RES-1, RTE-1, RTE-5, OBS-1, OBS-6.
#[test]
fn a_client_asks_as_the_vectors_do() {
    let get = ClientRequest {
        method: RequestType::Get,
        device: Some(device()),
        href: "/light/1",
        query: &[],
        observe: None,
        body: &[],
    };
    let res_1 = ClientRequest {
        device: None,
        href: "/oic/res",
        query: &["rt=oic.r.switch.binary", "di=11111111-2222-4333-8444-555555555555"],
        ..get
    };
    let rte_1 = ClientRequest { query: &["if=oic.if.baseline"], ..get };
    let rte_5 = ClientRequest { method: RequestType::Post, body: b"\xa1\x65value\xf4", ..get };
    let obs_1 = ClientRequest { observe: Some(0), ..get };
    let obs_6 = ClientRequest { observe: Some(1), ..get };
    for (request, token, expected) in [
        (
            res_1,
            0x0800_0000_0000_0008,
            "d844010800000000000008b36f6963037265734d0972743d6f69632e722e7377697463682e62696e6172790d1a64693d31313131313131312d323232322d343333332d383434342d353535353535353535353535222710e206e30800",
        ),
        (
            rte_1,
            0x1000_0000_0000_0010,
            "d83d011000000000000010bd1731313131313131312d323232322d343333332d383434342d353535353535353535353535056c6967687401314d0569663d6f69632e69662e626173656c696e65222710e206e30800",
        ),
        (
            rte_5,
            0x1100_0000_0000_0011,
            "d838021100000000000011bd1731313131313131312d323232322d343333332d383434342d353535353535353535353535056c696768740131122710522710e206e30800420800ffa16576616c7565f4",
        ),
        (
            obs_1,
            0x2000_0000_0000_0020,
            "d82a012000000000000020605d1731313131313131312d323232322d343333332d383434342d353535353535353535353535056c696768740131622710e206e30800",
        ),
        (
            obs_6,
            0x2000_0000_0000_0020,
            "d82b01200000000000002061015d1731313131313131312d323232322d343333332d383434342d353535353535353535353535056c696768740131622710e206e30800",
        ),
    ] {
        let frame = written(|out| request.write(out, Token::from_u64(token)));
        assert_eq!(frame, expected);
    }
}
