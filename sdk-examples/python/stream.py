"""Print an answer as it is made, and what it took at the end."""

import os
import sys

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
question = sys.argv[1] if len(sys.argv) > 1 else "Hello!"

stream = client.chat.completions.create(
    model=os.environ["COCOON_MODEL"],
    messages=[{"role": "user", "content": question}],
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    if chunk.usage:
        print(f"\nusage: {chunk.usage.prompt_tokens} + {chunk.usage.completion_tokens} tokens")
