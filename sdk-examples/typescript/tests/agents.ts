// OpenAI's Agents SDK, over the Responses API as it does by itself and over chat completions.

import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, run, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { Client, assert, model, question, story, weatherQuestion } from "./harness.ts";

setTracingDisabled(true);
const Person = z.object({ name: z.string(), age: z.number().int() });
const openai = new OpenAI();
// The likeliest words: what the demo model knows, it says every time.
const guide = { name: "Guide", modelSettings: { temperature: 0 } };

async function talk(sdk: Client, api: "chat" | "responses", speak: (id: string) => OpenAIResponsesModel | OpenAIChatCompletionsModel) {
  await sdk.shows([`${api}.plain`], async () => {
    const result = await run(new Agent({ ...guide, model: speak(model) }), question);
    assert.match(result.finalOutput!, /Paris/);
  });

  await sdk.shows([`${api}.stream`], async () => {
    const result = await run(new Agent({ ...guide, model: speak(model) }), question, { stream: true });
    let text = "";
    for await (const part of result.toTextStream()) text += part;
    await result.completed;
    assert.match(text, /Paris/);
  });

  await sdk.shows([`${api}.tools`], async () => {
    const cities: string[] = [];
    const weather = tool({
      name: "get_weather",
      description: "Current weather of a city",
      parameters: z.object({ city: z.string() }),
      execute: async ({ city }) => {
        cities.push(city);
        return JSON.stringify({ weather: "sunny", temperature: 21 });
      },
    });
    const result = await run(new Agent({ ...guide, model: speak(model), tools: [weather] }), weatherQuestion);
    assert.deepEqual(cities, ["Osaka"]);
    assert.match(result.finalOutput!, /21|sunny/);
  });

  await sdk.shows([`${api}.json-schema`], async () => {
    const agent = new Agent({ ...guide, model: speak(model), outputType: Person });
    const result = await run(agent, "Give me a person as JSON.");
    Person.parse(result.finalOutput);
  });

  await sdk.shows([`${api}.cancel`], async () => {
    const controller = new AbortController();
    const result = await run(new Agent({ ...guide, model: speak(model) }), story, { stream: true, signal: controller.signal });
    for await (const text of result.toTextStream()) if (text) controller.abort();
    assert.ok(result.cancelled);
    assert.equal(result.finalOutput, undefined);
  });
}

const sdk = new Client("openai-agents-js", "@openai/agents");
await talk(sdk, "responses", (id) => new OpenAIResponsesModel(openai, id));
await talk(sdk, "chat", (id) => new OpenAIChatCompletionsModel(openai, id));

await sdk.shows(["errors.model"], async () => {
  const failing = run(new Agent({ name: "Guide", model: new OpenAIResponsesModel(openai, "no-such-model") }), question);
  await assert.rejects(failing, (error) => error instanceof OpenAI.NotFoundError);
});

process.exitCode = sdk.failures > 0 ? 1 : 0;
