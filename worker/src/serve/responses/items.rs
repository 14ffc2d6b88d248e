//! The output's items: their ids, how they grow, and what they look like when they begin.

use cocoon_openai_wire::chat::TokenLogprob;
use cocoon_openai_wire::responses::{OutputItem, OutputPart, Status, SummaryPart};
use serde_json::Value;

use super::tools::CUSTOM_INPUT;
use crate::engine::Channel;
use crate::serve::record::Record;
use crate::serve::transcript::Call;

/// Before the id of thoughts.
pub(super) const REASONING_PREFIX: &str = "rs_";

/// Makes the items' ids: the request's id in hexadecimal, and for all but the first message and
/// the first thoughts a number.
pub(super) struct Ids {
    hex: String,
    messages: u32,
    reasonings: u32,
    calls: u32,
}

impl Ids {
    pub(super) fn new(record: &Record) -> Self {
        let hex = hex::encode(record.request_id().as_bytes());
        Self { hex, messages: 0, reasonings: 0, calls: 0 }
    }

    /// That of the first message.
    pub(super) fn message_id(&self) -> String {
        format!("msg_{}", self.hex)
    }

    fn text(&mut self, channel: Channel) -> String {
        let (prefix, count) = match channel {
            Channel::Content => ("msg_", &mut self.messages),
            Channel::Reasoning => (REASONING_PREFIX, &mut self.reasonings),
        };
        let number = *count;
        *count = count.saturating_add(1);
        match number {
            0 => format!("{prefix}{}", self.hex),
            number => format!("{prefix}{}_{number}", self.hex),
        }
    }

    fn call(&mut self, prefix: &str) -> String {
        let number = self.calls;
        self.calls = number.saturating_add(1);
        format!("{prefix}_{}_{number}", self.hex)
    }
}

/// A message, or thoughts, that still grow.
pub(super) struct Open {
    pub(super) channel: Channel,
    pub(super) id: String,
    pub(super) output_index: u32,
    /// Thoughts whose text is their summary too.
    pub(super) has_summary: bool,
    pub(super) text: String,
    pub(super) logprobs: Vec<TokenLogprob>,
    /// How much of both has left in deltas.
    pub(super) text_written: usize,
    pub(super) logprobs_written: usize,
}

impl Open {
    /// `has_summary` is the client's wish, and of no meaning for a message.
    pub(super) fn new(
        channel: Channel,
        output_index: u32,
        has_summary: bool,
        ids: &mut Ids,
    ) -> Self {
        Self {
            channel,
            id: ids.text(channel),
            output_index,
            has_summary: has_summary && channel == Channel::Reasoning,
            text: String::new(),
            logprobs: Vec::new(),
            text_written: 0,
            logprobs_written: 0,
        }
    }

    /// The item before it has any part.
    pub(super) fn begun(&self) -> OutputItem {
        item(self.channel, self.id.clone(), Vec::new(), Vec::new(), Status::InProgress)
    }

    pub(super) fn empty_part(&self) -> OutputPart {
        part(self.channel, String::new(), Vec::new())
    }

    pub(super) fn empty_summary(&self) -> Option<SummaryPart> {
        self.has_summary.then(|| SummaryPart::SummaryText { text: String::new() })
    }

    pub(super) fn into_item(self, status: Status) -> OutputItem {
        let summary = self.has_summary.then(|| self.text.clone());
        let summary = summary.map(|text| SummaryPart::SummaryText { text });
        let part = part(self.channel, self.text, self.logprobs);
        item(self.channel, self.id, summary.into_iter().collect(), vec![part], status)
    }
}

fn item(
    channel: Channel,
    id: String,
    summary: Vec<SummaryPart>,
    content: Vec<OutputPart>,
    status: Status,
) -> OutputItem {
    match channel {
        Channel::Content => OutputItem::Message { id, role: "assistant", status, content },
        Channel::Reasoning => OutputItem::Reasoning { id, summary, content, status },
    }
}

fn part(channel: Channel, text: String, logprobs: Vec<TokenLogprob>) -> OutputPart {
    match channel {
        Channel::Content => OutputPart::output_text(text, logprobs),
        Channel::Reasoning => OutputPart::ReasoningText { text },
    }
}

pub(super) fn is_reasoning(item: &OutputItem) -> bool {
    matches!(item, OutputItem::Reasoning { .. })
}

pub(super) fn parts(item: &OutputItem) -> &[OutputPart] {
    match item {
        OutputItem::Message { content, .. } | OutputItem::Reasoning { content, .. } => content,
        OutputItem::FunctionCall { .. } | OutputItem::CustomToolCall { .. } => &[],
    }
}

pub(super) fn summaries(item: &OutputItem) -> &[SummaryPart] {
    match item {
        OutputItem::Reasoning { summary, .. } => summary,
        _ => &[],
    }
}

/// The item of a whole call; that of a custom tool where the name is one of `customs`.
pub(super) fn call(call: Call, customs: &[String], ids: &mut Ids) -> OutputItem {
    let Call { id: call_id, name, arguments, .. } = call;
    let status = Status::Completed;
    if customs.contains(&name) {
        let input = custom_input(arguments);
        return OutputItem::CustomToolCall { id: ids.call("ctc"), call_id, name, input, status };
    }
    OutputItem::FunctionCall { id: ids.call("fc"), call_id, name, arguments, status }
}

/// A call before its input has come.
pub(super) fn begun_call(item: &OutputItem) -> OutputItem {
    let mut begun = item.clone();
    match &mut begun {
        OutputItem::FunctionCall { arguments: text, status, .. }
        | OutputItem::CustomToolCall { input: text, status, .. } => {
            text.clear();
            *status = Status::InProgress;
        }
        OutputItem::Message { .. } | OutputItem::Reasoning { .. } => {}
    }
    begun
}

/// The free text inside a call that the model made as one of a function; where the model got the
/// form wrong, what it wrote.
fn custom_input(arguments: String) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(&arguments) else { return arguments };
    match fields.remove(CUSTOM_INPUT) {
        Some(Value::String(input)) => input,
        _ => arguments,
    }
}
