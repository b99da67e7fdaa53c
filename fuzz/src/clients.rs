//! A client of the authorization server, as operators register it.

use shared::channel::authorization::ClientRecord;
use shared::scope::Scopes;

/// One that may ask for nothing.
pub(crate) fn client() -> ClientRecord {
    ClientRecord {
        id: "client".into(),
        revision: 1,
        name: "A service".into(),
        contact: String::new(),
        secrets: Vec::new(),
        redirect_uris: vec!["https://client.example.com/back".into()],
        scopes: Scopes::default(),
        introspects: false,
        authorities: String::new(),
        events_hosts: Vec::new(),
        enabled: true,
        created: 0,
    }
}
