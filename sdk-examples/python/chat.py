"""Ask one question and print the answer, what it took, and the receipt's id."""

import os
import sys

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
question = sys.argv[1] if len(sys.argv) > 1 else "Hello!"

response = client.chat.completions.with_raw_response.create(
    model=os.environ["COCOON_MODEL"],
    messages=[{"role": "user", "content": question}],
)
completion = response.parse()

print(completion.choices[0].message.content)
print(f"usage: {completion.usage.prompt_tokens} + {completion.usage.completion_tokens} tokens")
print(f"receipt: {response.headers['cocoon-receipt-id']}")
