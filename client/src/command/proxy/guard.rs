//! Who may ask: programs on this machine, not pages that a browser shows.
//!
//! A proxy that adds a key would spend it for any page that can reach a loopback port: by a form
//! (which sends an `Origin`), or by a name that was pointed at 127.0.0.1 (which shows in `Host`).

use std::net::IpAddr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use http::header::{HOST, ORIGIN};

use super::problem::Problem;

/// For a proxy that listens on loopback only.
pub(super) async fn local(request: Request, next: Next) -> Response {
    match check_host(request.headers()).and_then(|()| check_origin(request.headers())) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// For a proxy that listens elsewhere: its names are not known.
pub(super) async fn open(request: Request, next: Next) -> Response {
    match check_origin(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_host(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    match host {
        Some(host) if is_loopback(host) => Ok(()),
        _ => Err(Problem::Foreign("under a name that is not this machine's")),
    }
}

fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let is_local = |value: &http::HeaderValue| {
        let origin = value.to_str().ok();
        let host = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        host.is_some_and(is_loopback)
    };
    match headers.get_all(ORIGIN).iter().all(is_local) {
        true => Ok(()),
        false => Err(Problem::Foreign("from a page of another origin")),
    }
}

/// Whether `host[:port]` names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
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
}
