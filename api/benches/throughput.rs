//! What one core of `ocf-api` carries: requests per second of its CPU time, client and shard not
//! counted. The real binary, TLS on loopback, the shard channel to a shard in this process.
//!
//! ```text
//! cargo bench -p api --bench throughput -- [seconds] [connections]
//! ```
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

#[path = "../tests/conformance/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the words of all tests")]
mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::Request;
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::client::Client;
use support::cloud;
use support::gateway::Gateway;
use support::world::{SENSOR, World};

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let run = Run {
        seconds: Duration::from_secs(numbers.next().unwrap_or(5)),
        connections: numbers.next().unwrap_or(32) as usize,
    };
    let directory = tempfile::tempdir().unwrap();
    let root = cloud::write_certificates(directory.path());
    cloud::write_credentials(directory.path(), cloud::CREDENTIALS.iter());
    let _gateway = Gateway::start(&directory.path().join("gateway.sock"), 1, World::new());
    for level in ["info", "warn"] {
        let mut config = cloud::configuration(directory.path());
        config.log.level = level.into();
        let server = Server::start(directory.path(), &config, level == "info");
        let client = Client::new(server.address, root.clone());
        let resource = format!("/api/v1/devices/{SENSOR}/humidity");
        println!("log level {level}");
        run.measure(&server, &client, "GET resource, HTTP/1.1", &resource, false);
        run.measure(&server, &client, "GET resource, HTTP/2", &resource, true);
        run.measure(&server, &client, "GET list of 2 devices", "/api/v1/devices", false);
        run.measure(&server, &client, "GET /healthz", "/healthz", false);
    }
}

/// The binary under test.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(directory: &std::path::Path, config: &api::config::Config, logs: bool) -> Self {
        let file = directory.join("api.toml");
        let mut config = config.clone();
        // The address is only known from the log, or chosen here.
        if !logs {
            let free = std::net::TcpListener::bind(config.listen).unwrap();
            config.listen = free.local_addr().unwrap();
        }
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_ocf-api"))
            .arg("--config")
            .arg(&file)
            .stderr(if logs { Stdio::piped() } else { Stdio::inherit() })
            .spawn()
            .unwrap();
        let mut address = config.listen;
        if let Some(log) = process.stderr.take() {
            let mut lines = BufReader::new(log).lines().map_while(Result::ok);
            let line = lines.find(|line| line.contains("listening")).unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            address = line["address"].as_str().unwrap().parse().unwrap();
            std::thread::spawn(move || lines.for_each(drop));
        }
        Self { process, address }
    }

    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ is 100 on every Linux.
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

struct Run {
    seconds: Duration,
    connections: usize,
}

impl Run {
    fn measure(&self, server: &Server, client: &Client, what: &str, path: &str, http2: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = Arc::new(AtomicU64::new(0));
        runtime.block_on(async {
            wait_until_ready(client).await;
            for _ in 0..self.connections {
                let (client, path, done) = (client.clone(), path.to_owned(), done.clone());
                if http2 {
                    tokio::spawn(ask_over_http2(client, path, done));
                } else {
                    tokio::spawn(ask_over_http1(client, path, done));
                }
            }
            // Handshakes are not what is measured.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (cpu, count, start) = (server.cpu(), done.load(Ordering::Relaxed), Instant::now());
            tokio::time::sleep(self.seconds).await;
            let cpu = (server.cpu() - cpu).as_secs_f64();
            let count = (done.load(Ordering::Relaxed) - count) as f64;
            println!(
                "  {what:26} {:8.0} per core-second {:8.0} per second {:5.1} us of CPU each",
                count / cpu,
                count / start.elapsed().as_secs_f64(),
                cpu / count * 1e6
            );
        });
    }
}

async fn ask_over_http1(client: Client, path: String, done: Arc<AtomicU64>) {
    let io = TokioIo::new(client.connect(b"http/1.1").await.unwrap());
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    loop {
        let request = Request::get(&path)
            .header("host", "localhost")
            .header("authorization", "Bearer alice")
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask_over_http2(client: Client, path: String, done: Arc<AtomicU64>) {
    let io = TokioIo::new(client.connect(b"h2").await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    loop {
        let request = Request::get(format!("https://localhost{path}"))
            .header("authorization", "Bearer alice")
            .body(Full::<bytes::Bytes>::default())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn wait_until_ready(client: &Client) {
    for _ in 0..1000 {
        let asking = client.ask(axum::http::Method::GET, "/readyz").try_send();
        if asking.await.is_ok_and(|answer| answer.status == 200) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server does not get ready");
}
