// Let the model call a function of yours, give it the result, and print what it makes of it.

import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.COCOON_MODEL!;

const tools: OpenAI.Chat.ChatCompletionTool[] = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "Current weather of a city",
      parameters: {
        type: "object",
        properties: { city: { type: "string" } },
        required: ["city"],
        additionalProperties: false,
      },
    },
  },
];

// What a real program would look up.
function getWeather(city: string) {
  return { city, weather: "sunny", temperature: 21 };
}

const messages: OpenAI.Chat.ChatCompletionMessageParam[] = [
  { role: "user", content: "What is the weather in Osaka?" },
];
const first = await client.chat.completions.create({ model, messages, tools, tool_choice: "required" });
const asked = first.choices[0].message;
messages.push(asked);
for (const call of asked.tool_calls ?? []) {
  if (call.type !== "function") continue;
  const { city } = JSON.parse(call.function.arguments) as { city: string };
  console.log(`the model calls ${call.function.name}(${JSON.stringify(city)})`);
  messages.push({ role: "tool", tool_call_id: call.id, content: JSON.stringify(getWeather(city)) });
}

const second = await client.chat.completions.create({ model, messages, tools });
console.log(second.choices[0].message.content);
