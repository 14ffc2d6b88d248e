"""Go on with a text, without the frame of a chat; and three ways to go on, in one request."""

import os

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY

completion = client.completions.create(
    model=os.environ["COCOON_MODEL"],
    prompt="Once upon a time,",
    max_tokens=24,  # 16 where it is not given
    n=3,
    temperature=1,
    stop=["."],
)
for choice in completion.choices:
    print(f"{choice.index}:{choice.text} [{choice.finish_reason}]")
print(f"usage: {completion.usage.prompt_tokens} + {completion.usage.completion_tokens} tokens")
