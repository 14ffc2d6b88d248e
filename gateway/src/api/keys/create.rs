//! `POST /v1/keys`: the one answer that shows a key's secret.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use cocoon_primitives::{Clock, Nano, Timestamp};
use cocoon_store::{CreateKeyOutcome, KEYS_PER_DAY_MAX, KEYS_PER_WALLET_MAX, NewKey, Store};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::small;
use crate::auth::{AuthError, KeySecret, KeyTable};
use crate::edge::body::{self, BodyError, BodyLimits};
use crate::edge::principal::SignedIn;
use crate::edge::problem::Problem;

const NAME_CHARS_MAX: usize = 64;
/// A longer life than this is a mistyped number.
const LIFETIME_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// A misspelt limit must not make a key without one, so unknown fields are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnverifiedKey {
    #[serde(default)]
    name: String,
    expires_at: Option<u64>,
    spend_cap_nano: Option<u64>,
}

struct Wanted {
    name: String,
    expires_at: Option<Timestamp>,
    spend_cap: Option<Nano>,
}

pub(in crate::api) async fn create(
    SignedIn(principal): SignedIn,
    State(store): State<Store>,
    State(keys): State<Arc<KeyTable>>,
    State(clock): State<Arc<dyn Clock>>,
    State(limits): State<BodyLimits>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let asked: UnverifiedKey = body::read_json(request, small(limits)).await?;
    let now = clock.now();
    let wanted = asked.check(now)?;
    let secret = KeySecret::generate();
    let id = secret.key_id();
    let new = NewKey {
        id,
        wallet: principal.wallet,
        secret_sha256: secret.sha256(),
        name: wanted.name.clone(),
        created_at: now,
        expires_at: wanted.expires_at,
        spend_cap: wanted.spend_cap,
    };
    match store.create_key(new).await? {
        CreateKeyOutcome::Created => {}
        CreateKeyOutcome::LimitReached => {
            return Err(Problem::TooManyKeys { max: KEYS_PER_WALLET_MAX });
        }
        CreateKeyOutcome::TooManyToday => {
            return Err(Problem::TooManyKeysToday { max: KEYS_PER_DAY_MAX });
        }
        // A session of a store that is gone: whoever holds it has to sign in again.
        CreateKeyOutcome::UnknownWallet => return Err(Problem::Auth(AuthError::Malformed)),
    }
    keys.insert(secret.sha256(), id, principal.wallet, wanted.expires_at, now);
    tracing::info!(key.id = %id, "key {id} created");
    Ok(Json(json!({
        "id": id,
        "key": secret.reveal(),
        "name": wanted.name,
        "created_at": now.as_seconds(),
        "expires_at": wanted.expires_at.map(Timestamp::as_seconds),
        "spend_cap_nano": wanted.spend_cap,
    })))
}

impl UnverifiedKey {
    fn check(self, now: Timestamp) -> Result<Wanted, BodyError> {
        let refuse = |param, message| Err(BodyError::Field { param, message });
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return refuse("name", "name must have 1 to 64 characters");
        }
        if name.chars().any(char::is_control) {
            return refuse("name", "name must not contain control characters");
        }
        let expires_at = self.expires_at.map(Timestamp::from_seconds);
        let latest = now.saturating_add(LIFETIME_MAX);
        if expires_at.is_some_and(|at| at <= now || at > latest) {
            return refuse("expires_at", "expires_at must lie in the future, at most ten years on");
        }
        let spend_cap = match self.spend_cap_nano.map(Nano::new) {
            Some(None) => return refuse("spend_cap_nano", "spend_cap_nano is too large"),
            Some(Some(cap)) => Some(cap),
            None => None,
        };
        Ok(Wanted { name: name.to_owned(), expires_at, spend_cap })
    }
}
