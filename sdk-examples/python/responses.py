"""The Responses API: one answer whole, one as it is made, one that calls a function.

The gateway keeps nothing, so a conversation is sent again with every request: what the model said is in
`response.output`, ready to be sent back.
"""

import json
import os

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
model = os.environ["COCOON_MODEL"]

response = client.responses.create(model=model, input="What is the capital of France?")
print(response.output_text)

with client.responses.stream(model=model, input="Count to 5.") as stream:
    for event in stream:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
    usage = stream.get_final_response().usage
print(f"\nusage: {usage.input_tokens} + {usage.output_tokens} tokens")

tools = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "Get the current weather for a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    }
]
items = [{"role": "user", "content": "What is the weather in Paris?"}]
response = client.responses.create(model=model, input=items, tools=tools)
items += response.output
for item in response.output:
    if item.type == "function_call":
        print(f"{item.name}({item.arguments})")
        result = {"temperature": 21, "sky": "sunny"}
        items.append(
            {"type": "function_call_output", "call_id": item.call_id, "output": json.dumps(result)}
        )
print(client.responses.create(model=model, input=items, tools=tools).output_text)
