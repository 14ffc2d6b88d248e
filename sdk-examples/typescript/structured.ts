// Get an answer that fits a schema: the engine cannot write anything else.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const Person = z.object({ name: z.string().max(40), age: z.number().int().min(0).max(150) });

const client = new OpenAI();
const completion = await client.chat.completions.parse({
  model: process.env.COCOON_MODEL!,
  messages: [{ role: "user", content: "Give me a person as JSON." }],
  response_format: zodResponseFormat(Person, "person"),
});

const person = completion.choices[0].message.parsed;
console.log(`${person?.name} is ${person?.age}`);
