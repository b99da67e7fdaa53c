//! Starts that cannot succeed: one line that says what to mend, and an exit code.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use loadtest::demo::Installation;
use tempfile::TempDir;
use tests::processes::{Setup, TestCloud, binaries, install};

/// Runs the gateway on a configuration; it has to give up.
fn refused(config: &Path) -> String {
    let output = Command::new(&binaries().gateway).arg("--config").arg(config).output().unwrap();
    complaint(&output, "ocf-gateway")
}

/// What it says last, beginning with the program's name.
fn complaint(output: &Output, program: &str) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let name = format!("{program}: ");
    let at = said.find(&name).unwrap_or_else(|| panic!("no complaint: {said}"));
    said[at..].to_owned()
}

/// An installation whose gateway has another configuration.
fn changed(directory: &TempDir, change: fn(&mut toml::Table)) -> Installation {
    install(directory.path(), Setup { gateway: change, ..Setup::default() })
}

fn set(config: &mut toml::Table, table: &str, key: &str, value: impl Into<toml::Value>) {
    let table = config.entry(table).or_insert_with(|| toml::Table::new().into());
    table.as_table_mut().unwrap().insert(key.into(), value.into());
}

#[test]
fn a_configuration_that_cannot_work_is_told_by_its_key() {
    type Change = fn(&mut toml::Table);
    let cases: [(Change, &[&str]); 12] = [
        (|c| set(c, "listen", "adresses", "x"), &["gateway.toml", "adresses", "addresses"]),
        (|c| set(c, "timers", "drain_secs", "soon"), &["drain_secs", "soon"]),
        (|c| set(c, "cores", "shards", 0), &["cores.shards", "between 1 and 4096"]),
        (|c| set(c, "cores", "cpus", vec![4095]), &["cores.cpus", "4095"]),
        (|c| set(c, "tls", "certificate", "/no/where.pem"), &["tls.certificate", "/no/where.pem"]),
        (|c| set(c, "tls", "key", "/no/where.key"), &["tls.key", "/no/where.key"]),
        (|c| set(c, "tls", "key", "/dev/null"), &["tls.key", "/dev/null"]),
        (
            |c| set(c, "tls", "identity_anchors", vec!["/no/anchor.pem"]),
            &["tls.identity_anchors", "/no/anchor.pem"],
        ),
        (|c| set(c, "tls", "crls", vec!["/dev/null"]), &["/dev/null"]),
        // Nobody may make directories there, not even root.
        (|c| set(c, "cloud", "state_dir", "/sys/ocf"), &["/sys/ocf", "cannot create"]),
        (|c| set(c, "control", "socket", "/dev/null"), &["/dev/null", "control.socket"]),
        (
            |c| set(c, "cloud", "id", "00000000-0000-4000-8000-000000000001"),
            &["00000000-0000-4000-8000-000000000001"],
        ),
    ];
    for (change, words) in cases {
        let directory = TempDir::with_prefix("ocf-").unwrap();
        let installation = changed(&directory, change);
        let said = refused(&installation.path("gateway.toml"));
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }
    let said = refused(Path::new("/no/where.toml"));
    assert!(said.contains("cannot read the configuration /no/where.toml"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_told_whoever_has_it() {
    let directory = TempDir::with_prefix("ocf-").unwrap();
    let installation = changed(&directory, |_| {});
    let taken = TcpListener::bind(installation.coap()).unwrap();
    let said = refused(&installation.path("gateway.toml"));
    assert!(said.contains(&format!("cannot listen on {}", installation.coap())), "{said}");
    assert!(said.contains("choose another one in listen.addresses"), "{said}");
    drop((taken, installation));

    // Another gateway could share it, as its own shards do.
    let cloud = TestCloud::start(Setup::default());
    let installation = changed(&directory, |_| {});
    let path = installation.path("gateway.toml");
    let own = installation.coap().to_string();
    let taken = cloud.cloud.installation.coap().to_string();
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace(&own, &taken)).unwrap();
    let said = refused(&path);
    assert!(said.contains(&format!("cannot listen on {taken}")), "{said}");
    cloud.stop();
}

#[test]
fn a_state_directory_in_use_is_told_with_who_uses_it() {
    let cloud = TestCloud::start(Setup::default());
    let config = cloud.cloud.installation.path("gateway.toml");
    let text = fs::read_to_string(&config).unwrap();
    let other = TempDir::with_prefix("ocf-").unwrap();
    let path = other.path().join("gateway.toml");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let own = cloud.cloud.installation.coap().to_string();
    fs::write(&path, text.replace(&own, &port.to_string())).unwrap();
    let said = refused(&path);
    let pid = cloud.cloud.facts().gateway_pid;
    assert!(said.contains(&format!("is in use by process {pid}")), "{said}");
    // It has harmed nobody.
    cloud.rest().get("/readyz").send().is(200);
    cloud.stop();
}

#[test]
fn a_key_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let cloud = TestCloud::start(Setup::default());
    let config = cloud.cloud.installation.path("gateway.toml");
    let key = cloud.cloud.installation.path("gateway/store.key");
    let directory = cloud.stop();
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&config);
    assert!(said.contains("may be read by others (mode 0644)"), "{said}");
    drop(directory);
}

#[test]
fn what_is_printed_as_the_default_configuration_is_one() {
    for (program, missing) in [(&binaries().gateway, "cloud.id"), (&binaries().api, "/etc/ocf")] {
        let output = Command::new(program).arg("--print-config").output().unwrap();
        assert!(output.status.success());
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("printed.toml");
        fs::write(&path, &output.stdout).unwrap();
        // All that is wrong with it is what only an operator knows.
        let output = Command::new(program).arg("--config").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(missing), "{said}");
    }
}
