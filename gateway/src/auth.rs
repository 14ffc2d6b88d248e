//! Who asks: wallets that sign in, the sessions they get, the keys they make.
//!
//! [`SignIn`] turns a wallet's proof into a session, [`Sessions`] signs and checks session
//! tokens, [`KeyTable`] knows every live API key, and [`Authenticator`] reads a request's
//! `Authorization`. Invariant: recognising a request touches memory only, never the disk.

mod authenticator;
mod identity;
mod key_table;
pub mod principal;
mod secret;
mod session;
mod sign_in;
mod throttle;
mod uses;

pub use authenticator::{AuthError, Authenticator, bearer_key};
pub use identity::{IdentityError, SecretSeed};
pub use key_table::{DEAD_KEYS_MAX, KeyTable};
pub use principal::Principal;
pub use secret::{KeySecret, masked};
pub use session::{Session, SessionError, Sessions};
pub use sign_in::{Challenge, SignIn, SignInError};
pub use throttle::Throttle;
pub(crate) use throttle::network;
pub use uses::record_key_uses;

/// Bytes that nobody can guess.
pub(crate) fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
