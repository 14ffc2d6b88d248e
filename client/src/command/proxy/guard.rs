//! Who may ask: programs, not pages that a browser shows.
//!
//! A proxy that adds a key would spend it for any page that can reach a loopback port: by a form
//! (which sends an `Origin`), by a name that was pointed at 127.0.0.1 (which shows in `Host`), or
//! by a request that a browser says is another site's (`Sec-Fetch-Site`). A body that claims not to
//! be JSON is what a page may send without asking.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue};

use super::problem::Problem;
use crate::output;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const HTTP_PORT: u16 = 80;

/// Before everything else. The names of a listener that other machines reach are not known.
pub(super) async fn check(
    State(listens): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match check_headers(request.headers(), listens) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// `application/json`, or nothing said.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let is_json = |value: &HeaderValue| {
        let name = value.to_str().ok().and_then(|value| value.split(';').next());
        name.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/json"))
    };
    match headers.get_all(CONTENT_TYPE).iter().find(|value| !is_json(value)) {
        None => Ok(()),
        Some(other) => {
            let other = String::from_utf8_lossy(other.as_bytes());
            Err(Problem::NotJson(output::plain(&other).chars().take(64).collect()))
        }
    }
}

fn check_headers(headers: &HeaderMap, listens: SocketAddr) -> Result<(), Problem> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    if listens.ip().is_loopback() && !host.is_some_and(is_loopback) {
        return Err(Problem::Foreign("under a name that is not this machine's"));
    }
    let is_own = |value: &HeaderValue| {
        let origin = value.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        let is_host = |origin: &str| host.is_some_and(|host| origin.eq_ignore_ascii_case(host));
        origin.is_some_and(|origin| is_host(origin) && port_of(origin) == Some(listens.port()))
    };
    if !headers.get_all(ORIGIN).iter().all(is_own) {
        return Err(Problem::Foreign("from a page of another origin"));
    }
    let is_foreign = |value: &HeaderValue| value == "cross-site" || value == "same-site";
    match headers.get_all(FETCH_SITE).iter().any(is_foreign) {
        true => Err(Problem::Foreign("from a page of another origin")),
        false => Ok(()),
    }
}

/// Whether `host[:port]` names this machine.
fn is_loopback(host: &str) -> bool {
    let (name, _) = parts(host);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn port_of(host: &str) -> Option<u16> {
    match parts(host).1 {
        "" => Some(HTTP_PORT),
        port => port.strip_prefix(':')?.parse().ok(),
    }
}

/// The name, without the brackets of an address, and what is behind it.
fn parts(host: &str) -> (&str, &str) {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some(parts) => parts,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_s_names_are_taken() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:11435", "[::1]:1", "127.9.9.9"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.com", "127.0.0.1.example.com", "localhost.evil", "10.0.0.1", "["]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn an_origin_is_the_listener_s_own_or_foreign() {
        let local = "127.0.0.1:11435".parse().unwrap();
        let open = "0.0.0.0:80".parse().unwrap();
        let own = ("host", "localhost:11435");
        for (pairs, listens, is_taken) in [
            (&[own][..], local, true),
            (&[own, ("origin", "http://localhost:11435")], local, true),
            (&[own, ("origin", "http://localhost:3000")], local, false),
            (&[own, ("origin", "http://localhost")], local, false),
            (&[own, ("origin", "https://localhost:11435")], local, false),
            (&[own, ("origin", "http://127.0.0.1:11435")], local, false),
            (&[own, ("origin", "null")], local, false),
            (&[own, ("sec-fetch-site", "cross-site")], local, false),
            (&[own, ("sec-fetch-site", "same-site")], local, false),
            (&[own, ("sec-fetch-site", "same-origin")], local, true),
            (&[own, ("sec-fetch-site", "none")], local, true),
            (&[("host", "x.example:11435")], local, false),
            (&[], local, false),
            // A name that another machine has for it.
            (&[("host", "box")], open, true),
            (&[("host", "box"), ("origin", "http://box")], open, true),
            (&[("host", "box"), ("origin", "http://box:8080")], open, false),
            (&[("host", "box:8080"), ("origin", "http://box:8080")], open, false),
            (&[("host", "box"), ("origin", "http://x.example")], open, false),
        ] {
            assert_eq!(check_headers(&headers(pairs), listens).is_ok(), is_taken, "{pairs:?}");
        }
    }

    #[test]
    fn a_body_is_json_or_says_nothing() {
        for taken in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(check_json(&headers(&[("content-type", taken)])).is_ok(), "{taken}");
        }
        assert!(check_json(&headers(&[])).is_ok());
        for refused in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"]
        {
            assert!(check_json(&headers(&[("content-type", refused)])).is_err(), "{refused}");
        }
    }
}
