// The official client, `openai`.

import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { Client, assert, embeddingModel, endless, forecast, model, question, story, weather, weatherQuestion } from "./harness.ts";

const sdk = new Client("openai-node", "openai");
const openai = new OpenAI();
const ask = [{ role: "user" as const, content: question }];
const Person = z.object({ name: z.string().max(40), age: z.number().int().min(0).max(150) });
const functionTool = { type: "function" as const, function: weather };
const responseTool = { type: "function" as const, ...weather, strict: true };

await sdk.shows(["chat.plain"], async () => {
  const answer = await openai.chat.completions.create({ model, messages: ask, temperature: 0 });
  assert.match(answer.choices[0].message.content!, /Paris/);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage!.total_tokens, answer.usage!.prompt_tokens + answer.usage!.completion_tokens);
});

await sdk.shows(["chat.stream", "chat.stream-helper", "chat.stream-usage"], async () => {
  // The helper throws where a delta lacks its role, a choice its end, or a tool call its index.
  const stream = openai.chat.completions.stream({ model, messages: ask, temperature: 0, stream_options: { include_usage: true } });
  const deltas: string[] = [];
  stream.on("content", (delta) => deltas.push(delta));
  const answer = await stream.finalChatCompletion();
  assert.match(answer.choices[0].message.content!, /Paris/);
  assert.equal(deltas.join(""), answer.choices[0].message.content);
  assert.ok((await stream.totalUsage()).completion_tokens > 0);
});

await sdk.shows(["chat.tools"], async () => {
  const messages: OpenAI.Chat.ChatCompletionMessageParam[] = [{ role: "user", content: weatherQuestion }];
  const first = await openai.chat.completions.create({ model, messages, temperature: 0, tools: [functionTool], tool_choice: "required" });
  assert.equal(first.choices[0].finish_reason, "tool_calls");
  const [call] = first.choices[0].message.tool_calls!;
  assert.ok(call.type === "function" && call.function.name === "get_weather");
  assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
  messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: forecast });
  const second = await openai.chat.completions.create({ model, messages, temperature: 0, tools: [functionTool] });
  assert.equal(second.choices[0].finish_reason, "stop");
  assert.match(second.choices[0].message.content!, /21|sunny/);
});

await sdk.shows(["chat.tools-stream", "chat.tool-choice"], async () => {
  const stream = openai.chat.completions.stream({
    model,
    messages: [{ role: "user", content: weatherQuestion }],
    tools: [functionTool],
    tool_choice: { type: "function", function: { name: "get_weather" } },
  });
  const answer = await stream.finalChatCompletion();
  const [call] = answer.choices[0].message.tool_calls!;
  assert.ok(call.type === "function");
  assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
});

await sdk.shows(["chat.json-schema"], async () => {
  const answer = await openai.chat.completions.parse({
    model,
    messages: [{ role: "user", content: "Give me a person as JSON." }],
    response_format: zodResponseFormat(Person, "person"),
  });
  Person.parse(answer.choices[0].message.parsed);
});

