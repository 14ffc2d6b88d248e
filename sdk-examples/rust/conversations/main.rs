//! Scripted conversations of `async-openai` with a live gateway: one line of JSON per feature.
//!
//! Arguments are beginnings of features; without any, all run. The exit code is 1 if one failed.

mod chat;
mod others;
mod responses;
mod script;
mod stack;
mod talk;

use std::process::ExitCode;

use crate::stack::Stack;
use crate::talk::Talk;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stack = Stack::from_environment()?;
    let mut talk = Talk { chosen: std::env::args().skip(1).collect(), failed: false };
    chat::talk(&stack, &mut talk).await;
    responses::talk(&stack, &mut talk).await;
    others::talk(&stack, &mut talk).await;
    Ok(if talk.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
