//! A browser without a screen: follows the pages of the authorization server as a user does (I/O).

use std::cell::RefCell;
use std::collections::BTreeMap;

use loadtest::demo::Partner;

use crate::rest::{Answer, Rest};

/// What a partner cloud asks for in these tests.
pub const SCOPE: &str = "r:* w:* offline_access";

/// A browser with its cookies.
pub struct Browser<'r> {
    rest: &'r Rest,
    cookies: RefCell<BTreeMap<String, String>>,
}

impl<'r> Browser<'r> {
    /// One that was never used before.
    pub fn new(rest: &'r Rest) -> Self {
        Self { rest, cookies: RefCell::default() }
    }

    /// Opens a page of this server.
    pub fn open(&self, path: impl Into<String>) -> Answer {
        let answer = self.rest.get(path).header("cookie", &self.cookie_line()).send();
        self.remember(&answer);
        answer
    }

    /// Sends a form.
    pub fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let ask = self.rest.post(path).header("cookie", &self.cookie_line());
        let answer = ask.form(fields).send();
        self.remember(&answer);
        answer
    }

    /// Logs in on this page; the page that follows.
    pub fn log_in(&self, page: &Answer, name: &str, password: &str) -> Answer {
        let (request, proof) = (hidden(page, "request"), hidden(page, "proof"));
        let fields =
            [("request", &*request), ("proof", &*proof), ("name", name), ("password", password)];
        let answer = self.submit("/oauth/login", &fields);
        match answer.header("location") {
            Some(to) => self.open(to),
            None => answer,
        }
    }

    /// Decides on this page; where the browser is sent.
    pub fn decide(&self, page: &Answer, decision: &str) -> Answer {
        let (request, proof) = (hidden(page, "request"), hidden(page, "proof"));
        let fields = [("request", &*request), ("proof", &*proof), ("decision", decision)];
        self.submit("/oauth/authorize", &fields)
    }

    fn cookie_line(&self) -> String {
        let cookies = self.cookies.borrow();
        cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn remember(&self, answer: &Answer) {
        for line in answer.headers.get_all("set-cookie") {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.borrow_mut().insert(name.into(), value.into());
        }
    }
}

/// The value of a hidden field of a page.
pub fn hidden(page: &Answer, name: &str) -> String {
    let page = page.text();
    let begin = format!("name=\"{name}\" value=\"");
    let at = page.find(&begin).unwrap_or_else(|| panic!("no field {name}: {page}")) + begin.len();
    let value = page[at..].split('"').next().unwrap();
    // As the template engine escapes.
    ["&#38;=&", "&#34;=\"", "&#39;='", "&#60;=<", "&#62;=>"].iter().fold(
        value.to_owned(),
        |text, rule| {
            let (escaped, plain) = rule.split_once('=').unwrap();
            text.replace(escaped, plain)
        },
    )
}

/// The path of an authorization request; `changes` replace or add parameters, `None` leaves one out.
pub fn authorization(partner: &Partner, changes: &[(&str, Option<&str>)]) -> String {
    let mut pairs = vec![
        ("response_type", "code"),
        ("client_id", &*partner.client_id),
        ("redirect_uri", &*partner.redirect_uri),
        ("scope", SCOPE),
        ("state", "state-1"),
    ];
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        pairs.extend(value.map(|value| (*name, value)));
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/oauth/authorize?{query}")
}

/// The parameters with which a browser is sent back to this partner.
pub fn sent_back(answer: &Answer, partner: &Partner) -> BTreeMap<String, String> {
    assert!([302, 303].contains(&answer.status.as_u16()), "{} {}", answer.status, answer.text());
    let to = answer.header("location").unwrap();
    let (uri, query) = to.split_once('?').unwrap();
    assert_eq!(uri, &*partner.redirect_uri);
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// A code for this partner: the user logs in and consents.
pub fn code(rest: &Rest, partner: &Partner, changes: &[(&str, Option<&str>)]) -> String {
    let browser = Browser::new(rest);
    let page = browser.open(authorization(partner, changes)).is(200);
    let page = browser.log_in(&page, &partner.login, &partner.password).is(200);
    let mut back = sent_back(&browser.decide(&page, "allow"), partner);
    back.remove("code").unwrap_or_else(|| panic!("no code: {back:?}"))
}

/// What the token endpoint says to this form of a partner, who authenticates with HTTP Basic.
pub fn token(rest: &Rest, partner: &Partner, fields: &[(&str, &str)]) -> Answer {
    rest.post("/oauth/token").basic(&partner.client_id, &partner.client_secret).form(fields).send()
}

/// What a code is exchanged for.
pub fn redeem(rest: &Rest, partner: &Partner, code: &str) -> Answer {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &partner.redirect_uri),
    ];
    token(rest, partner, &fields)
}

/// Access token and refresh token of a fresh link.
pub fn link(rest: &Rest, partner: &Partner) -> (String, String) {
    let tokens = redeem(rest, partner, &code(rest, partner, &[])).is(200).value();
    let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}
