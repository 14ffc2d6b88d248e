// Print an answer while it is being made, and its usage at the end.

import OpenAI from "openai";

const client = new OpenAI();
const stream = await client.chat.completions.create({
  model: process.env.COCOON_MODEL!,
  messages: [{ role: "user", content: process.argv[2] ?? "Tell me a story." }],
  stream: true,
  stream_options: { include_usage: true },
});

for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
  if (chunk.usage) console.log(`\nusage: ${chunk.usage.prompt_tokens} + ${chunk.usage.completion_tokens} tokens`);
}
