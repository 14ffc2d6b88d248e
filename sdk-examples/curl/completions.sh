#!/bin/sh
# Goes on with a text, without the frame of a chat.
set -eu
prompt=${1:-Once upon a time,}
curl --fail-with-body --silent --show-error \
  --header "Authorization: Bearer $OPENAI_API_KEY" \
  --header "Content-Type: application/json" \
  --data '{"model": "'"$COCOON_MODEL"'", "prompt": "'"$prompt"'", "max_tokens": 24}' \
  "$OPENAI_BASE_URL/completions"
echo
