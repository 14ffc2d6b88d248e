#!/bin/sh
# Signs a new wallet in and makes an API key, with the `cocoon` client: it holds the wallet and signs the ton_proof.
set -eu
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cocoon() { command cocoon --home "$home" --base-url "$OPENAI_BASE_URL" "$@"; }
cocoon wallet create
cocoon login
cocoon keys create --name example
cocoon balance
