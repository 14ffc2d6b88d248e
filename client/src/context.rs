//! The arguments, resolved: which gateway, which files, which credential.

use std::path::PathBuf;
use std::time::Duration;

use cocoon_primitives::{Clock as _, Timestamp};
use cocoon_runtime::SystemClock;
use reqwest::Url;

use crate::api::Api;
use crate::cli::Global;
use crate::error::CliError;
use crate::profile::Profile;

const DEFAULT_BASE_URL: &str = "http://127.0.0.1:8080/v1";
/// A session that ends within this time is not used any more.
const SESSION_MARGIN: Duration = Duration::from_secs(5);

/// What every command may need. Files are read when they are asked for.
pub(crate) struct Context {
    pub(crate) as_json: bool,
    pub(crate) wallet_path: PathBuf,
    pub(crate) profile_path: PathBuf,
    /// Where files of this user's are, as far as no argument names another place.
    pub(crate) home: PathBuf,
    base_url: Option<String>,
    api_key: Option<String>,
}

impl Context {
    pub(crate) fn new(global: Global) -> Result<Self, CliError> {
        let home = match (global.home, std::env::home_dir()) {
            (Some(home), _) => home,
            (None, Some(user)) => user.join(".config").join("cocoon"),
            (None, None) => {
                return Err(CliError::Argument {
                    what: "HOME",
                    reason: "it is not set; say --home DIR".into(),
                });
            }
        };
        Ok(Self {
            as_json: global.json,
            wallet_path: global.wallet.unwrap_or_else(|| home.join("wallet.json")),
            profile_path: global.profile.unwrap_or_else(|| home.join("profile.json")),
            home,
            base_url: global.base_url,
            api_key: global.api_key.filter(|key| !key.is_empty()),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// The API without a credential, for sign-in.
    pub(crate) fn open_api(&self) -> Result<Api, CliError> {
        let profile = match &self.base_url {
            Some(_) => None,
            None => Profile::read(&self.profile_path)?,
        };
        Api::new(self.url(profile.as_ref())?, None)
    }

    /// The key that was given, which is no session's token.
    pub(crate) fn api_key(&self) -> Option<&str> {
        self.api_key.as_deref()
    }

    /// The API as whoever the key or the session says.
    pub(crate) fn api(&self) -> Result<Api, CliError> {
        match &self.api_key {
            Some(key) => {
                let profile = match &self.base_url {
                    Some(_) => None,
                    None => Profile::read(&self.profile_path)?,
                };
                Api::new(self.url(profile.as_ref())?, Some(key.clone()))
            }
            None => self.session_api(),
        }
    }

    /// The API with the session, where there is one; managing keys needs it.
    pub(crate) fn session_api(&self) -> Result<Api, CliError> {
        let profile = Profile::read(&self.profile_path)?;
        let url = self.url(profile.as_ref())?;
        let session = profile.filter(|profile| {
            let ends = Timestamp::from_seconds(profile.expires_at);
            profile.base_url == url.as_str() && self.now().saturating_add(SESSION_MARGIN) < ends
        });
        let credential = session.map(|profile| profile.token).or_else(|| self.api_key.clone());
        match credential {
            Some(credential) => Api::new(url, Some(credential)),
            None => Err(CliError::NoCredential { base_url: url.into() }),
        }
    }

    fn url(&self, profile: Option<&Profile>) -> Result<Url, CliError> {
        let text = self.base_url.as_deref().or(profile.map(|profile| profile.base_url.as_str()));
        base_url(text.unwrap_or(DEFAULT_BASE_URL))
    }
}

/// `http(s)://host[:port]/path` without a slash at its end.
fn base_url(text: &str) -> Result<Url, CliError> {
    let unusable = |reason: &str| CliError::Argument { what: "--base-url", reason: reason.into() };
    let mut url = Url::parse(text).map_err(|error| unusable(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(unusable("expected http://… or https://…"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(unusable("expected a scheme, a host and a path, and nothing else"));
    }
    let path = match url.path().trim_end_matches('/') {
        "" => "/v1".to_owned(),
        path => path.to_owned(),
    };
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_get_their_path() {
        for (text, url) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/v1"),
            ("https://cocoon.example/v1/", "https://cocoon.example/v1"),
            ("https://cocoon.example/api/v1", "https://cocoon.example/api/v1"),
        ] {
            assert_eq!(base_url(text).unwrap().as_str(), url);
        }
        for text in ["", "cocoon.example", "ftp://x", "http://", "http://u@x/", "http://x/?q"] {
            assert!(base_url(text).is_err(), "{text:?} was taken");
        }
    }
}
