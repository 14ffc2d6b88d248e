//! `cocoon-gateway credit`: credit without a deposit.

use anyhow::{Context as _, bail};
use cocoon_primitives::{Clock, Nano};
use cocoon_runtime::SystemClock;
use cocoon_store::Store;

use super::CreditArgs;
use crate::config::{Config, Mode};

/// Credits the wallet and returns what to print.
pub async fn credit(config: &Config, args: &CreditArgs) -> anyhow::Result<String> {
    if config.mode == Mode::Production {
        bail!("credit is for development: mode = \"production\" refuses it");
    }
    let (wallet, _) = cocoon_ton::parse_address(&args.wallet)
        .with_context(|| format!("{:?} is not a wallet", args.wallet))?;
    let amount = Nano::from_gram(&args.amount)
        .with_context(|| format!("{:?} is not an amount", args.amount))?;
    if amount == Nano::ZERO {
        bail!("the amount must be more than zero");
    }
    let store = Store::open(&config.store_path())?;
    let balance = store.credit(wallet, amount, crate::auth::random(), SystemClock.now()).await?;
    store.close().await;
    if args.json {
        let printed = serde_json::json!({
            "wallet": wallet,
            "credited_now_nano": amount,
            "available_nano": balance.available,
            "reserved_nano": balance.reserved,
            "charged_nano": balance.charged,
            "credited_nano": balance.credited,
            "currency": "GRAM",
        });
        return Ok(printed.to_string());
    }
    Ok(format!(
        "credited {} GRAM to {wallet} (development credit: no deposit stands behind it)\n\
         balance: {} GRAM",
        amount.to_gram(),
        balance.available.to_gram()
    ))
}
