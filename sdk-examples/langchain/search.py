"""Finds the text that is nearest to a question, in LangChain's store in memory."""

import os

from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings

embeddings = OpenAIEmbeddings(
    model=os.environ["COCOON_EMBEDDING_MODEL"],
    base_url=os.environ["OPENAI_BASE_URL"],
    # Texts go as they are. Otherwise the package cuts them into OpenAI's tokens, which are not this model's, with a
    # table that it downloads.
    check_embedding_ctx_length=False,
)
store = InMemoryVectorStore.from_texts(
    ["A fox sleeps in its den.", "The gateway has a price for each model.", "Paris is in France."],
    embeddings,
)
for text, score in store.similarity_search_with_score("Where do foxes sleep?", k=3):
    print(f"{score:+.3f}  {text.page_content}")
