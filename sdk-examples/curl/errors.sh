#!/bin/sh
# What refusals look like: a status, an error object, and headers that say whether to try again, and when.
set -eu
ask() {
  curl --silent --show-error --include \
    --header "Authorization: Bearer $1" \
    --header "Content-Type: application/json" \
    --data "$2" \
    "$OPENAI_BASE_URL/chat/completions"
  printf '\n\n'
}
hello='"messages": [{"role": "user", "content": "Hello!"}]'
ask "sk-cocoon-wrong" '{"model": "'"$COCOON_MODEL"'", '"$hello"'}'
ask "$OPENAI_API_KEY" '{"model": "no-such-model", '"$hello"'}'
ask "$OPENAI_API_KEY" '{"model": "'"$COCOON_MODEL"'", "temperature": 9, '"$hello"'}'