await sdk.shows(["chat.n"], async () => {
  const answer = await openai.chat.completions.create({ model, messages: ask, n: 3, seed: 7, max_completion_tokens: 16 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
});

await sdk.shows(["chat.logprobs"], async () => {
  const answer = await openai.chat.completions.create({ model, messages: ask, logprobs: true, top_logprobs: 3, temperature: 0 });
  const tokens = answer.choices[0].logprobs!.content!;
  assert.equal(tokens.map((token) => token.token).join(""), answer.choices[0].message.content);
  assert.ok(tokens.every((token) => token.logprob <= 0 && token.top_logprobs.length === 3));
});

await sdk.shows(["errors.model", "errors.key", "errors.parameter"], async () => {
  const missing = openai.chat.completions.create({ model: "no-such-model", messages: ask });
  await assert.rejects(missing, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found" && !!error.requestID);
  const stranger = new OpenAI({ apiKey: "sk-cocoon-v1-wrong" }).models.list();
  await assert.rejects(async () => stranger, (error) => error instanceof OpenAI.AuthenticationError);
  const hot = openai.chat.completions.create({ model, messages: ask, temperature: 9 });
  await assert.rejects(hot, (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
});

await sdk.shows(["chat.cancel"], async () => {
  const stream = await openai.chat.completions.create({
    model,
    messages: [{ role: "user", content: story }],
    max_completion_tokens: 1500,
    logit_bias: endless,
    stream: true,
  });
  for await (const chunk of stream) {
    assert.equal(chunk.choices[0].finish_reason, null);
    if (chunk.choices[0].delta.content) break;
  }
  assert.ok(stream.controller.signal.aborted);
});

await sdk.shows(["retry.idempotency"], async () => {
  const headers = { "Idempotency-Key": `node-${process.pid}-${Date.now()}` };
  const once = () => openai.chat.completions.create({ model, messages: ask, temperature: 0 }, { headers }).withResponse();
  const [first, second] = [await once(), await once()];
  assert.equal(second.response.headers.get("idempotent-replayed"), "true");
  assert.deepEqual(second.data, first.data);
});

await sdk.shows(["responses.plain", "responses.json-schema"], async () => {
  const answer = await openai.responses.create({ model, input: question, instructions: "Be brief." });
  assert.equal(answer.status, "completed");
  assert.match(answer.output_text, /\w/);
  const parsed = await openai.responses.parse({
    model,
    input: "Give me a person as JSON.",
    text: { format: zodTextFormat(Person, "person") },
  });
  Person.parse(parsed.output_parsed);
});

await sdk.shows(["responses.stream-helper", "responses.stream"], async () => {
  const stream = openai.responses.stream({ model, input: question, temperature: 0 });
  const deltas: string[] = [];
  stream.on("response.output_text.delta", (event) => deltas.push(event.delta));
  const answer = await stream.finalResponse();
  assert.equal(deltas.join(""), answer.output_text);
  assert.match(answer.output_text, /Paris/);
});

await sdk.shows(["responses.tools", "responses.tool-choice"], async () => {
  const input: OpenAI.Responses.ResponseInput = [{ role: "user", content: weatherQuestion }];
  const asked = await openai.responses.create({ model, input, temperature: 0, tools: [responseTool], tool_choice: "required" });
  const call = asked.output.find((item) => item.type === "function_call")!;
  assert.equal(typeof JSON.parse(call.arguments).city, "string");
  input.push(...(asked.output as OpenAI.Responses.ResponseInputItem[]), { type: "function_call_output", call_id: call.call_id, output: forecast });
  const told = await openai.responses.create({ model, input, temperature: 0, tools: [responseTool] });
  assert.match(told.output_text, /21|sunny/);
});

await sdk.shows(["completions.plain"], async () => {
  const answer = await openai.completions.create({ model, prompt: "Once upon a time", max_tokens: 4, logit_bias: endless });
  assert.equal(answer.object, "text_completion");
  assert.equal(answer.choices[0].finish_reason, "length");
});

await sdk.shows(["embeddings.text", "embeddings.base64"], async () => {
  // The client asks for base64 and decodes it.
  const { data } = await openai.embeddings.create({ model: embeddingModel, input: ["sunny", "rainy", "sunny"] });
  assert.deepEqual(data.map((item) => item.index), [0, 1, 2]);
  assert.deepEqual(data[0].embedding, data[2].embedding);
  const length = Math.hypot(...data[0].embedding);
  assert.ok(Math.abs(length - 1) < 1e-3, `length ${length}`);
});

await sdk.shows(["models.list", "models.retrieve"], async () => {
  const ids = (await openai.models.list()).data.map((entry) => entry.id);
  assert.ok(ids.includes(model) && ids.includes(embeddingModel), ids.join());
  assert.equal((await openai.models.retrieve(model)).id, model);
});

process.exitCode = sdk.failures > 0 ? 1 : 0;
