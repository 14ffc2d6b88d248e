//! `cocoon balance`.

use cocoon_primitives::{Nano, WalletAddress};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::CliError;
use crate::output;

#[derive(Serialize, Deserialize)]
struct Balance {
    wallet: WalletAddress,
    available_nano: Nano,
    reserved_nano: Nano,
    charged_nano: Nano,
    credited_nano: Nano,
    currency: String,
}

pub(crate) async fn run(context: &Context) -> Result<(), CliError> {
    let balance: Balance = context.api()?.get("/balance").await?;
    if context.as_json {
        return output::json(&balance);
    }
    output::table(
        &[],
        [
            ["wallet", &balance.wallet.to_string()],
            ["available", &output::gram(balance.available_nano)],
            ["reserved", &output::gram(balance.reserved_nano)],
            ["charged", &output::gram(balance.charged_nano)],
            ["credited", &output::gram(balance.credited_nano)],
        ],
    )
}
