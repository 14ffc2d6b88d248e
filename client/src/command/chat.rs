//! `cocoon chat`: one question, through async-openai, and what it cost.

mod answer;
mod bill;

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use async_openai::types::chat::{
    ChatCompletionRequestMessage, ChatCompletionRequestSystemMessage,
    ChatCompletionRequestUserMessage, ChatCompletionStreamOptions, CreateChatCompletionRequest,
};
use clap::Args;

use crate::command::models;
use crate::context::Context;
use crate::error::CliError;
use crate::output;

const MESSAGE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// What to ask [default: standard input]
    message: Option<String>,
    /// Which model answers [default: the first that is served]
    #[arg(long, env = "COCOON_MODEL", value_name = "NAME")]
    model: Option<String>,
    /// A system message
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tokens in the answer at most
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// Print the answer at once when it is complete
    #[arg(long)]
    no_stream: bool,
    /// Where to keep the receipt
    #[arg(long, value_name = "FILE")]
    save_receipt: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: ChatArgs) -> Result<(), CliError> {
    let message = match args.message {
        Some(message) => message,
        None => read_message()?,
    };
    let api = context.api()?;
    let model = match args.model.filter(|model| !model.is_empty()) {
        Some(model) => model,
        None => models::first(&api).await?,
    };
    let mut messages = Vec::new();
    if let Some(system) = args.system {
        let system = ChatCompletionRequestSystemMessage::from(system);
        messages.push(ChatCompletionRequestMessage::System(system));
    }
    let user = ChatCompletionRequestUserMessage::from(message);
    messages.push(ChatCompletionRequestMessage::User(user));
    let request = CreateChatCompletionRequest {
        messages,
        model,
        max_completion_tokens: args.max_tokens,
        ..CreateChatCompletionRequest::default()
    };
    let asker = answer::Asker::new(&api)?;
    // JSON is one object, printed at the end, so a stream would serve nobody.
    let answer = if args.no_stream || context.as_json {
        let answer = asker.whole(request).await?;
        if !context.as_json {
            output::line(output::plain(&answer.text).trim_end())?;
        }
        answer
    } else {
        let stream_options = ChatCompletionStreamOptions {
            include_usage: Some(true),
            ..ChatCompletionStreamOptions::default()
        };
        let request =
            CreateChatCompletionRequest { stream_options: Some(stream_options), ..request };
        asker.streamed(request).await?
    };
    bill::settle(context, &api, &answer, args.save_receipt.as_deref()).await
}

fn read_message() -> Result<String, CliError> {
    let input = std::io::stdin();
    let unusable = |reason: &str| CliError::Argument { what: "MESSAGE", reason: reason.into() };
    if input.is_terminal() {
        return Err(unusable("it is missing; give it as an argument or on standard input"));
    }
    let mut message = String::new();
    let read = input.take(MESSAGE_BYTES_MAX).read_to_string(&mut message);
    read.map_err(|error| unusable(&error.to_string()))?;
    if message.trim().is_empty() {
        return Err(unusable("standard input is empty"));
    }
    Ok(message)
}
