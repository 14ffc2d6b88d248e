//! `GET /v1/receipts/{id}`: the file that anybody can verify offline, for its payer alone.

use axum::Json;
use axum::extract::State;
use cocoon_attest::receipt::batch::Proof;
use cocoon_attest::receipt::{Opening, ReceiptFile, ReceiptFileParts};
use cocoon_primitives::RequestId;
use cocoon_store::{Countersignature, ReceiptRow, RequestState, Standing, Store};

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
    let Some(row) = store.receipt(principal.wallet, id).await? else {
        let request = store.request(id).await?.filter(|row| row.wallet == principal.wallet);
        let is_running = request.is_some_and(|row| row.state == RequestState::Open);
        return Err(if is_running { Problem::ReceiptPending } else { unknown() });
    };
    match (&row.countersignature, row.standing) {
        (Some(signed), _) => Ok(Json(file(&row, signed)?)),
        (None, Standing::Settled) => Err(Problem::ReceiptPending),
        // It came when the request was over, so it is no bill and is never countersigned.
        (None, Standing::Late) => Err(unknown()),
    }
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
