//! The binary as a user runs it: files, exit codes, and what it does with a gateway's answers.

mod attest;
mod attest_policy;
mod audit;
mod cocoon;
mod command_line;
mod gateway;
mod policy;
#[cfg(feature = "soft-tee")]
mod proxy;
mod receipt;
mod wallet;
