//! Tokens in, messages out.

use cocoon_engine_wire::{
    Attached, Channel, FinishReason, FromEngine, Generate, StopCut, TokenLogprob, Usage,
};
use tokio::sync::mpsc;

use super::prompt::Prompt;
use super::{Engine, fresh};
use crate::calls::Call;
use crate::sampler::Sampled;
use crate::splitter::{Piece, Splitter};
use crate::tokens::Detokeniser;

pub(super) struct Answer<'e> {
    engine: &'e Engine,
    id: u64,
    text: Detokeniser<'e>,
    splitter: Splitter,
    cut: StopCut,
    wants_logprobs: bool,
    /// Of tokens whose text has not left yet.
    logprobs: Attached<TokenLogprob>,
    /// Where the content ends that was handed to `cut`.
    said: usize,
    max_tokens: u32,
    one_call: bool,
    completion: u32,
    reasoning: u64,
    calls: u32,
}

impl<'e> Answer<'e> {
    pub(super) fn new(
        engine: &'e Engine,
        job: &Generate,
        prompt: &Prompt,
        max_tokens: u32,
    ) -> Self {
        Self {
            engine,
            id: job.id,
            text: engine.vocabulary.detokeniser(),
            splitter: Splitter::new(prompt.parts.clone()),
            cut: StopCut::new(job.stop.clone()),
            wants_logprobs: job.logprobs.is_some(),
            logprobs: Attached::default(),
            said: 0,
            max_tokens,
            one_call: prompt.one_call,
            completion: 0,
            reasoning: 0,
            calls: 0,
        }
    }

    /// Takes a token; says why the answer ends with it, if it does.
    pub(super) async fn token(
        &mut self,
        token: &Sampled,
        out: &mpsc::Sender<FromEngine>,
    ) -> Option<FinishReason> {
        self.completion += 1;
        if self.splitter.is_reasoning() {
            self.reasoning += 1;
        }
        if self.engine.ends.contains(&token.id) {
            return Some(FinishReason::Stop);
        }
        if self.wants_logprobs && !self.splitter.is_reasoning() {
            let logprob = self.engine.vocabulary.logprob(token);
            let is_silent = self.engine.vocabulary.is_silent(token.id);
            let bytes = if is_silent { 0 } else { logprob.bytes.len() };
            self.logprobs.push(logprob, bytes);
        }
        let text = self.text.push(token.id);
        if !text.is_empty() {
            self.logprobs.text(text.len());
        }
        let pieces = self.splitter.push(&text);
        if self.splitter.is_reasoning() || self.splitter.is_between() {
            // What opened a thought, and layout, are no content.
            self.logprobs.clear();
        }
        self.emit(pieces, out).await;
        if self.cut.stopped() || self.is_called_enough() {
            return Some(FinishReason::Stop);
        }
        (self.completion >= self.max_tokens).then_some(FinishReason::Length)
    }

    /// Takes the tokens that came with the engine's own end.
    pub(super) async fn rest(
        &mut self,
        tokens: Vec<Sampled>,
        out: &mpsc::Sender<FromEngine>,
    ) -> Option<FinishReason> {
        for token in tokens {
            let finish = self.token(&token, out).await;
            if finish.is_some() {
                return finish;
            }
        }
        None
    }

    /// Lets out what was held back. A job that called a tool ends with that reason.
    pub(super) async fn end(
        &mut self,
        finish: FinishReason,
        out: &mpsc::Sender<FromEngine>,
    ) -> FinishReason {
        let pieces = self.splitter.finish(finish == FinishReason::Length);
        self.emit(pieces, out).await;
        let rest = self.cut.finish();
        if !self.cut.stopped() {
            let logprobs = self.logprobs.finish();
            if !rest.is_empty() || !logprobs.is_empty() {
                self.delta(Channel::Content, rest, logprobs, out).await;
            }
        }
        match finish {
            FinishReason::Stop if self.calls > 0 => FinishReason::ToolCalls,
            other => other,
        }
    }

    pub(super) fn usage(&self, prompt: u64) -> Usage {
        Usage {
            prompt,
            cached: 0,
            completion: u64::from(self.completion),
            reasoning: self.reasoning,
        }
    }

    async fn emit(&mut self, pieces: Vec<Piece>, out: &mpsc::Sender<FromEngine>) {
        let mut behind = self.splitter.held_bytes() + pieces.iter().map(Piece::len).sum::<usize>();
        for piece in pieces {
            behind -= piece.len();
            if self.cut.stopped() || self.is_called_enough() {
                return;
            }
            match piece {
                Piece::Text(Channel::Content, text) => {
                    self.said = self.logprobs.end().saturating_sub(behind);
                    let text = self.cut.push(&text);
                    if !text.is_empty() {
                        let left = self.said.saturating_sub(self.cut.behind());
                        let logprobs = self.logprobs.release(left);
                        self.delta(Channel::Content, text, logprobs, out).await;
                    }
                }
                Piece::Text(Channel::Reasoning, text) => {
                    self.delta(Channel::Reasoning, text, Vec::new(), out).await;
                }
                Piece::Call(call) => self.call(call, out).await,
            }
        }
    }

    /// The client wants no call beside this one.
    const fn is_called_enough(&self) -> bool {
        self.one_call && self.calls > 0
    }

    async fn delta(
        &self,
        channel: Channel,
        text: String,
        logprobs: Vec<TokenLogprob>,
        out: &mpsc::Sender<FromEngine>,
    ) {
        let delta = FromEngine::Delta {
            id: self.id,
            channel,
            text,
            completion_tokens: self.completion,
            logprobs,
        };
        // The writer goes away only with the process.
        drop(out.send(delta).await);
    }

    async fn call(&mut self, call: Call, out: &mpsc::Sender<FromEngine>) {
        // No stop text goes on behind a call, and its tokens are no content.
        let held = self.cut.finish();
        if !held.is_empty() {
            let logprobs = self.logprobs.release(self.said);
            self.delta(Channel::Content, held, logprobs, out).await;
        }
        self.logprobs.clear();
        let call = FromEngine::ToolCall {
            id: self.id,
            index: self.calls,
            call_id: format!("call_{:016x}{:08x}", fresh(), fresh() >> 32),
            name: call.name,
            arguments: call.arguments,
            completion_tokens: self.completion,
        };
        self.calls += 1;
        drop(out.send(call).await);
    }
}
