"""The wallet's books as its owner sees them, and what a request must have done to them."""

import json
import time
import urllib.error
import urllib.request

# A cancelled request is settled with its worker's receipt, or without one after ten seconds.
SETTLE_SECONDS_MAX = 20
POLL_SECONDS = 0.05


class Account:
    def __init__(self, base_url, key):
        self.base_url = base_url
        self.key = key

    def get(self, path):
        request = urllib.request.Request(
            self.base_url + path, headers={"Authorization": f"Bearer {self.key}"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def balance(self):
        """The balance, which must add up at any moment."""
        balance = self.get("/balance")
        assert balance["available_nano"] == (
            balance["credited_nano"] - balance["charged_nano"] - balance["reserved_nano"]
        ), balance
        return balance

    def settled(self):
        """The balance once nothing is reserved any more."""
        return wait_for(lambda: (b := self.balance())["reserved_nano"] == 0 and b, "a reservation is left")

    def row(self, request_id):
        """The finished request in the usage list."""

        def find():
            rows = self.get("/usage?limit=50")["data"]
            return next((row for row in rows if row["request_id"] == request_id), None)

        return wait_for(find, f"{request_id} is not in the usage list")

    def price(self, model):
        """The model's published price row."""
        models = self.get("/models")["data"]
        return next(m for m in models if m["id"] == model)["pricing_nano_per_million"]

    def receipt(self, request_id):
        def find():
            try:
                return self.get(f"/receipts/{request_id}")
            except urllib.error.HTTPError as error:
                assert error.code == 404, error
                return None

        return wait_for(find, f"{request_id} has no receipt")


def wait_for(find, otherwise):
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while not (found := find()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(POLL_SECONDS)
    return found


def metered(usage, price):
    """What tokens cost: exact products, summed, rounded up once to whole nano-coins."""
    fresh = usage["prompt_tokens"] - usage["cached_tokens"]
    micro_nano = (
        fresh * price["prompt"]
        + usage["cached_tokens"] * price["cached"]
        + usage["completion_tokens"] * price["completion"]
    )
    return -(-micro_nano // 1_000_000)
