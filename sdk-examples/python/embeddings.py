"""Which of some sentences is the nearest to a question? Embeddings, compared by their angle."""

import os

from openai import OpenAI

client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY
QUESTION = "Where do foxes sleep?"
SENTENCES = ["A fox sleeps in its den.", "The gateway has a price for each model.", "Paris is in France."]


def cosine(a, b):
    length = sum(x * x for x in a) ** 0.5 * sum(y * y for y in b) ** 0.5
    return sum(x * y for x, y in zip(a, b, strict=True)) / length


answer = client.embeddings.create(
    model=os.environ["COCOON_EMBEDDING_MODEL"], input=[QUESTION, *SENTENCES]
)
question, *others = (row.embedding for row in answer.data)

print(f"{len(question)} dimensions, {answer.usage.prompt_tokens} tokens")
for near, sentence in sorted(
    ((cosine(question, other), text) for other, text in zip(others, SENTENCES, strict=True)),
    reverse=True,
):
    print(f"{near:+.3f}  {sentence}")
