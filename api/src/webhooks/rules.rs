//! Where events may go (cloud reference 9.2): somebody else chooses the address, so it must be one
//! that anybody on the Internet could ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

use crate::config::Events;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Where events may go.
#[derive(Debug)]
pub struct Rules {
    /// Plain `http`, and addresses that are not public: for development.
    anything_goes: bool,
    /// Our own.
    refused: Vec<IpAddr>,
}

/// Why events do not go there. Nobody but the log is told which of it is so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Not an absolute URL of the right form.
    #[error("it is no absolute URL without user, fragment and control characters")]
    Malformed,
    /// Not `https`.
    #[error("it is not https")]
    Scheme,
    /// A port where other services are.
    #[error("its port is neither 443 nor above 1023")]
    Port,
    /// Its name has no address.
    #[error("its host name cannot be resolved")]
    Unresolved,
    /// Not one of the hosts that its client's operator has named.
    #[error("its host is none of those that the client is registered with")]
    Foreign,
    /// One of its addresses is not public.
    #[error("one of its addresses is not public")]
    Private,
}

impl Rules {
    /// As they are configured.
    pub fn new(config: &Events) -> Self {
        Self { anything_goes: config.http_allowed, refused: config.refused_addresses.clone() }
    }

    /// Whether events may go to this URL, which is returned as it is asked for later, if its host is
    /// one of these, or below one of them. Any host is when there are none. Nothing is connected to.
    pub async fn check(&self, text: &str, hosts: &[String]) -> Result<String, Fault> {
        let url = self.parse(text)?;
        if !hosts.is_empty() && !hosts.iter().any(|of| is_below(&url, of)) {
            return Err(Fault::Foreign);
        }
        let port = url.port_or_known_default().ok_or(Fault::Port)?;
        let host = url.host_str().ok_or(Fault::Malformed)?;
        self.resolve(host, port).await?;
        Ok(url.into())
    }

    fn parse(&self, text: &str) -> Result<Url, Fault> {
        // The parser takes control characters out instead of refusing them.
        let is_clean = text.len() <= URL_BYTES_MAX
            && !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\');
        let url = Url::parse(text).ok().filter(|_| is_clean).ok_or(Fault::Malformed)?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && matches!(url.host(), Some(host) if host != Host::Domain(""));
        let after_scheme = text.split_once(':').map_or("", |(_, rest)| rest);
        let is_absolute = after_scheme.starts_with("//") && !after_scheme.starts_with("///");
        if !is_plain || !is_absolute || text.contains('@') && !has_path_at(text) {
            return Err(Fault::Malformed);
        }
        match url.scheme() {
            "https" => {}
            "http" if self.anything_goes => {}
            _ => return Err(Fault::Scheme),
        }
        let port = url.port_or_known_default().ok_or(Fault::Port)?;
        if port != 443 && port < 1024 && !self.anything_goes {
            return Err(Fault::Port);
        }
        Ok(url)
    }

    /// All addresses of a host, if events may go to every one of them.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let addresses: Vec<SocketAddr> = match literal {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => tokio::net::lookup_host((host, port))
                .await
                .map_err(|_| Fault::Unresolved)?
                .collect(),
        };
        if addresses.is_empty() {
            return Err(Fault::Unresolved);
        }
        let is_fine = |address: &SocketAddr| self.anything_goes || self.allows(address.ip());
        if addresses.iter().all(is_fine) { Ok(addresses) } else { Err(Fault::Private) }
    }

    fn allows(&self, address: IpAddr) -> bool {
        is_public(address) && !self.refused.contains(&address)
    }
}

