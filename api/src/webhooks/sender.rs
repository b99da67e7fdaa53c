//! The HTTP client towards consumers (I/O): connections are kept alive and pooled, one set for
//! everybody and one for each client with authorities of its own.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use shared::channel::authorization::ClientRecord;
use shared::channel::events::{DELIVERIES_PER_RECEIVER_MAX, Delivery, EventType, Outcome, Trouble};

use super::connector::{Connector, NotConnected};
use super::rules::{Fault, Rules};
use super::{answer, distrust, note, notification, warn};
use crate::app::App;
use crate::config::{Events, millis};
use crate::oauth::authorities::{self, NoAuthorities};
use crate::router::unix_now;

/// What is read of an answer, so that its connection can be used again (rule 7).
const ANSWER_BYTES_MAX: usize = 4096;

/// Connections kept open to one receiver without anything to do: as many as several shards use at a
/// time, so that none is closed only to be opened again.
const IDLE_PER_RECEIVER_MAX: usize = 4 * DELIVERIES_PER_RECEIVER_MAX;

/// Clients with authorities of their own whose connections are kept.
const PRIVATE_MAX: usize = 256;

type Http = Client<Connector, Full<Bytes>>;

/// A client with authorities of its own.
struct Private {
    authorities: String,
    http: Http,
}

/// Sends notifications.
pub(super) struct Sender {
    public: Http,
    private: RwLock<Vec<Private>>,
    rules: Arc<Rules>,
    config: Events,
}

impl Sender {
    pub(super) fn new(config: &Events, rules: Arc<Rules>) -> Self {
        Self {
            public: http(config, &rules, public_roots(config)),
            private: RwLock::default(),
            rules,
            config: config.clone(),
        }
    }

    /// Makes one attempt.
    pub(super) async fn send(&self, app: &App, delivery: &Delivery) -> Outcome {
        let now = unix_now();
        let request = match notification::request(delivery, now) {
            Ok(request) => request,
            Err(error) => {
                note(delivery, &error.to_string());
                return Outcome::Refused { why: Trouble::NotWritable };
            }
        };
        let Ok(client) = app.oauth.clients.registered(app, &delivery.client).await else {
            note(delivery, "its client cannot be looked up");
            return failed(Trouble::NotSent);
        };
        if !may_have(delivery, client.as_deref()) {
            note(delivery, "its client is not registered any more, or switched off");
            return Outcome::ClientGone;
        }
        let authorities = client.as_ref().map_or("", |client| client.authorities.as_str());
        let Ok(http) = self.http(authorities) else {
            note(delivery, "its client's authorities cannot be read");
            return failed(Trouble::NotSent);
        };
        match http.request(request).await {
            Ok(response) => {
                let outcome = answer::outcome(response.status(), response.headers(), now);
                if outcome != Outcome::Accepted {
                    note(delivery, response.status().as_str());
                }
                drain(response.into_body()).await;
                outcome
            }
            Err(error) => match distrust::advice(&error) {
                Some(advice) => {
                    warn(delivery, &reason(&error), advice);
                    failed(Trouble::NotTrusted)
                }
                None => {
                    note(delivery, &reason(&error));
                    failed(if is_refused(&error) {
                        Trouble::NotAllowed
                    } else {
                        Trouble::NotConnected
                    })
                }
            },
        }
    }

    /// The connections to the receivers of a client: of one with authorities of its own, its own.
    fn http(&self, authorities: &str) -> Result<Http, NoAuthorities> {
        let known = self.private.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| known.authorities == authorities) {
            return Ok(known.http.clone());
        }
        drop(known);
        let Some(roots) = authorities::parse(authorities)? else { return Ok(self.public.clone()) };
        let http = http(&self.config, &self.rules, roots);
        let mut known = self.private.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PRIVATE_MAX {
            known.remove(0);
        }
        known.push(Private { authorities: authorities.to_owned(), http: http.clone() });
        Ok(http)
    }
}

fn failed(why: Trouble) -> Outcome {
    Outcome::Failed { why, retry_after_secs: None }
}

/// Whether no events go to the receiver's address.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref() {
        Some(NotConnected::Refused(Fault::Unresolved)) => false,
        Some(NotConnected::Refused(_)) => true,
        Some(NotConnected::Failed(_)) => false,
        None => error.source().is_some_and(is_refused),
    }
}

/// Whether the client may have a notification. That its subscription has ended it may always hear.
fn may_have(delivery: &Delivery, client: Option<&ClientRecord>) -> bool {
    let may_do_anything = client.is_some_and(|client| client.enabled);
    let is_last = delivery.event.event_type == EventType::SubscriptionCancelled;
    !delivery.granted || is_last || may_do_anything
}

fn http(config: &Events, rules: &Arc<Rules>, roots: RootCertStore) -> Http {
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(millis(config.idle_ms))
        .pool_max_idle_per_host(IDLE_PER_RECEIVER_MAX)
        .pool_timer(TokioTimer::new())
        .build(Connector::new(rules.clone(), Arc::new(tls)))
}

/// Those whom everybody trusts.
fn public_roots(config: &Events) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    match CertificateDer::pem_file_iter(&config.authorities) {
        Ok(certificates) => {
            roots.add_parsable_certificates(certificates.filter_map(Result::ok));
        }
        Err(error) => {
            let file = config.authorities.display();
            tracing::warn!(%file, %error, "events.authorities cannot be read: public receivers are not trusted");
        }
    }
    roots
}

/// Reads an answer to its end, if that is near. Where it is not the connection is closed.
async fn drain(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
}

/// What an error says, down to its cause.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::channel::events::{BodyFormat, EventBody};

    /// Cloud reference 5.11: no device data for a client that may have nothing any more.
    #[test]
    fn a_client_that_is_gone_hears_only_that_it_has_ended() {
        let client = |enabled| ClientRecord {
            id: "partner".into(),
            revision: 1,
            name: String::new(),
            contact: String::new(),
            secrets: Vec::new(),
            redirect_uris: Vec::new(),
            scopes: shared::scope::Scopes::READ,
            introspects: false,
            authorities: String::new(),
            events_hosts: Vec::new(),
            enabled,
            created: 0,
        };
        let of = |event| notification::tests::delivery(event, EventBody::Nothing, BodyFormat::Json);
        let online = of(EventType::DevicesOnline);
        let last = of(EventType::SubscriptionCancelled);
        for (client, may) in
            [(None, false), (Some(client(false)), false), (Some(client(true)), true)]
        {
            assert_eq!(may_have(&online, client.as_ref()), may);
            assert!(may_have(&last, client.as_ref()));
            // Of the credentials file.
            let known = Delivery { granted: false, ..online.clone() };
            assert!(may_have(&known, client.as_ref()));
        }
    }
}
