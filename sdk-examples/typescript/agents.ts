// OpenAI's Agents SDK: an agent with a tool, run to its end and as a stream.

import { Agent, run, setTracingDisabled, tool } from "@openai/agents";
import { z } from "zod";

setTracingDisabled(true); // traces would go to OpenAI

const agent = new Agent({
  name: "Guide",
  instructions: "You are a helpful assistant.",
  model: process.env.COCOON_MODEL!,
  tools: [
    tool({
      name: "get_weather",
      description: "Current weather of a city",
      parameters: z.object({ city: z.string() }),
      execute: async ({ city }) => JSON.stringify({ city, weather: "sunny", temperature: 21 }),
    }),
  ],
});

const result = await run(agent, "What is the weather in Osaka?");
console.log(result.finalOutput);

const streamed = await run(agent, "What is the weather in Osaka?", { stream: true });
for await (const text of streamed.toTextStream()) process.stdout.write(text);
await streamed.completed;
console.log();
