// Find which of a few texts is nearest to a question.

import OpenAI from "openai";

const client = new OpenAI();
const texts = ["The capital of France is Paris.", "Seven plus eight is fifteen.", "It is sunny in Osaka."];
const question = process.argv[2] ?? "Which city is the capital of France?";

const { data, usage } = await client.embeddings.create({
  model: process.env.COCOON_EMBEDDING_MODEL!,
  input: [question, ...texts],
});
const [asked, ...known] = data.map((item) => item.embedding);
const ranked = texts
  .map((text, i) => ({ text, score: known[i].reduce((sum, x, j) => sum + x * asked[j], 0) }))
  .sort((a, b) => b.score - a.score);

for (const { text, score } of ranked) console.log(score.toFixed(3), text);
console.log(`usage: ${usage.prompt_tokens} tokens`);
