//! `GET /v1/receipts/{id}`: the file that anybody can verify offline, for its payer alone.
//!
//! A file is made only of a receipt that states what was charged, so that none claims a charge
//! that was not made. Where there is no file the answer says which it is: `receipt_pending` (ask
//! again), `receipt_none` (nobody signed one; one that still comes will be found here) or
//! `receipt_late` (one came that is not what was charged).

use axum::Json;
use axum::extract::State;
use cocoon_attest::receipt::batch::Proof;
use cocoon_attest::receipt::{Opening, ReceiptFile, ReceiptFileParts};
use cocoon_primitives::RequestId;
use cocoon_store::{Countersignature, Outcome, ReceiptRow, RequestState, Standing, Store};

use crate::auth::Principal;
use crate::edge::path::PathText;
use crate::edge::problem::Problem;

/// Somebody else's receipt and one that never was look the same.
pub(in crate::api) async fn get(
    principal: Principal,
    PathText(id): PathText,
    State(store): State<Store>,
) -> Result<Json<ReceiptFile>, Problem> {
    let unknown = || Problem::NotFound { what: "receipt", code: "receipt_not_found" };
    let id: RequestId = id.parse().map_err(|_| unknown())?;
    let request = store.request(id).await?.filter(|row| row.wallet == principal.wallet);
    let request = request.ok_or_else(unknown)?;
    let Some(row) = store.receipt(principal.wallet, id).await? else {
        return Err(absent(request.state));
    };
    match (&row.countersignature, row.standing) {
        (Some(signed), _) => Ok(Json(file(&row, signed)?)),
        (None, Standing::Settled) => Err(Problem::ReceiptPending),
        (None, Standing::Late) => Err(Problem::ReceiptLate { charged: request.charge }),
    }
}

/// Why a request has no receipt.
fn absent(state: RequestState) -> Problem {
    let why = match state {
        RequestState::Open => return Problem::ReceiptPending,
        RequestState::Settled(Outcome::WorkerLost) => "the worker was lost before it signed",
        RequestState::Settled(Outcome::ClientGone) => {
            "the client left and the worker has not signed since"
        }
        RequestState::Settled(Outcome::Refused) => "no worker answered, and nothing was charged",
        RequestState::Settled(Outcome::Failed | Outcome::Completed) => {
            "the worker signed none that is valid"
        }
        RequestState::Expired => "the request was never settled, and nothing was charged",
    };
    Problem::ReceiptNone { why }
}

fn file(row: &ReceiptRow, signed: &Countersignature) -> Result<ReceiptFile, Problem> {
    let broken = |_| Problem::ReceiptBroken;
    let proof = Proof::from_bytes(&signed.proof).map_err(broken)?;
    ReceiptFile::new(&ReceiptFileParts {
        core: &row.core,
        signature: &row.signature,
        worker_key: &row.worker_key,
        salt: Some(&row.salt),
        gateway_key: &signed.gateway_key,
        gateway_signature: &signed.signature,
        root: &signed.root,
        proof: &proof,
        opening: Some(Opening::of_account(row.wallet, &row.pay_blind)),
    })
    .map_err(|_| Problem::ReceiptBroken)
}

#[cfg(test)]
mod tests;
