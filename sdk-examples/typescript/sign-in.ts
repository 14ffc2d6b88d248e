// Sign in with a TON wallet and make an API key, as a wallet app would: ton_proof, then POST /v1/keys.
// The wallet is a W5 wallet made from 24 words; without MNEMONIC a new one is made, which has no balance.

import { createHash } from "node:crypto";
import { beginCell, storeStateInit } from "@ton/core";
import { mnemonicNew, mnemonicToPrivateKey, sign } from "@ton/crypto";
import { WalletContractV5R1 } from "@ton/ton";

const base = process.env.OPENAI_BASE_URL!;
const domain = process.env.COCOON_DOMAIN ?? "localhost";
const networkGlobalId = Number(process.env.TON_NETWORK ?? -3); // -239 is the main network

async function post<T>(path: string, body: unknown, token?: string): Promise<T> {
  const response = await fetch(base + path, {
    method: "POST",
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

const sha256 = (...parts: Uint8Array[]) => createHash("sha256").update(Buffer.concat(parts)).digest();

function littleEndian(value: number, bytes: 4 | 8): Buffer {
  const out = Buffer.alloc(bytes);
  if (bytes === 4) out.writeUInt32LE(value);
  else out.writeBigUInt64LE(BigInt(value));
  return out;
}

const words = process.env.MNEMONIC?.split(/\s+/) ?? (await mnemonicNew());
const keys = await mnemonicToPrivateKey(words);
const wallet = WalletContractV5R1.create({ publicKey: keys.publicKey, walletId: { networkGlobalId } });

const challenge = await post<{ payload: string; attempt: string }>("/auth/ton-proof/payload", {});

// The message of ton_proof: who, for which domain, when, and the gateway's nonce.
const timestamp = Math.floor(Date.now() / 1000);
const workchain = Buffer.alloc(4);
workchain.writeInt32BE(wallet.address.workChain);
const message = sha256(
  Buffer.from("ton-proof-item-v2/"),
  workchain,
  wallet.address.hash,
  littleEndian(Buffer.byteLength(domain), 4),
  Buffer.from(domain),
  littleEndian(timestamp, 8),
  Buffer.from(challenge.payload),
);
const digest = sha256(Buffer.from([0xff, 0xff]), Buffer.from("ton-connect"), message);

const session = await post<{ token: string }>("/auth/ton-proof", {
  attempt: challenge.attempt,
  address: wallet.address.toRawString(),
  network: String(networkGlobalId),
  publicKey: keys.publicKey.toString("hex"),
  walletStateInit: beginCell().store(storeStateInit(wallet.init)).endCell().toBoc().toString("base64"),
  proof: {
    timestamp,
    domain: { lengthBytes: Buffer.byteLength(domain), value: domain },
    payload: challenge.payload,
    signature: sign(digest, keys.secretKey).toString("base64"),
  },
});

const made = await post<{ key: string }>("/keys", { name: "typescript" }, session.token);
console.log(`wallet ${wallet.address.toString({ bounceable: false, testOnly: networkGlobalId === -3 })}`);
console.log(`OPENAI_API_KEY=${made.key}`);
