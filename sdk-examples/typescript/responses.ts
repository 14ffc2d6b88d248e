// The newer API: a question, a streamed answer, and a function call with its result.
// Nothing is stored on the other side: a conversation goes on by sending its items again.

import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.COCOON_MODEL!;

const response = await client.responses.create({ model, input: "What is the capital of France?" });
console.log(response.output_text);

const stream = await client.responses.create({ model, input: "Tell me a story.", stream: true });
for await (const event of stream) {
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
  if (event.type === "response.completed") console.log(`\nusage: ${event.response.usage?.total_tokens} tokens`);
}

const tools: OpenAI.Responses.FunctionTool[] = [
  {
    type: "function",
    name: "get_weather",
    description: "Current weather of a city",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    },
    strict: true,
  },
];
const input: OpenAI.Responses.ResponseInput = [{ role: "user", content: "What is the weather in Osaka?" }];
const asked = await client.responses.create({ model, input, tools, tool_choice: "required" });
for (const item of asked.output) {
  if (item.type !== "function_call") continue;
  console.log(`the model calls ${item.name}(${item.arguments})`);
  input.push(item, {
    type: "function_call_output",
    call_id: item.call_id,
    output: JSON.stringify({ weather: "sunny", temperature: 21 }),
  });
}
const told = await client.responses.create({ model, input, tools });
console.log(told.output_text);
