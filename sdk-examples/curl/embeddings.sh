#!/bin/sh
# The vectors of two sentences.
set -eu
curl --fail-with-body --silent --show-error \
  --header "Authorization: Bearer $OPENAI_API_KEY" \
  --header "Content-Type: application/json" \
  --data '{"model": "'"$COCOON_EMBEDDING_MODEL"'", "input": ["A fox sleeps in its den.", "Paris is in France."]}' \
  "$OPENAI_BASE_URL/embeddings"
echo
