//! Quotes of Intel TDX: real ones with the verdict that each must get, and every way to bend them.

use cocoon_attest::verify::tdx::{
    Claims, Collateral, DateFault, GuestFault, Part, Refusal, appraise,
};
use cocoon_attest::verify::{Outcome, Verdict};

use crate::evidence::{day, sample};

const COCOON: Case = Case {
    quote: "cocoon_quote.dat",
    collateral: "tdx_quote_outdated_collateral.json",
    date: "2026-03-01",
};
const DCAP: Case =
    Case { quote: "tdx_quote", collateral: "tdx_quote_collateral.json", date: "2025-06-20" };
const EXTENDED: Case = Case {
    quote: "tdx_quote_td15ex",
    collateral: "tdx_quote_td15ex_collateral.json",
    date: "2026-10-10",
};
const GOOGLE: Case = Case { quote: "gtg_quote_v5_sample.dat", ..COCOON };
const FLASHBOTS: Case = Case {
    quote: "fb_dcap-tdx-1766059550570652607",
    collateral: "fb_dcap-quote-collateral-00.json",
    date: "2026-02-01",
};

/// A quote, its collateral, and the day of its judgement.
#[derive(Clone, Copy)]
struct Case {
    quote: &'static str,
    collateral: &'static str,
    date: &'static str,
}

impl Case {
    const fn on(self, date: &'static str) -> Self {
        Self { date, ..self }
    }

    fn quote(self) -> Option<Vec<u8>> {
        sample("tdx", self.quote)
    }

    fn collateral(self) -> Option<Collateral> {
        Some(Collateral::parse(&sample("tdx", self.collateral)?).expect("a collateral file"))
    }

    fn judge(self) -> Option<Verdict<Claims, Refusal>> {
        Some(appraise(&self.quote()?, &self.collateral()?, None, day(self.date)).expect("a quote"))
    }
}

#[test]
fn quotes_of_up_to_date_platforms_are_accepted() {
    for (case, version, eval, fmspc, ppid) in [
        (COCOON, 4, 18, "90c06f000000", Some("ed8ccfd483682eae3651ccf5a224e872")),
        (DCAP, 4, 17, "b0c06f000000", None),
        (EXTENDED, 5, 20, "b0c06f000000", None),
        (GOOGLE, 5, 18, "90c06f000000", None),
        (FLASHBOTS, 4, 18, "00806f050000", None),
    ] {
        let Some(verdict) = case.judge() else { return };
        assert_eq!(verdict.refusal(), None, "{}", case.quote);
        let claims = verdict.accepted().unwrap();
        assert_eq!(claims.quote_version, version, "{}", case.quote);
        assert_eq!(claims.tcb_eval_data_number, eval, "{}", case.quote);
        assert_eq!(claims.fmspc.to_string(), fmspc, "{}", case.quote);
        if let Some(ppid) = ppid {
            assert_eq!(claims.ppid.to_string(), ppid);
        }
    }
}

#[test]
fn what_was_not_judged_is_said() {
    let Some(verdict) = COCOON.judge() else { return };
    let open: Vec<_> = verdict
        .checks()
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::NotChecked(_)))
        .map(|check| check.name)
        .collect();
    assert_eq!(open, ["nonce", "measurements"]);
}

#[test]
fn each_refusal_has_its_reason() {
    let early = Refusal::Collateral(Part::TcbInfo, DateFault::NotYetValid);
    let late = Refusal::Collateral(Part::TcbInfo, DateFault::Expired);
    let sgx = Case { quote: "sgx_quote", collateral: "sgx_quote_collateral.json", ..DCAP };
    let debug = Case {
        quote: "trustee_tdx_quote_4.dat",
        collateral: "gotdxguest_50806f_collateral_2023-06.json",
        date: "2023-06-30",
    };
    let elsewhere = Case { quote: "tdx_quote", ..COCOON };
    for (case, expected) in [
        (DCAP.on("2025-06-18"), early),
        (DCAP.on("2025-07-20"), late.clone()),
        (DCAP.on("2026-11-22"), late),
        (sgx, Refusal::NotTdx),
        (debug, Refusal::Guest(GuestFault::Debug)),
        (elsewhere, Refusal::OtherPlatform),
    ] {
        let Some(verdict) = case.judge() else { return };
        assert_eq!(verdict.refusal(), Some(&expected), "{} on {}", case.quote, case.date);
        assert_eq!(verdict.accepted(), None);
        assert_eq!(verdict.claims(), None);
    }
}

/// The same quote as [`DCAP`]'s, after Intel published what had been found in the meantime.
#[test]
fn a_platform_that_fell_behind_is_refused_with_its_advisories() {
    let case = Case { collateral: "td15ex_nopck.json", date: "2026-10-10", ..DCAP };
    let Some(verdict) = case.judge() else { return };
    let Some(Refusal::TcbStatus { advisories, .. }) = verdict.refusal() else {
        panic!("{:?}", verdict.refusal());
    };
    let expected = ["INTEL-SA-01192", "INTEL-SA-01245", "INTEL-SA-01312", "INTEL-SA-01313"];
    assert_eq!(advisories.as_slice(), expected);
    assert_eq!(verdict.accepted(), None);
    assert!(verdict.claims().is_some());
}

#[test]
fn the_nonce_is_the_whole_report_data() {
    let (Some(quote), Some(collateral)) = (COCOON.quote(), COCOON.collateral()) else { return };
    let judge =
        |nonce: &[u8]| appraise(&quote, &collateral, Some(nonce), day(COCOON.date)).unwrap();
    let data = COCOON.judge().unwrap().accepted().unwrap().report_data.0;
    assert!(judge(&data).accepted().is_some());
    for wrong in [&data[..32], &[], &[0; 64], &[data.as_slice(), &[0]].concat()] {
        assert_eq!(judge(wrong).refusal(), Some(&Refusal::Nonce), "{}", wrong.len());
    }
}

#[test]
fn bytes_behind_a_quote_are_zero() {
    let (Some(mut quote), Some(collateral)) = (COCOON.quote(), COCOON.collateral()) else { return };
    let last = quote.len() - 1;
    assert_eq!(quote[last], 0);
    quote[last] = 1;
    let verdict = appraise(&quote, &collateral, None, day(COCOON.date)).unwrap();
    assert_eq!(verdict.refusal(), Some(&Refusal::BytesBehind));
}
