//! Receipts: what a worker signed, and the gateway's signature over the batch that it was put in.

use cocoon_metering::Usage;
use cocoon_primitives::{RequestId, Timestamp, WalletAddress};
use rusqlite::Row;

use crate::column::Sql;
use crate::tx::Tx;
use crate::{Store, StoreError};

/// Receipts that one call lists or countersigns.
const BATCH_MAX: usize = 1000;

/// A receipt as the worker sent it; the caller has verified it.
#[derive(Debug, Clone)]
pub struct NewReceipt {
    /// The signed bytes, at most 4 KiB.
    pub core: Vec<u8>,
    pub signature: [u8; 64],
    pub salt: [u8; 32],
    pub worker_key: [u8; 32],
    pub attempt: u32,
    /// The usage that the core states; `None` where the receipt is refused and kept only as
    /// evidence, whatever it states.
    pub stated: Option<Usage>,
}

/// Whether a receipt is the bill of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// What it states is what was charged, however late it came: it is countersigned.
    Settled,
    /// Something else was charged, or nothing: kept as evidence, never countersigned, so that no
    /// file claims a charge that was not made.
    Late,
}

/// A receipt that waits for the gateway's signature. The leaf is the caller's to compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncountersigned {
    pub request_id: RequestId,
    pub core: Vec<u8>,
    pub signature: [u8; 64],
}

/// The gateway's signature over a batch, and one receipt's path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Countersignature {
    pub request_id: RequestId,
    pub root: [u8; 32],
    pub signature: [u8; 64],
    pub gateway_key: [u8; 32],
    /// The path, in its owner's encoding, at most 4 KiB.
    pub proof: Vec<u8>,
}

/// A receipt with all that its payer is entitled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRow {
    pub request_id: RequestId,
    pub wallet: WalletAddress,
    /// Opens the payment commitment in the core.
    pub pay_blind: [u8; 32],
    pub core: Vec<u8>,
    pub signature: [u8; 64],
    pub salt: [u8; 32],
    pub worker_key: [u8; 32],
    pub attempt: u32,
    pub standing: Standing,
    pub received_at: Timestamp,
    /// None until its batch is signed.
    pub countersignature: Option<Countersignature>,
}

impl Store {
    /// The receipt of one of the wallet's own requests.
    pub async fn receipt(
        &self,
        wallet: WalletAddress,
        request_id: RequestId,
    ) -> Result<Option<ReceiptRow>, StoreError> {
        self.read("receipt.get", move |tx| {
            tx.find(
                "-- receipt.get
                 SELECT requests.id, wallet, pay_blind, core, signature, salt, worker_key,
                   receipts.attempt, late, received_at, root, gateway_signature, gateway_key, proof
                 FROM requests JOIN receipts ON receipts.request = requests.seq
                 WHERE requests.id = ?1 AND wallet = ?2",
                (Sql(request_id), Sql(wallet)),
                receipt_row,
            )
        })
        .await
    }

    /// Receipts that the gateway has not signed yet, in the order of their requests; at most
    /// `limit` and at most a thousand.
    pub async fn uncountersigned(&self, limit: usize) -> Result<Vec<Uncountersigned>, StoreError> {
        let limit = u32::try_from(limit.min(BATCH_MAX)).expect("a thousand fits in 32 bits");
        self.read("receipt.uncountersigned", move |tx| {
            tx.all(
                "-- receipt.uncountersigned
                 SELECT requests.id, core, signature
                 FROM receipts JOIN requests ON requests.seq = receipts.request
                 WHERE gateway_signature IS NULL AND late = 0 ORDER BY request LIMIT ?1",
                (limit,),
                |row| {
                    Ok(Uncountersigned {
                        request_id: row.get::<_, Sql<_>>(0)?.0,
                        core: row.get(1)?,
                        signature: row.get(2)?,
                    })
                },
            )
        })
        .await
    }

    /// Stores the gateway's signatures, all or none. A receipt keeps the first that it gets.
    pub async fn countersign(&self, signed: Vec<Countersignature>) -> Result<(), StoreError> {
        if signed.len() > BATCH_MAX {
            return Err(StoreError::OutOfRange { operation: "receipt.countersign" });
        }
        self.write("receipt.countersign", move |tx| {
            for one in signed {
                tx.execute(
                    "-- receipt.countersign
                     UPDATE receipts
                     SET root = ?2, gateway_signature = ?3, gateway_key = ?4, proof = ?5
                     WHERE request = (SELECT seq FROM requests WHERE id = ?1)
                       AND gateway_signature IS NULL AND late = 0",
                    (Sql(one.request_id), one.root, one.signature, one.gateway_key, one.proof),
                )?;
            }
            Ok(())
        })
        .await
    }
}

/// Keeps a request's first receipt; later ones change nothing.
pub(crate) fn keep(
    tx: &Tx<'_>,
    request_id: RequestId,
    new: &NewReceipt,
    standing: Standing,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "-- receipt.keep
         INSERT INTO receipts
           (request, attempt, core, signature, salt, worker_key, late, received_at)
         SELECT seq, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM requests WHERE id = ?1
         ON CONFLICT (request) DO NOTHING",
        (
            Sql(request_id),
            new.attempt,
            new.core.as_slice(),
            new.signature,
            new.salt,
            new.worker_key,
            standing == Standing::Late,
            Sql(now),
        ),
    )?;
    Ok(())
}

fn receipt_row(row: &Row<'_>) -> rusqlite::Result<ReceiptRow> {
    let request_id = row.get::<_, Sql<RequestId>>(0)?.0;
    let is_late: bool = row.get(8)?;
    let signature: Option<[u8; 64]> = row.get(11)?;
    let countersignature = match signature {
        None => None,
        Some(signature) => Some(Countersignature {
            request_id,
            root: row.get(10)?,
            signature,
            gateway_key: row.get(12)?,
            proof: row.get(13)?,
        }),
    };
    Ok(ReceiptRow {
        request_id,
        wallet: row.get::<_, Sql<_>>(1)?.0,
        pay_blind: row.get(2)?,
        core: row.get(3)?,
        signature: row.get(4)?,
        salt: row.get(5)?,
        worker_key: row.get(6)?,
        attempt: row.get(7)?,
        standing: if is_late { Standing::Late } else { Standing::Settled },
        received_at: row.get::<_, Sql<_>>(9)?.0,
        countersignature,
    })
}
