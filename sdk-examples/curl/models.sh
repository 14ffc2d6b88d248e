#!/bin/sh
# Lists the models that are served now, with their prices.
set -eu
curl --fail-with-body --silent --show-error \
  --header "Authorization: Bearer $OPENAI_API_KEY" \
  "$OPENAI_BASE_URL/models"
echo
