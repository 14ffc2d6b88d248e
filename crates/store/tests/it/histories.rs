//! Random histories of requests against a model that counts in plain numbers.

use std::collections::BTreeMap;

use cocoon_primitives::{Nano, Timestamp};
use cocoon_store::{Reservation, ReserveOutcome, SettleOutcome, Settlement};
use proptest::prelude::*;

use crate::fixture::{Fixture, KEY, id, nano, reservation, settlement};

const CREDIT: u64 = 300;
const CAP: u64 = 200;

#[derive(Debug, Clone)]
enum Step {
    Reserve { number: u64, amount: u64, lifetime: u64, keyed: bool },
    Settle { number: u64, tokens: u64 },
    Expire,
    Wait { ms: u64 },
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Open { amount: u64, expires_at: u64, keyed: bool },
    Settled { charge: u64 },
    Expired,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    fates: BTreeMap<u64, Fate>,
    charged: u64,
    spent: u64,
}

impl Model {
    fn held(&self, only_keyed: bool) -> u64 {
        let held = self.fates.values().map(|fate| match fate {
            Fate::Open { amount, keyed, .. } if *keyed || !only_keyed => *amount,
            _ => 0,
        });
        held.sum()
    }

    fn reserve(
        &mut self,
        number: u64,
        amount: u64,
        expires_at: u64,
        keyed: bool,
    ) -> ReserveOutcome {
        if self.fates.contains_key(&number) {
            return ReserveOutcome::Duplicate;
        }
        let remaining = CAP - self.spent - self.held(true);
        if keyed && amount > remaining {
            return ReserveOutcome::KeyCapReached { remaining: nano(remaining) };
        }
        let available = CREDIT - self.charged - self.held(false);
        if amount > available {
            return ReserveOutcome::InsufficientFunds { available: nano(available) };
        }
        self.fates.insert(number, Fate::Open { amount, expires_at, keyed });
        ReserveOutcome::Reserved
    }

    fn settle(&mut self, number: u64, tokens: u64) -> SettleOutcome {
        let Some(fate) = self.fates.get_mut(&number) else { return SettleOutcome::Unknown };
        match *fate {
            Fate::Open { expires_at, .. } if self.now >= expires_at => {
                *fate = Fate::Expired;
                SettleOutcome::Expired
            }
            Fate::Open { amount, keyed, .. } => {
                let charge = tokens.min(amount);
                *fate = Fate::Settled { charge };
                self.charged += charge;
                self.spent += if keyed { charge } else { 0 };
                SettleOutcome::Settled { charge: nano(charge), worker_share: nano(charge * 9 / 10) }
            }
            Fate::Settled { charge } => SettleOutcome::AlreadySettled { charge: nano(charge) },
            Fate::Expired => SettleOutcome::Expired,
        }
    }

    fn expire(&mut self) -> Vec<u64> {
        let now = self.now;
        let is_due =
            |fate: &Fate| matches!(fate, Fate::Open { expires_at, .. } if now >= *expires_at);
        let due = self.fates.iter_mut().filter(|(_, fate)| is_due(fate));
        let expire = |(number, fate): (&u64, &mut Fate)| {
            *fate = Fate::Expired;
            *number
        };
        due.map(expire).collect()
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..12, 0u64..150, 0u64..40, any::<bool>()).prop_map(
            |(number, amount, lifetime, keyed)| Step::Reserve { number, amount, lifetime, keyed }
        ),
        4 => (0u64..12, 0u64..200).prop_map(|(number, tokens)| Step::Settle { number, tokens }),
        1 => Just(Step::Expire),
        1 => (1u64..30).prop_map(|ms| Step::Wait { ms }),
    ]
}

async fn run(steps: Vec<Step>) {
    let fixture = Fixture::with_credit(CREDIT).await;
    fixture.key(Some(CAP)).await;
    let mut model = Model::default();
    for step in steps {
        let now = Timestamp::from_millis(model.now);
        match step {
            Step::Reserve { number, amount, lifetime, keyed } => {
                let expires_at = model.now + lifetime;
                let asked = Reservation {
                    key: keyed.then_some(KEY),
                    created_at: now,
                    expires_at: Timestamp::from_millis(expires_at),
                    ..reservation(number, amount)
                };
                let outcome = fixture.store.reserve(asked).await.expect("it answers");
                assert_eq!(outcome, model.reserve(number, amount, expires_at, keyed));
            }
            Step::Settle { number, tokens } => {
                let done = Settlement { settled_at: now, ..settlement(number, tokens) };
                let outcome = fixture.store.settle(done).await.expect("it answers");
                assert_eq!(outcome, model.settle(number, tokens));
            }
            Step::Expire => {
                let mut expired =
                    fixture.store.expire_reservations(now, 100).await.expect("it answers");
                expired.sort();
                assert_eq!(expired, model.expire().into_iter().map(id).collect::<Vec<_>>());
            }
            Step::Wait { ms } => model.now += ms,
        }
        let balance = fixture.balance().await;
        assert_eq!(balance.charged, nano(model.charged));
        assert_eq!(balance.reserved, nano(model.held(false)));
        assert!(balance.available >= Nano::ZERO);
    }
    fixture.assert_clean().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_history_agrees_with_the_model(steps in prop::collection::vec(any_step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(run(steps));
    }
}
