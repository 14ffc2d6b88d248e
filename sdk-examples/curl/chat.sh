#!/bin/sh
# Asks one question and prints headers and answer.
set -eu
question=${1:-Hello!}
curl --fail-with-body --silent --show-error --include \
  --header "Authorization: Bearer $OPENAI_API_KEY" \
  --header "Content-Type: application/json" \
  --data '{"model": "'"$COCOON_MODEL"'", "messages": [{"role": "user", "content": "'"$question"'"}]}' \
  "$OPENAI_BASE_URL/chat/completions"
echo
