//! The API held against its own document by a program of others: schemathesis makes requests of every
//! shape that the document allows and forbids, and looks at statuses, types, headers and bodies.

use std::path::Path;
use std::process::Command;

use tests::processes::{Setup, TestCloud};
use tests::tools::tool;

/// How long it may look at one part of the document.
const SECONDS: &str = "25";

/// What each operation is tried with, beside all the borders that the document has.
const EXAMPLES: &str = "8";

/// Looks at the operations whose paths are as this pattern says, with these credentials.
fn run(schemathesis: &Path, cloud: &TestCloud, paths: &str, arguments: &[&str]) {
    let facts = cloud.cloud.facts();
    let directory = tempfile::TempDir::with_prefix("ocf-").unwrap();
    let output = Command::new(schemathesis)
        .current_dir(directory.path())
        .arg("run")
        .arg(format!("{}/openapi.json", facts.api))
        .arg("--tls-verify")
        .arg(facts.trust_anchor)
        .args(["--include-path-regex", paths])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES, "--max-time", SECONDS, "--seed", "1"])
        .args(["--request-timeout", "20", "--suppress-health-check", "all"])
        .args(["--max-redirects", "0", "--generation-database", "none"])
        .args(["--warnings", "off", "--no-color"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // It has really tried something.
    assert!(said.contains(" generated, "), "{said}");
}

#[test]
fn the_api_does_what_its_document_says() {
    let Some(schemathesis) = tool("schemathesis") else { return };
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(3);
    let (token, operator) = (cloud.token(), cloud.operator_token());
    let partner = cloud.partner();
    let header = |token: &str| format!("Authorization: Bearer {token}");
    run(&schemathesis, &cloud, "^/api/", &["--header", &header(&token)]);
    // Names, codes and certificates mean more than a schema can say: what fits it may still be wrong.
    let means_more = ["--exclude-checks", "positive_data_acceptance"];
    let operator = header(&operator);
    let with_operator = [&means_more[..], &["--header", &operator]].concat();
    run(&schemathesis, &cloud, "^/operator/", &with_operator);
    let client = format!("{}:{}", partner.client_id, partner.client_secret);
    let with_client = [&means_more[..], &["--auth", &client]].concat();
    run(&schemathesis, &cloud, "^/oauth/(token|revoke|introspect)", &with_client);
    let others = r"^/(oauth/(authorize|login|jwks)|\.well-known|ocf|docs|openapi|healthz|readyz)";
    run(&schemathesis, &cloud, others, &means_more);
    let log = cloud.log(loadtest::demo::API);
    assert!(!log.contains("panicked") && !log.contains("status=500"), "nothing has failed within");
    cloud.stop();
}
