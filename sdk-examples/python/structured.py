"""Get an object instead of text: the schema is enforced while the answer is made, so it always fits."""

import os

from openai import OpenAI
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int
    city: str


client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY

completion = client.chat.completions.parse(
    model=os.environ["COCOON_MODEL"],
    messages=[{"role": "user", "content": "Give me a person as JSON."}],
    response_format=Person,  # becomes a json_schema
    # A schema bounds the shape of an answer, not its length.
    max_completion_tokens=200,
)
person = completion.choices[0].message.parsed
print(f"{person.name}, {person.age}, lives in {person.city}")
