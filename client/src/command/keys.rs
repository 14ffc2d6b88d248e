//! `cocoon keys`: API keys of the signed-in wallet.

use clap::Subcommand;
use cocoon_primitives::{KeyId, Nano, Timestamp};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::CliError;
use crate::{output, time};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key; its secret is shown once
    Create {
        /// What you will know it by
        #[arg(long, default_value = "cocoon")]
        name: String,
        /// When it ends: a date, RFC 3339, or Unix seconds
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// The most that it may ever spend, in Gram
        #[arg(long, value_name = "GRAM")]
        spend_cap: Option<String>,
    },
    /// List all keys
    List,
    /// Revoke a key at once
    Revoke {
        /// As `cocoon keys list` shows it
        id: String,
    },
}

#[derive(Serialize)]
struct NewKey<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spend_cap_nano: Option<Nano>,
}

#[derive(Serialize, Deserialize)]
struct CreatedKey {
    id: KeyId,
    key: String,
    name: String,
    created_at: u64,
    expires_at: Option<u64>,
    spend_cap_nano: Option<Nano>,
}

#[derive(Serialize, Deserialize)]
struct KeyList {
    object: String,
    data: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    id: KeyId,
    name: String,
    masked: String,
    created_at: u64,
    expires_at: Option<u64>,
    last_used_at: Option<u64>,
    spend_cap_nano: Option<Nano>,
    spent_nano: Nano,
    revoked_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct DeletedKey {
    id: KeyId,
    deleted: bool,
}

pub(crate) async fn run(context: &Context, command: KeysCommand) -> Result<(), CliError> {
    match command {
        KeysCommand::Create { name, expires_at, spend_cap } => {
            let expires_at =
                expires_at.map(|text| time::parse("--expires-at", &text)).transpose()?;
            let spend_cap_nano = spend_cap
                .map(|text| Nano::from_gram(&text))
                .transpose()
                .map_err(|error| CliError::argument("--spend-cap", &error))?;
            let expires_at = expires_at.map(Timestamp::as_seconds);
            create(context, &NewKey { name: &name, expires_at, spend_cap_nano }).await
        }
        KeysCommand::List => list(context).await,
        KeysCommand::Revoke { id } => {
            revoke(context, id.parse().map_err(|error| CliError::argument("ID", &error))?).await
        }
    }
}

async fn create(context: &Context, new: &NewKey<'_>) -> Result<(), CliError> {
    let created: CreatedKey = context.session_api()?.post("/keys", new).await?;
    if context.as_json {
        return output::json(&created);
    }
    output::table(
        &[],
        [
            ["id", &created.id.to_string()],
            ["name", &output::plain(&created.name)],
            ["expires", &output::or_dash(created.expires_at.map(time::utc))],
            ["spend cap", &output::or_dash(created.spend_cap_nano.map(output::gram))],
            ["key", &output::plain(&created.key)],
        ],
    )?;
    output::note("The key is shown this once. Use it as OPENAI_API_KEY.")
}

async fn list(context: &Context) -> Result<(), CliError> {
    let keys: KeyList = context.session_api()?.get("/keys").await?;
    if context.as_json {
        return output::json(&keys);
    }
    output::table(
        &["id", "name", "key", "created", "expires", "last used", "spent", "cap", "state"],
        keys.data.iter().map(|key| {
            let is_expired = key.expires_at.is_some_and(|end| end <= context.now().as_seconds());
            let state = match (key.revoked_at, is_expired) {
                (Some(_), _) => "revoked",
                (None, true) => "expired",
                (None, false) => "live",
            };
            [
                key.id.to_string(),
                output::plain(&key.name),
                output::plain(&key.masked),
                time::utc(key.created_at),
                output::or_dash(key.expires_at.map(time::utc)),
                output::or_dash(key.last_used_at.map(time::utc)),
                output::gram(key.spent_nano),
                output::or_dash(key.spend_cap_nano.map(output::gram)),
                state.to_owned(),
            ]
        }),
    )
}

async fn revoke(context: &Context, id: KeyId) -> Result<(), CliError> {
    let deleted: DeletedKey = context.session_api()?.delete(&format!("/keys/{id}")).await?;
    if context.as_json {
        return output::json(&deleted);
    }
    output::line(&format!("{} is revoked", deleted.id))
}
