#!/bin/sh
# Sends the same request twice with one key: it is answered and charged once, and the second answer is the first.
# `--retry` makes curl itself send again after 408, 429 or 5xx, as late as the gateway's Retry-After says.
set -eu
key=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
ask() {
  curl --fail-with-body --silent --show-error --retry 3 --retry-max-time 60 \
    --header "Authorization: Bearer $OPENAI_API_KEY" \
    --header "Content-Type: application/json" \
    --header "Idempotency-Key: $key" \
    --data '{"model": "'"$COCOON_MODEL"'", "messages": [{"role": "user", "content": "Tell me a story."}]}' \
    "$OPENAI_BASE_URL/chat/completions"
  echo
}
first=$(ask)
second=$(ask)
[ "$first" = "$second" ]
echo "$first"
