//! Through the public surface, as the gateway and the client use it.

mod address;
mod nonce;
mod proof;
mod wallet;
