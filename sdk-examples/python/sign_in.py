"""Sign in with a TON wallet and make an API key: what a wallet application does, by hand.

The wallet signs a text of the gateway's (ton_proof of TON Connect), never a payment, and its seed stays here. The
session that comes back manages keys and reads the account; only an API key can spend.
"""

import base64
import hashlib
import json
import os
import struct
import time
import urllib.parse
import urllib.request

from nacl.signing import SigningKey

BASE_URL = os.environ["OPENAI_BASE_URL"]
NETWORK = os.environ.get("COCOON_NETWORK", "-3")  # -239 is mainnet, -3 the test network

# The code of wallet v3r2, one cell; newer versions sign the same way.
WALLET_CODE = bytes.fromhex(
    "ff0020dd2082014c97ba218201339cbab19f71b0ed44d0d31fd31f31d70bffe304e0a4f2608308d71820d31fd31fd31ff82313bbf263ed44d0"
    "d31fd31fd3ffd15132baf2a15144baf2a204f901541055f910f2a3f8009320d74a96d307d402fb00e8d101a4c8cb1fcb1fcbffc9ed54"
)
SUBWALLET_ID = 698983191  # what wallet applications use in workchain 0


class Cell:
    """Some data and references to other cells, with the hash that stands for all of it."""

    def __init__(self, data, references=(), five_bits=False):
        self.references = references
        depth = 1 + max(cell.depth for cell in references) if references else 0
        self.depth = depth
        # Two descriptor bytes: how many references, how much data; an incomplete last byte ends in a 1 and zeros.
        size = 2 * len(data) - 1 if five_bits else 2 * len(data)
        self.body = bytes([len(references), size]) + data
        parts = [self.body]
        parts += [struct.pack(">H", cell.depth) for cell in references]
        parts += [cell.hash for cell in references]
        self.hash = hashlib.sha256(b"".join(parts)).digest()


def state_init(public_key):
    """Code and first data of the wallet; the hash of this cell is the wallet's address."""
    code = Cell(WALLET_CODE)
    data = Cell(struct.pack(">II", 0, SUBWALLET_ID) + public_key)
    # Five bits, 00110: code and data, nothing else. Then the mark that ends an incomplete byte.
    root = Cell(bytes([0b00110_100]), [code, data], five_bits=True)
    bodies = [root.body + bytes([1, 2]), code.body, data.body]
    content = b"".join(bodies)
    # A bag of cells: magic, one byte per index, two bytes per offset; three cells, one root, none absent.
    header = bytes.fromhex("b5ee9c72") + bytes([1, 2, 3, 1, 0]) + struct.pack(">H", len(content)) + bytes([0])
    return root.hash, base64.b64encode(header + content).decode()


def call(path, body, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(BASE_URL + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def domain():
    """The host that a person sees; wallets sign for names, so every loopback address is localhost."""
    url = urllib.parse.urlsplit(BASE_URL)
    if url.hostname in ("127.0.0.1", "::1", "localhost"):
        return "localhost"
    return url.netloc


def sign_in(key):
    """The wallet's address and a session."""
    address, init = state_init(key.verify_key.encode())
    challenge = call("/auth/ton-proof/payload", {})
    name, now = domain(), int(time.time())
    message = b"ton-proof-item-v2/" + struct.pack(">i", 0) + address
    message += struct.pack("<I", len(name)) + name.encode() + struct.pack("<Q", now)
    message += challenge["payload"].encode()
    digest = hashlib.sha256(b"\xff\xffton-connect" + hashlib.sha256(message).digest()).digest()
    session = call(
        "/auth/ton-proof",
        {
            "attempt": challenge["attempt"],
            "address": f"0:{address.hex()}",
            "network": NETWORK,
            "publicKey": key.verify_key.encode().hex(),
            "walletStateInit": init,
            "proof": {
                "timestamp": now,
                "domain": {"lengthBytes": len(name), "value": name},
                "payload": challenge["payload"],
                "signature": base64.b64encode(key.sign(digest).signature).decode(),
            },
        },
    )
    return f"0:{address.hex()}", session["token"]


if __name__ == "__main__":
    wallet = SigningKey.generate()  # a real program keeps its seed, with care: it is the wallet
    owner, token = sign_in(wallet)
    print(f"signed in as {owner}")
    print(f"OPENAI_API_KEY={call('/keys', {'name': 'example'}, token)['key']}")
