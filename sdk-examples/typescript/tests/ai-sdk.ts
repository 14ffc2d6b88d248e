// Vercel's AI SDK: its own provider for OpenAI (the Responses API by default) and the one for compatible servers.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, type LanguageModel, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { Client, apiKey, assert, baseURL, embeddingModel, model, question, story, weatherQuestion } from "./harness.ts";

const Person = z.object({ name: z.string().max(40), age: z.number().int().min(0).max(150) });

async function talk(sdk: Client, api: "chat" | "responses", language: (id: string) => LanguageModel) {
  await sdk.shows([`${api}.plain`], async () => {
    const { text, finishReason } = await generateText({ model: language(model), temperature: 0, prompt: question });
    assert.match(text, /Paris/);
    assert.equal(finishReason, "stop");
  });

  await sdk.shows([`${api}.stream`], async () => {
    const result = streamText({ model: language(model), temperature: 0, prompt: question });
    let text = "";
    for await (const part of result.textStream) text += part;
    assert.match(text, /Paris/);
    assert.equal(await result.finishReason, "stop");
  });

  await sdk.shows([`${api}.tools`], async () => {
    const cities: string[] = [];
    const result = await generateText({
      model: language(model),
      temperature: 0,
      prompt: weatherQuestion,
      tools: {
        get_weather: tool({
          description: "Current weather of a city",
          inputSchema: z.object({ city: z.string() }),
          execute: async ({ city }) => {
            cities.push(city);
            return { weather: "sunny", temperature: 21 };
          },
        }),
      },
      stopWhen: stepCountIs(2),
    });
    assert.deepEqual(cities, ["Osaka"]);
    assert.equal(result.steps.length, 2);
    assert.match(result.text, /21|sunny/);
  });

  await sdk.shows([`${api}.json-schema`], async () => {
    const { output } = await generateText({
      model: language(model),
      temperature: 0,
      prompt: "Give me a person as JSON.",
      output: Output.object({ schema: Person }),
    });
    Person.parse(output);
  });

  await sdk.shows(["errors.model"], async () => {
    const failing = generateText({ model: language("no-such-model"), prompt: question, maxRetries: 0 });
    await assert.rejects(failing, (error) => APICallError.isInstance(error) && error.statusCode === 404);
  });

  await sdk.shows([`${api}.cancel`], async () => {
    const controller = new AbortController();
    const result = streamText({
      model: language(model),
      prompt: story,
      abortSignal: controller.signal,
      onError: () => {},
    });
    const kinds: string[] = [];
    for await (const part of result.fullStream) {
      kinds.push(part.type);
      if (part.type === "text-delta") controller.abort();
    }
    assert.ok(kinds.includes("abort"), kinds.join());
    assert.ok(!kinds.includes("finish"), kinds.join());
  });
}

const openai = createOpenAI({ baseURL, apiKey });
const official = new Client("@ai-sdk/openai", "@ai-sdk/openai");
await talk(official, "responses", (id) => openai(id));
await official.shows(["responses.history"], async () => {
  // By itself the provider refers to what a server has stored; this one stores nothing and wants the items.
  const providerOptions = { openai: { store: false } };
  const first = await generateText({ model: openai(model), temperature: 0, prompt: "My name is Mia.", providerOptions });
  const second = await generateText({
    model: openai(model),
    temperature: 0,
    messages: [{ role: "user", content: "My name is Mia." }, ...first.response.messages, { role: "user", content: "What is my name?" }],
    providerOptions,
  });
  assert.match(second.text, /Mia/);
});
await official.shows(["embeddings.text"], async () => {
  const { embeddings, usage } = await embedMany({ model: openai.embedding(embeddingModel), values: ["sunny", "rainy"] });
  assert.equal(embeddings.length, 2);
  assert.ok(usage.tokens > 0);
});

const cocoon = createOpenAICompatible({ name: "cocoon", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const compatible = new Client("@ai-sdk/openai-compatible", "@ai-sdk/openai-compatible");
await talk(compatible, "chat", (id) => cocoon(id));
await compatible.shows(["completions.plain"], async () => {
  const { text } = await generateText({ model: cocoon.completionModel(model), prompt: "Once upon a time", maxOutputTokens: 8 });
  assert.ok(text.length > 0);
});
await compatible.shows(["chat.stream-usage"], async () => {
  const result = streamText({ model: cocoon(model), prompt: question });
  for await (const _ of result.textStream);
  assert.ok((await result.usage).outputTokens! > 0);
});

process.exitCode = official.failures + compatible.failures > 0 ? 1 : 0;
