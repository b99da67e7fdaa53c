//! What the API answers, held against the schemas that OCF has published. They are in `api/ocf` and
//! `tests/ocf`, unchanged, with their licences.

use std::error::Error;
use std::fs;
use std::path::Path;

use jsonschema::{Draft, Retrieve, Uri, Validator};
use serde_json::{Value, json};
use tests::processes::{Setup, TestCloud};
use tests::scripted::{Says, Scripted};

use super::DEVICES;

const DEFINITION: &str = "oic.r.cloudapiforcloudservices.swagger.json";

/// Finds the files by their names: they refer to each other by URLs of OCF's site, in either scheme.
struct Files;

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let name = uri.path().as_str().rsplit('/').next().unwrap_or_default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = ["../api/ocf", "ocf", "ocf/schemas"]
            .into_iter()
            .find_map(|directory| fs::read(root.join(directory).join(name)).ok());
        Ok(serde_json::from_slice(&found.ok_or_else(|| format!("no file {name}"))?)?)
    }
}

/// The schema of a definition of the API.
fn definition(name: &str) -> Validator {
    let base = "https://openconnectivityfoundation.github.io/cloud-services";
    let schema = json!({ "$ref": format!("{base}/{DEFINITION}#/definitions/{name}") });
    let options = jsonschema::options().with_draft(Draft::Draft4).should_validate_formats(true);
    // Links of devices are paths, although the schema calls them URIs: OCF's own examples have paths.
    let options = options.with_format("uri", |text: &str| text.starts_with('/'));
    options.with_retriever(Files).build(&schema).unwrap()
}

#[track_caller]
fn check(schema: &Validator, value: &Value) {
    let errors: Vec<_> = schema
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?} in {value:#}");
}

/// The schemas refuse what is wrong: otherwise they would show nothing.
#[test]
fn the_schemas_of_ocf_refuse_what_is_wrong() {
    let di = "53080a4f-5e3e-4291-802f-3436238232d2";
    let whole = json!({
        "device": {
            "di": di,
            "rt": ["oic.wk.d"],
            "n": "x",
            "dmn": [{ "language": "en", "value": "x" }],
        },
        "status": "online",
        "links": [{ "href": "/a", "rt": ["x.a"], "if": ["oic.if.r"] }],
    });
    let schema = definition("Device");
    check(&schema, &whole);
    for (pointer, wrong) in [
        ("/device/di", json!("no UUID")),
        ("/device/rt", json!([])),
        ("/device/dmn", json!("plain")),
        ("/device/dmn/0/language", json!("e_n")),
        ("/device/n", json!("x".repeat(65))),
        ("/status", json!("away")),
        ("/links/0/rt", json!([])),
        ("/links/0/href", json!(1)),
    ] {
        let mut broken = whole.clone();
        *broken.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.is_valid(&broken), "{pointer}");
    }
}

#[test]
fn what_the_api_answers_is_as_ocf_has_defined_it() {
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(6);
    let (rest, token) = (cloud.rest(), cloud.token());
    // What devices say of themselves is shown only as far as it is right.
    let odd = [
        (
            "/oic/d",
            Says::json(&json!({ "n": "x".repeat(200), "rt": [1], "dmn": "plain", "icv": 7 })),
        ),
        ("/oic/p", Says::json(&json!({ "mnmn": "y".repeat(200) }))),
        ("/list", Says::json(&json!([{ "href": "/a" }]))),
    ];
    let _odd = Scripted::online(&cloud, "00000000-0000-4000-8000-00000000000a", &odd);
    let _bare = Scripted::online(&cloud, "00000000-0000-4000-8000-00000000000b", &[]);
    let (base, all) = (definition("Device"), definition("DeviceContentAll"));
    for (query, schema) in [("", &base), ("?content=base", &base), ("?content=all", &all)] {
        let list = rest.get(format!("{DEVICES}{query}")).token(&token).send().is(200).value();
        assert_eq!(list.as_array().unwrap().len(), 8);
        for device in list.as_array().unwrap() {
            check(schema, device);
            let di = device["device"]["di"].as_str().unwrap();
            let one = rest.get(format!("{DEVICES}/{di}{query}")).token(&token).send();
            check(schema, &one.is(200).value());
        }
    }
    cloud.stop();
}
