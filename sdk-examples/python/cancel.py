"""Stop an answer early: the worker stops too, and only what it made is charged."""

import os

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY

with client.chat.completions.create(
    model=os.environ["COCOON_MODEL"],
    messages=[{"role": "user", "content": "Tell me a long story."}],
    stream=True,
) as stream:
    pieces = 0
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
            pieces += 1
        if pieces == 3:
            break  # leaving the block closes the connection

print("\nstopped")
