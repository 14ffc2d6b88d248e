//! What Intel would publish about the platform: TCB info, the quoting enclave, revocation lists.

use dcap_qvl::QuoteCollateralV3;
use serde_json::json;

use super::{
    CPU_SVN, FMSPC, PCE_SVN, PCK, Platform, QE_PRODUCT, QE_SIGNER, QE_VERSION, TCB_EVALUATION,
    TEE_SVN,
};
use crate::softtee::{Published, Window, civil, x509};

/// When its TCB level was published: a fixed date of the past.
const TCB_DATE: &str = "1970-01-01T00:00:00Z";

impl Platform {
    /// Collateral that holds during `window`, in JSON.
    pub(in crate::softtee) fn collateral(&self, window: Window, published: &Published) -> Vec<u8> {
        let tcb_info = tcb_info(window, published);
        let qe_identity = qe_identity(window);
        let revoked = published.is_revoked.then(|| x509::serial(PCK, &self.pck));
        let pck_chain = x509::pem(&[&self.platform_ca_der, &self.root_der]);
        let tcb_chain = x509::pem(&[&self.tcb_signer_der, &self.root_der]);
        let collateral = QuoteCollateralV3 {
            pck_crl_issuer_chain: pck_chain,
            root_ca_crl: self.root.revocations(window, &[]),
            pck_crl: self.platform_ca.revocations(window, revoked.as_slice()),
            tcb_info_issuer_chain: tcb_chain.clone(),
            tcb_info_signature: self.tcb_signer.sign_raw(tcb_info.as_bytes()),
            tcb_info,
            qe_identity_issuer_chain: tcb_chain,
            qe_identity_signature: self.tcb_signer.sign_raw(qe_identity.as_bytes()),
            qe_identity,
            pck_certificate_chain: None,
        };
        serde_json::to_vec(&collateral).expect("strings and bytes are JSON")
    }
}

fn tcb_info(window: Window, published: &Published) -> String {
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": civil(window.from).to_string(),
        "nextUpdate": civil(window.until).to_string(),
        "fmspc": hex::encode_upper(FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": TCB_EVALUATION,
        "tdxModule": {
            "mrsigner": "00".repeat(48),
            "attributes": "00".repeat(8),
            "attributesMask": "FF".repeat(8),
        },
        "tcbLevels": [{
            "tcb": {
                "sgxtcbcomponents": components(&CPU_SVN),
                "pcesvn": PCE_SVN,
                "tdxtcbcomponents": components(&TEE_SVN),
            },
            "tcbDate": TCB_DATE,
            "tcbStatus": published.tcb_status,
            "advisoryIDs": published.advisories,
        }],
    })
    .to_string()
}

fn qe_identity(window: Window) -> String {
    json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": civil(window.from).to_string(),
        "nextUpdate": civil(window.until).to_string(),
        "tcbEvaluationDataNumber": TCB_EVALUATION,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "00".repeat(16),
        "attributesMask": "FF".repeat(16),
        "mrsigner": hex::encode_upper(QE_SIGNER),
        "isvprodid": QE_PRODUCT,
        "tcbLevels": [{
            "tcb": { "isvsvn": QE_VERSION },
            "tcbDate": TCB_DATE,
            "tcbStatus": "UpToDate",
        }],
    })
    .to_string()
}

fn components(svns: &[u8; 16]) -> Vec<serde_json::Value> {
    svns.iter().map(|svn| json!({ "svn": svn })).collect()
}
