//! Session tokens: JWTs that this gateway signs and nobody else can.
//!
//! A session proves that a wallet's holder was here lately. It manages keys and reads the
//! account; it never spends. Times are checked against the gateway's clock, not the library's.

use std::fmt;
use std::time::Duration;

use cocoon_primitives::{Timestamp, WalletAddress};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::SecretSeed;

/// How long a session lives.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const ISSUER: &str = "cocoon-gateway";
/// The longest token that is looked at; ours have about 330 characters.
const TOKEN_CHARS_MAX: usize = 1024;

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: WalletAddress,
    iat: u64,
    exp: u64,
    jti: String,
}

/// A session that was just opened.
#[derive(Debug)]
pub struct Session {
    pub token: String,
    pub expires_at: Timestamp,
}

/// Why a session token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the session token is not one of this gateway")]
    Foreign,
    #[error("the session has expired")]
    Expired,
}

/// Opens and checks sessions.
pub struct Sessions {
    sign: EncodingKey,
    verify: DecodingKey,
    validation: Validation,
}

impl Sessions {
    pub fn new(seed: &SecretSeed) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        // `check` compares with the gateway's own clock.
        validation.validate_exp = false;
        Self {
            sign: seed.jwt_key(),
            verify: DecodingKey::from_ed_der(seed.signing_key().verifying_key().as_bytes()),
            validation,
        }
    }

    /// A session for a wallet that has just proved itself.
    pub fn open(&self, wallet: WalletAddress, now: Timestamp) -> Session {
        let expires_at = Timestamp::from_seconds(now.saturating_add(LIFETIME).as_seconds());
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: wallet,
            iat: now.as_seconds(),
            exp: expires_at.as_seconds(),
            jti: hex::encode(super::random::<16>()),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.sign)
            .expect("the key is an Ed25519 key in PKCS #8 and the claims are plain JSON");
        Session { token, expires_at }
    }

    pub fn check(&self, token: &str, now: Timestamp) -> Result<WalletAddress, SessionError> {
        if token.len() > TOKEN_CHARS_MAX {
            return Err(SessionError::Foreign);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verify, &self.validation)
            .map_err(|_| SessionError::Foreign)?
            .claims;
        if Timestamp::from_seconds(claims.exp) <= now {
            return Err(SessionError::Expired);
        }
        Ok(claims.sub)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALLET: WalletAddress = WalletAddress::new(0, [7; 32]);
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn sessions(seed: u8) -> Sessions {
        Sessions::new(&SecretSeed::from_bytes([seed; 32]))
    }

    #[test]
    fn a_session_lives_for_a_day() {
        let (sessions, day) = (sessions(1), Duration::from_secs(86_400));
        let session = sessions.open(WALLET, NOW);
        let almost = session.expires_at.saturating_sub(Duration::from_secs(1));
        assert_eq!(sessions.check(&session.token, NOW), Ok(WALLET));
        assert_eq!(sessions.check(&session.token, almost), Ok(WALLET));
        let late = sessions.check(&session.token, NOW.saturating_add(day));
        assert_eq!(late, Err(SessionError::Expired));
    }

    #[test]
    fn a_token_of_another_key_or_a_changed_one_is_foreign() {
        let ours = sessions(1);
        let token = sessions(2).open(WALLET, NOW).token;
        assert_eq!(ours.check(&token, NOW), Err(SessionError::Foreign));
        let good = ours.open(WALLET, NOW).token;
        let unsigned = good.rsplit_once('.').unwrap().0;
        for broken in [format!("{unsigned}."), format!("{good}A"), "a.b.c".into(), "x".repeat(2000)]
        {
            assert_eq!(ours.check(&broken, NOW), Err(SessionError::Foreign), "{broken}");
        }
    }

    #[test]
    fn an_unsigned_token_is_foreign() {
        // {"alg":"none"} and claims that would do.
        let head = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        let claims = ours_claims();
        assert_eq!(
            sessions(1).check(&format!("{head}.{claims}."), NOW),
            Err(SessionError::Foreign)
        );
    }

    fn ours_claims() -> String {
        let token = sessions(1).open(WALLET, NOW).token;
        token.split('.').nth(1).unwrap().to_owned()
    }
}
