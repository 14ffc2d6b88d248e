//! From an `Authorization` header to a principal.

use std::sync::Arc;

use cocoon_primitives::{Clock, Timestamp};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::{KeySecret, KeyTable, Principal, SessionError, Sessions};

/// Why a request has no principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("no credential was sent")]
    Missing,
    #[error("the Authorization header is not a bearer credential")]
    NotBearer,
    #[error("the credential is neither a key nor a session of this gateway")]
    Malformed,
    #[error("the API key is not known")]
    UnknownKey,
    #[error("the API key has expired")]
    KeyExpired,
    #[error("the API key was revoked")]
    KeyRevoked,
    #[error("the session has expired")]
    SessionExpired,
}

/// Recognises keys and sessions, from memory alone.
pub struct Authenticator {
    keys: Arc<KeyTable>,
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
}

impl Authenticator {
    pub fn new(keys: Arc<KeyTable>, sessions: Arc<Sessions>, clock: Arc<dyn Clock>) -> Self {
        Self { keys, sessions, clock }
    }

    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AuthError> {
        let credential = bearer(headers)?;
        let now = self.clock.now();
        if credential.starts_with("sk-") {
            let secret = KeySecret::parse(credential).ok_or(AuthError::Malformed)?;
            return self.keys.find(&secret.sha256(), now);
        }
        self.session(credential, now)
    }

    fn session(&self, token: &str, now: Timestamp) -> Result<Principal, AuthError> {
        match self.sessions.check(token, now) {
            Ok(wallet) => Ok(Principal { wallet, key: None }),
            Err(SessionError::Expired) => Err(AuthError::SessionExpired),
            Err(SessionError::Foreign) => Err(AuthError::Malformed),
        }
    }
}

/// The API key in a request's head, where it has one that is well-formed; nobody has looked it up.
pub fn bearer_key(headers: &HeaderMap) -> Option<KeySecret> {
    bearer(headers).ok().and_then(KeySecret::parse)
}

/// RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Result<&str, AuthError> {
    let header = headers.get(AUTHORIZATION).ok_or(AuthError::Missing)?;
    let text = header.to_str().map_err(|_| AuthError::NotBearer)?;
    let (scheme, credential) = text.split_once(' ').ok_or(AuthError::NotBearer)?;
    let credential = credential.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() {
        return Err(AuthError::NotBearer);
    }
    Ok(credential)
}

#[cfg(test)]
mod tests {
    use cocoon_primitives::{MockClock, WalletAddress};
    use http::HeaderValue;

    use super::*;
    use crate::auth::SecretSeed;

    const WALLET: WalletAddress = WalletAddress::new(0, [7; 32]);
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    fn authenticator(keys: Arc<KeyTable>) -> Authenticator {
        let sessions = Arc::new(Sessions::new(&SecretSeed::from_bytes([1; 32])));
        Authenticator::new(keys, sessions, Arc::new(MockClock::at(NOW)))
    }

    #[test]
    fn a_key_is_known_until_it_expires_or_is_removed() {
        let keys = Arc::new(KeyTable::default());
        let (lasting, expired) = (KeySecret::generate(), KeySecret::generate());
        keys.insert(lasting.sha256(), lasting.key_id(), WALLET, None, NOW);
        keys.insert(expired.sha256(), expired.key_id(), WALLET, Some(NOW), NOW);
        let gate = authenticator(Arc::clone(&keys));
        let ask = |secret: &KeySecret| {
            gate.authenticate(&headers(&format!("Bearer {}", secret.reveal())))
        };
        assert_eq!(ask(&lasting), Ok(Principal { wallet: WALLET, key: Some(lasting.key_id()) }));
        assert_eq!(ask(&expired), Err(AuthError::KeyExpired));
        assert_eq!(ask(&KeySecret::generate()), Err(AuthError::UnknownKey));
        assert_eq!(keys.take_uses(), [(lasting.key_id(), NOW)]);
        assert!(keys.take_uses().is_empty());
        keys.remove(lasting.key_id(), WalletAddress::new(0, [8; 32]));
        assert!(ask(&lasting).is_ok(), "another wallet revoked it");
        keys.remove(lasting.key_id(), WALLET);
        assert_eq!(ask(&lasting), Err(AuthError::KeyRevoked));
    }

    #[test]
    fn what_is_no_credential_says_why() {
        let gate = authenticator(Arc::default());
        assert_eq!(gate.authenticate(&HeaderMap::new()), Err(AuthError::Missing));
        for (header, expected) in [
            ("Basic dXNlcg==", AuthError::NotBearer),
            ("Bearer", AuthError::NotBearer),
            ("Bearer  ", AuthError::NotBearer),
            ("bearer sk-none", AuthError::Malformed),
            ("Bearer a.b.c", AuthError::Malformed),
        ] {
            assert_eq!(gate.authenticate(&headers(header)), Err(expected), "{header}");
        }
    }
}
