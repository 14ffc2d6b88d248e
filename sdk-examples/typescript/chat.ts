// Ask one question and print the answer, what it took, and the receipt's id.

import OpenAI from "openai";

const client = new OpenAI(); // reads OPENAI_BASE_URL and OPENAI_API_KEY
const question = process.argv[2] ?? "Hello!";

const { data: completion, response } = await client.chat.completions
  .create({
    model: process.env.COCOON_MODEL!,
    messages: [{ role: "user", content: question }],
  })
  .withResponse();

console.log(completion.choices[0].message.content);
console.log(`usage: ${completion.usage?.prompt_tokens} + ${completion.usage?.completion_tokens} tokens`);
console.log(`receipt: ${response.headers.get("cocoon-receipt-id")}`);
