"""Ask once, however often it is sent: an idempotency key makes a retry safe for your balance.

A client that lost its connection does not know whether its request was answered, and charged. With the same key it
can ask again: the gateway gives the first answer once more, and charges nothing for it.
"""

import os
import uuid

from openai import OpenAI

client = OpenAI(max_retries=5)  # the package's own retries carry the same headers, so the same key
key = f"order-{uuid.uuid4()}"  # one per thing that you want to happen once


def ask():
    return client.chat.completions.with_raw_response.create(
        model=os.environ["COCOON_MODEL"],
        messages=[{"role": "user", "content": "Tell me a story."}],
        extra_headers={"Idempotency-Key": key},
    )


first, second = ask(), ask()
assert first.parse() == second.parse()
print(first.parse().choices[0].message.content)
print(f"the second is a replay: {second.headers.get('idempotent-replayed', 'false')}")
