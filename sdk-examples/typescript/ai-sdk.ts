// Vercel's AI SDK: text, a stream, a tool, an object, embeddings.

import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

// `provider(model)` speaks the Responses API, `provider.chat(model)` chat completions.
const provider = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: process.env.OPENAI_API_KEY });
const model = provider(process.env.COCOON_MODEL!);

const { text } = await generateText({ model, prompt: "What is the capital of France?" });
console.log(text);

const stream = streamText({ model, prompt: "Tell me a story." });
for await (const part of stream.textStream) process.stdout.write(part);
console.log(`\nusage: ${(await stream.usage).totalTokens} tokens`);

const weather = await generateText({
  model,
  prompt: "What is the weather in Osaka?",
  tools: {
    get_weather: tool({
      description: "Current weather of a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => ({ city, weather: "sunny", temperature: 21 }),
    }),
  },
  stopWhen: stepCountIs(2),
});
console.log(weather.text, `(${weather.steps.length} steps)`);

const { output } = await generateText({
  model: provider.chat(process.env.COCOON_MODEL!),
  prompt: "Give me a person as JSON.",
  output: Output.object({ schema: z.object({ name: z.string().max(40), age: z.number().int().min(0).max(150) }) }),
});
console.log(output);

const { embeddings } = await embedMany({
  model: provider.embedding(process.env.COCOON_EMBEDDING_MODEL!),
  values: ["sunny", "rainy"],
});
console.log(`${embeddings.length} vectors of ${embeddings[0].length} numbers`);
