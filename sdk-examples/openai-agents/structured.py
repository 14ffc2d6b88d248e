"""An agent that answers with an object, over chat completions instead of the Responses API."""

import os

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)


class Person(BaseModel):
    name: str
    age: int
    city: str


agent = Agent(
    name="People",
    model=OpenAIChatCompletionsModel(os.environ["COCOON_MODEL"], AsyncOpenAI(timeout=60)),
    model_settings=ModelSettings(temperature=0, max_tokens=200),
    output_type=Person,
)
person = Runner.run_sync(agent, "Give me a person as JSON.").final_output
print(f"{person.name}, {person.age}, lives in {person.city}")
