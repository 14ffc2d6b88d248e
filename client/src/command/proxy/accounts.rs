//! What the gateway knows about its clients and models, kept for a moment.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cocoon_openai_wire::error::{ErrorBody, kind};
use cocoon_primitives::{ModelName, Nano, WalletAddress};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::gateway::Gateway;
use super::limits::Offer;
use super::problem::{Problem, Told};

const WALLETS_MAX: usize = 1024;
/// A price that changed is noticed by then; the request's cap holds in between.
const OFFERS_LIFE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Balance {
    wallet: WalletAddress,
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    context_length: u64,
    pricing_nano_per_million: Pricing,
    top_provider: Provider,
}

#[derive(Deserialize)]
struct Pricing {
    prompt: Nano,
    cached: Nano,
    completion: Nano,
}

#[derive(Deserialize)]
struct Provider {
    /// Absent where the model generates none.
    max_completion_tokens: Option<u64>,
}

/// Wallets by key, and what models cost.
#[derive(Default)]
pub(super) struct Accounts {
    /// By the key's hash: keys are not kept.
    wallets: Mutex<HashMap<[u8; 32], WalletAddress>>,
    offers: Mutex<Option<(Instant, HashMap<String, Offer>)>>,
}

impl Accounts {
    /// Whose money the key spends: receipts commit to it.
    pub(super) async fn wallet(
        &self,
        gateway: &Gateway,
        key: &str,
    ) -> Result<WalletAddress, Problem> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        if let Some(wallet) = lock(&self.wallets).get(&hash) {
            return Ok(*wallet);
        }
        let answer = gateway.get("/balance", key).await?;
        let balance: Balance = serde_json::from_slice(&answer)
            .map_err(|_| Problem::Shape("its balance names no wallet"))?;
        let mut wallets = lock(&self.wallets);
        if wallets.len() >= WALLETS_MAX {
            wallets.clear();
        }
        wallets.insert(hash, balance.wallet);
        Ok(balance.wallet)
    }

    /// What the gateway asks for a model now.
    pub(super) async fn offer(
        &self,
        gateway: &Gateway,
        key: &str,
        model: &ModelName,
    ) -> Result<Offer, Problem> {
        let known = |offers: &HashMap<String, Offer>| offers.get(model.as_str()).copied();
        if let Some((until, offers)) = lock(&self.offers).as_ref()
            && *until > Instant::now()
            && let Some(offer) = known(offers)
        {
            return Ok(offer);
        }
        let answer = gateway.get("/models", key).await?;
        let models: Models = serde_json::from_slice(&answer)
            .map_err(|_| Problem::Shape("its list of models is unreadable"))?;
        let offers: HashMap<_, _> =
            models.data.into_iter().map(|model| (model.id.clone(), model.offer())).collect();
        let offer = known(&offers);
        *lock(&self.offers) = Some((Instant::now() + OFFERS_LIFE, offers));
        offer.ok_or_else(|| unknown(model))
    }
}

impl Model {
    fn offer(&self) -> Offer {
        let price = &self.pricing_nano_per_million;
        Offer {
            context_length: self.context_length,
            completion_max: self.top_provider.max_completion_tokens.unwrap_or(0),
            price: [price.prompt, price.cached, price.completion].map(Nano::get),
        }
    }
}

fn unknown(model: &ModelName) -> Problem {
    let message = format!("The model `{model}` does not exist, or no worker serves it now.");
    let body =
        ErrorBody::new(kind::INVALID_REQUEST, message).code("model_not_found").param("model");
    Problem::Told(Box::new(Told { status: StatusCode::NOT_FOUND, headers: HeaderMap::new(), body }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
