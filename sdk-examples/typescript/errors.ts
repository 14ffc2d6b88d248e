// What can go wrong, how it shows, and what to do about it.

import { randomUUID } from "node:crypto";
import OpenAI from "openai";

const client = new OpenAI();
const model = process.env.COCOON_MODEL!;
const messages: OpenAI.Chat.ChatCompletionMessageParam[] = [{ role: "user", content: "Tell me a story." }];

// A refusal has a status, a code, and often the name of the parameter at fault.
try {
  await client.chat.completions.create({ model: "no-such-model", messages });
} catch (error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  console.log(`${error.status} ${error.code}: ${error.message} (request ${error.requestID})`);
  // 402: the balance or the key's cap does not cover the worst case; nothing was charged, and a retry will not help.
  // 429 and 503: the SDK has waited and retried already, as the gateway asked it to.
}

// A stream that is stopped stops its generation too: only what was made is charged.
const stream = await client.chat.completions.create({ model, messages, stream: true });
for await (const chunk of stream) {
  if (chunk.choices[0]?.delta.content) break; // leaving the loop closes the connection
}
console.log("stopped after the first words");

// With an idempotency key a request that is sent twice runs, and is charged, once.
const idempotencyKey = randomUUID();
for (const attempt of [1, 2]) {
  const { data, response } = await client.chat.completions
    .create({ model, messages }, { headers: { "Idempotency-Key": idempotencyKey } })
    .withResponse();
  const replayed = response.headers.get("idempotent-replayed") === "true";
  console.log(`attempt ${attempt}: ${data.id}${replayed ? ", replayed" : ""}`);
}