/// Whether the host of a URL is this one, or below it.
fn is_below(url: &Url, host: &str) -> bool {
    let Some(Host::Domain(domain)) = url.host() else { return false };
    let before = domain.trim_end_matches('.').strip_suffix(host);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// A path or query may have an `@`; what is before it may not.
fn has_path_at(text: &str) -> bool {
    let after_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    !authority.contains('@')
}

/// Whether an address is globally reachable (the registries of RFC 6890, and what hides an IPv4
/// address in an IPv6 one).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224.., _, _)
    );
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |at: usize| {
        let [high, low] = [segments[at], segments[at + 1]];
        Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
    };
    match segments {
        // IPv4-mapped; NAT64 with the well-known prefix; 6to4.
        [0, 0, 0, 0, 0, 0xffff, _, _] => is_public_v4(embedded(6)),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => is_public_v4(embedded(6)),
        [0x2002, ..] => is_public_v4(embedded(1)),
        // Local NAT64, Teredo, benchmarks, ORCHID, documentation, AS 112, segment routing.
        [0x64, 0xff9b, ..] => false,
        [0x2001, 0x0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2620, 0x4f, 0x8000, ..] => false,
        [0x3fff, 0x0..=0xfff, ..] | [0x5f00, ..] => false,
        // Only this is handed out to anybody.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(http_allowed: bool) -> Rules {
        let refused_addresses = vec!["9.9.9.9".parse().unwrap()];
        Rules::new(&Events { http_allowed, refused_addresses, ..Events::default() })
    }

    fn check(rules: &Rules, url: &str) -> Result<String, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(rules.check(url, &[]))
    }

    /// Case 105, and rules 1 to 3 of cloud reference 9.2.
    #[test]
    fn a_url_is_absolute_and_https_without_user_or_fragment() {
        let rules = rules(false);
        for (url, fault) in [
            ("http://8.8.8.8/events", Fault::Scheme),
            ("ftp://8.8.8.8/", Fault::Scheme),
            ("https://user@8.8.8.8/", Fault::Malformed),
            ("https://:secret@8.8.8.8/", Fault::Malformed),
            ("https://@8.8.8.8/", Fault::Malformed),
            ("https://8.8.8.8/#part", Fault::Malformed),
            ("https://8.8.8.8/#", Fault::Malformed),
            ("/events", Fault::Malformed),
            ("//8.8.8.8/events", Fault::Malformed),
            ("https:8.8.8.8/events", Fault::Malformed),
            ("https:///8.8.8.8", Fault::Malformed),
            ("https://8.8.8.8/a\nb", Fault::Malformed),
            ("https://8.8.8.8/\t", Fault::Malformed),
            (" https://8.8.8.8/", Fault::Malformed),
            ("https:\\\\8.8.8.8/", Fault::Malformed),
            ("https://8.8.8.8:22/", Fault::Port),
            ("https://8.8.8.8:80/", Fault::Port),
            ("https://8.8.8.8:70000/", Fault::Malformed),
            ("", Fault::Malformed),
        ] {
            assert_eq!(check(&rules, url), Err(fault), "{url:?}");
        }
        let long = format!("https://8.8.8.8/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(check(&rules, &long), Err(Fault::Malformed));
        for url in
            ["https://8.8.8.8/events?a=@b", "https://8.8.8.8:8443/", "https://[2606:4700::1]/"]
        {
            assert_eq!(check(&rules, url).as_deref(), Ok(url));
        }
    }

    /// Case 106, and rule 4.
    #[test]
    fn no_address_that_is_not_public_gets_events_in_whatever_form() {
        let rules = rules(false);
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
            "[2001::1]",
            "[100::1]",
            "[3fff::1]",
            "[::7f00:1]",
            "localhost",
            "9.9.9.9",
        ] {
            let url = format!("https://{host}/");
            assert_eq!(check(&rules, &url), Err(Fault::Private), "{host}");
        }
        assert_eq!(check(&rules, "https://nothing.invalid/"), Err(Fault::Unresolved));
        for host in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "[2606:4700::1111]", "[2002:808:808::]"]
        {
            let url = format!("https://{host}/");
            assert!(check(&rules, &url).is_ok(), "{host}");
        }
    }

    /// Rule 9.
    #[test]
    fn events_of_a_client_with_hosts_go_there_and_below() {
        let below = |url: &str| {
            let url = rules(false).parse(url).unwrap();
            is_below(&url, "partner.example")
        };
        for url in [
            "https://partner.example/",
            "https://PARTNER.example./",
            "https://events.partner.example:8443/x",
        ] {
            assert!(below(url), "{url}");
        }
        for url in [
            "https://evilpartner.example/",
            "https://partner.example.evil.example/",
            "https://example/partner.example",
            "https://8.8.8.8/",
        ] {
            assert!(!below(url), "{url}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hosts = ["partner.example".to_owned()];
        let checked = runtime.block_on(rules(false).check("https://8.8.8.8/", &hosts));
        assert_eq!(checked, Err(Fault::Foreign));
    }

    #[test]
    fn in_development_they_go_to_the_next_process() {
        let rules = rules(true);
        for url in ["http://127.0.0.1:8080/events", "https://localhost:9/", "http://127.0.0.1/"] {
            assert!(check(&rules, url).is_ok(), "{url}");
        }
        assert_eq!(check(&rules, "ftp://127.0.0.1/"), Err(Fault::Scheme));
        assert_eq!(check(&rules, "http://a@127.0.0.1/"), Err(Fault::Malformed));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "(https?:)?[/\\\\]{0,3}[ -~]{0,40}") {
            let _ = rules(false).parse(&text);
        }

        /// What is parsed again on every connection is what was checked.
        #[test]
        fn what_is_kept_passes_again(path in "[a-zA-Z0-9/?=&%._~-]{0,40}") {
            let first = rules(false).parse(&format!("https://8.8.8.8/{path}"));
            if let Ok(url) = first {
                prop_assert_eq!(rules(false).parse(url.as_str()), Ok(url));
            }
        }
    }
}
