//! The ledger's rules: what is refused, what is allowed, and random histories against a model.

mod histories;
mod rules;
