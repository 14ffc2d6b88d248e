"""Let the model call a function of yours: ask, run what it calls, give the results back, print the answer."""

import json
import os
import sys

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
question = sys.argv[1] if len(sys.argv) > 1 else "What is the weather in Paris?"
ROUNDS_MAX = 4


def get_weather(city: str) -> dict:
    return {"temperature": 21, "sky": "sunny"}  # a real program would look it up


FUNCTIONS = {"get_weather": get_weather}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather for a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]

messages = [{"role": "user", "content": question}]
for _ in range(ROUNDS_MAX):
    completion = client.chat.completions.create(
        model=os.environ["COCOON_MODEL"], messages=messages, tools=TOOLS, temperature=0
    )
    message = completion.choices[0].message
    messages.append(message)
    if not message.tool_calls:
        print(message.content)
        break
    for call in message.tool_calls:
        print(f"{call.function.name}({call.function.arguments})")
        # The arguments were written by a model: they may be anything.
        result = FUNCTIONS[call.function.name](**json.loads(call.function.arguments))
        messages.append(
            {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}
        )
