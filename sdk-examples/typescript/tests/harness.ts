// A conversation shows features of one client on a live gateway; each feature is one line of JSON.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export { assert };

export const model = process.env.COCOON_MODEL!;
export const embeddingModel = process.env.COCOON_EMBEDDING_MODEL!;
export const baseURL = process.env.OPENAI_BASE_URL!;
export const apiKey = process.env.OPENAI_API_KEY!;

const SECONDS_MAX = 120;

export class Client {
  readonly name: string;
  readonly version: string;
  failures = 0;

  constructor(name: string, packageName: string) {
    this.name = name;
    const path = new URL(`../node_modules/${packageName}/package.json`, import.meta.url);
    this.version = (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
  }

  async shows(features: string[], talk: () => Promise<void>) {
    const chosen = process.argv.slice(2);
    if (chosen.length > 0 && !features.some((feature) => chosen.some((start) => feature.startsWith(start)))) return;
    const started = performance.now();
    let error: string | undefined;
    let timer: NodeJS.Timeout | undefined;
    try {
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no end in ${SECONDS_MAX} s`)), SECONDS_MAX * 1000);
      });
      await Promise.race([talk(), late]);
    } catch (thrown) {
      error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      this.failures += 1;
    } finally {
      clearTimeout(timer);
    }
    const seconds = Math.round(performance.now() - started) / 1000;
    for (const feature of features) {
      console.log(
        JSON.stringify({ client: this.name, version: this.version, feature, passed: !error, seconds, error }),
      );
    }
  }
}

// What the demo model was trained to call.
export const weather = {
  name: "get_weather",
  description: "Current weather of a city",
  parameters: {
    type: "object" as const,
    properties: { city: { type: "string" as const } },
    required: ["city"],
    additionalProperties: false as const,
  },
};
export const forecast = JSON.stringify({ weather: "sunny", temperature: 21 });
export const question = "What is the capital of France?";
export const weatherQuestion = "What is the weather in Osaka?";
export const story = "Tell me a story.";

// Ids of the tokens that end an answer: out of reach, a story goes on to its limit.
export const endless = { "0": -100, "2": -100 };
