//! The binary as a user runs it: files, exit codes, and what it does with a gateway's answers.

mod attest;
mod cocoon;
mod command_line;
mod gateway;
mod receipt;
mod wallet;
