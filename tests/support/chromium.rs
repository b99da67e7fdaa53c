//! A headless Chromium, driven over WebDriver (W3C) with `chromedriver` (I/O). It is what users have:
//! it holds our pages against their own policy, which no other client does.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::processes::LONG;

/// The key of an element's name in WebDriver's JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How wide a phone is, in pixels.
pub const PHONE_WIDTH: u32 = 320;

/// Between two looks.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A browser with a window as wide as a phone.
pub struct Chromium {
    driver: Child,
    port: u16,
    session: String,
    runtime: Runtime,
}

impl Chromium {
    /// Starts one.
    pub fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // The browser is of the driver's group, and ends with it.
            .process_group(0)
            .spawn()
            .unwrap();
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let told = lines.map(Result::unwrap).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let port = told.unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut browser = Self { driver, port, session: String::new(), runtime };
        let options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            "mobileEmulation": { "deviceMetrics": { "width": PHONE_WIDTH, "height": 640 } },
        });
        let capabilities = json!({
            "acceptInsecureCerts": true,
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let session = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let session = browser.call(Method::POST, "/session", &session);
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    /// Goes to this address.
    pub fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// What the browser has complained of since it was asked last: errors of scripts, requests that
    /// failed, and what the policy of a page forbids.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.command("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().unwrap().iter();
        let severe = entries.filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Pages are asked to be light or dark.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.developer("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// The window has another size, in pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.developer("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Keeps a picture of the page in the directory that `OCF_TESTS_SCREENSHOTS` names, if it names one:
    /// for people to look at.
    pub fn picture(&self, name: &str) {
        let Some(directory) = env::var_os("OCF_TESTS_SCREENSHOTS") else { return };
        let picture = self.ask("/screenshot");
        let png = STANDARD.decode(picture.as_str().unwrap()).unwrap();
        fs::write(PathBuf::from(directory).join(format!("{name}.png")), png).unwrap();
    }

    fn developer(&self, command: &str, parameters: &Value) {
        self.command("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    /// The address of the page.
    pub fn address(&self) -> String {
        self.ask("/url").as_str().unwrap().to_owned()
    }

    /// The title of the page.
    pub fn title(&self) -> String {
        self.ask("/title").as_str().unwrap().to_owned()
    }

    /// Whether the page has such an element.
    pub fn has(&self, selector: &str) -> bool {
        let asked = json!({ "using": "css selector", "value": selector });
        self.command("/elements", &asked).as_array().is_some_and(|found| !found.is_empty())
    }

    /// Looks until it is so: a click leads on when it pleases.
    ///
    /// # Panics
    /// If it is never so.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !is_so(self) {
            assert!(Instant::now() < end, "waited too long until {what}: {}", self.address());
            thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    /// The text of the page, as it is seen.
    pub fn text(&self) -> String {
        let body = self.element("body");
        self.ask(&format!("/element/{body}/text")).as_str().unwrap().to_owned()
    }

    /// Types into a field.
    pub fn write(&self, selector: &str, text: &str) {
        let field = self.element(selector);
        self.command(&format!("/element/{field}/value"), &json!({ "text": text }));
    }

    /// Clicks.
    pub fn click(&self, selector: &str) {
        let target = self.element(selector);
        self.command(&format!("/element/{target}/click"), &json!({}));
    }

    /// A property of an element, as the style sheet has made it.
    pub fn style(&self, selector: &str, property: &str) -> String {
        let element = self.element(selector);
        let value = self.ask(&format!("/element/{element}/css/{property}"));
        value.as_str().unwrap().to_owned()
    }

    /// How wide an element is.
    pub fn width(&self, selector: &str) -> f64 {
        let element = self.element(selector);
        self.ask(&format!("/element/{element}/rect"))["width"].as_f64().unwrap()
    }

    fn element(&self, selector: &str) -> String {
        let asked = json!({ "using": "css selector", "value": selector });
        self.command("/element", &asked)[ELEMENT].as_str().unwrap().to_owned()
    }

    fn ask(&self, path: &str) -> Value {
        self.call(Method::GET, &format!("{}{path}", self.session), &Value::Null)
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.call(Method::POST, &format!("{}{path}", self.session), body)
    }

    #[track_caller]
    fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("127.0.0.1:{}", self.port))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = self.runtime.block_on(async {
            let tcp = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
            let (mut requests, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
            tokio::spawn(connection);
            let answer = requests.send_request(request).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes()
        });
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["value"].get("error").is_none(), "{path}: {answer}");
        answer["value"].clone()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call(Method::DELETE, &self.session, &Value::Null);
        }
        kill_process_group(Pid::from_child(&self.driver), Signal::KILL).unwrap();
        self.driver.wait().unwrap();
    }
}
