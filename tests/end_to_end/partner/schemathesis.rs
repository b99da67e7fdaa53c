//! The API held against its own document by a program of others: schemathesis makes requests of every
//! shape that the document allows and forbids, and looks at statuses, types, headers and bodies.
//!
//! What it is told to leave out stands in `schemathesis.toml`, each with its reason.

use std::env;
use std::path::Path;
use std::process::Command;

use tests::processes::{Setup, TestCloud};
use tests::tools::tool;

/// What each operation is tried with at random, beside all the borders that the document has.
const EXAMPLES: &str = "8";

/// The same in the longer form.
const EXAMPLES_VARIABLE: &str = "OCF_SCHEMATHESIS_EXAMPLES";

/// Looks at the operations whose paths are as this pattern says, with these credentials.
fn run(schemathesis: &Path, cloud: &TestCloud, paths: &str, credentials: &[&str]) {
    let facts = cloud.cloud.facts();
    let directory = tempfile::TempDir::with_prefix("ocf-").unwrap();
    let examples = env::var(EXAMPLES_VARIABLE).unwrap_or_else(|_| EXAMPLES.into());
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis.toml");
    let output = Command::new(schemathesis)
        .current_dir(directory.path())
        .args(["--config-file", config, "run"])
        .arg(format!("{}/openapi.json", facts.api))
        .arg("--tls-verify")
        .arg(facts.trust_anchor)
        .args(["--include-path-regex", paths, "--max-examples", &examples])
        // A connection that is kept may end just when the next request goes out.
        .args(["--request-retries", "3"])
        .args(credentials)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // It has really tried something.
    assert!(said.contains(" generated"), "{said}");
}

#[test]
fn the_api_does_what_its_document_says() {
    let Some(schemathesis) = tool("schemathesis") else { return };
    let mut cloud = TestCloud::start(Setup::default());
    cloud.start_swarm(3);
    let partner = cloud.partner();
    let header = |token: &str| format!("Authorization: Bearer {token}");
    run(&schemathesis, &cloud, "^/api/", &["--header", &header(&cloud.token())]);
    let client = format!("{}:{}", partner.client_id, partner.client_secret);
    run(&schemathesis, &cloud, "^/oauth/(token|revoke|introspect)", &["--auth", &client]);
    let others = r"^/(oauth/(authorize|login|jwks)|\.well-known|ocf|docs|openapi|healthz|readyz)";
    run(&schemathesis, &cloud, others, &[]);
    // The last, without devices: it finds clients and users, and removes them with what is theirs.
    cloud.stop_swarm();
    run(&schemathesis, &cloud, "^/operator/", &["--header", &header(&cloud.operator_token())]);
    let log = cloud.log(loadtest::demo::API);
    assert!(!log.contains("panicked") && !log.contains("status=500"), "nothing has failed within");
    cloud.stop();
}
