"""LangChain: an answer as it is made, an object instead of text, and a function that the model calls."""

import os

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

# Reads OPENAI_API_KEY. A stream tells its usage only where `stream_usage` asks for it.
model = ChatOpenAI(
    model=os.environ["COCOON_MODEL"],
    base_url=os.environ["OPENAI_BASE_URL"],
    stream_usage=True,
    temperature=0,
    max_completion_tokens=200,
    timeout=60,
    max_retries=2,
)

usage = None
for chunk in model.stream("What is the capital of France?"):
    print(chunk.content, end="", flush=True)
    usage = chunk.usage_metadata or usage
print(f"\nusage: {usage['input_tokens']} + {usage['output_tokens']} tokens")


class Person(BaseModel):
    name: str
    age: int
    city: str


person = model.with_structured_output(Person).invoke("Give me a person as JSON.")
print(f"{person.name}, {person.age}, lives in {person.city}")


@tool
def get_weather(city: str) -> str:
    """Get the current weather for a city."""
    return '{"temperature": 21, "sky": "sunny"}'  # a real program would look it up


with_tools = model.bind_tools([get_weather])
messages = [HumanMessage("What is the weather in Paris?")]
messages.append(with_tools.invoke(messages))
for call in messages[-1].tool_calls:
    print(f"{call['name']}({call['args']})")
    messages.append(get_weather.invoke(call))
print(with_tools.invoke(messages).content)
