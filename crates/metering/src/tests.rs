use proptest::prelude::*;

use super::*;

fn nano(amount: u64) -> Nano {
    Nano::new(amount).expect("test amounts are small enough")
}

fn price(prompt: u64, cached: u64, completion: u64) -> PriceRow {
    let per_million = |amount| TokenPrice::per_million(nano(amount));
    PriceRow {
        prompt: per_million(prompt),
        cached: per_million(cached),
        completion: per_million(completion),
    }
}

fn usage(prompt: u64, cached: u64, completion: u64) -> Usage {
    Usage {
        prompt: TokenCount::new(prompt),
        cached: TokenCount::new(cached),
        completion: TokenCount::new(completion),
        reasoning: TokenCount::ZERO,
    }
}

#[test]
fn charge_sums_exactly_and_rounds_up_once() {
    for (row, used, expected) in [
        (price(0, 0, 0), usage(1000, 0, 1000), 0),
        (price(50_000_000, 25_000_000, 200_000_000), usage(0, 0, 0), 0),
        (price(50_000_000, 25_000_000, 200_000_000), usage(10, 0, 3), 1100),
        (price(50_000_000, 25_000_000, 200_000_000), usage(10, 4, 3), 1000),
        // Three parts of a third each make one nano-coin, not three.
        (price(1, 1, 1), usage(2, 1, 1), 1),
        (price(1, 1, 1), usage(1_000_000, 0, 1), 2),
        // More cached tokens than prompt tokens are not charged.
        (price(1_000_000, 1_000_000, 0), usage(5, 9, 0), 5),
        (
            price(Nano::MAX.get(), Nano::MAX.get(), Nano::MAX.get()),
            usage(u64::MAX, 7, u64::MAX),
            Nano::MAX.get(),
        ),
    ] {
        assert_eq!(charge(&row, &used), nano(expected), "{row:?} {used:?}");
    }
}

#[test]
fn split_gives_the_remainder_to_the_commission() {
    for (amount, commission_bp, worker) in [
        (0, 500, 0),
        (1, 0, 1),
        (1, 1, 0),
        (100, 500, 95),
        (101, 500, 95),
        (7, 10_000, 0),
        (7, 60_000, 0),
    ] {
        let parts = split(nano(amount), commission_bp);
        assert_eq!(parts.worker, nano(worker), "{amount} at {commission_bp}");
    }
}

#[test]
fn limits_take_the_smallest() {
    let tokens = TokenCount::new;
    assert_eq!(prompt_bound(tokens(4096), 100, tokens(64)), tokens(164));
    assert_eq!(prompt_bound(tokens(4096), 10_000, tokens(64)), tokens(4096));
    assert_eq!(prompt_bound(tokens(4096), u64::MAX, tokens(64)), tokens(4096));
    assert_eq!(completion_limit(None, tokens(512), tokens(1000)), tokens(512));
    assert_eq!(completion_limit(Some(tokens(5)), tokens(512), tokens(1000)), tokens(5));
    assert_eq!(completion_limit(Some(tokens(5000)), tokens(512), tokens(100)), tokens(100));
}

prop_compose! {
    fn any_price()(
        prompt in 0..=Nano::MAX.get(),
        cached in 0..=Nano::MAX.get(),
        completion in 0..=Nano::MAX.get(),
        shift in 0u32..63,
    ) -> PriceRow {
        price(prompt >> shift, cached >> shift, completion >> shift)
    }
}

prop_compose! {
    fn any_usage()(
        prompt in any::<u64>(), cached in any::<u64>(), completion in any::<u64>(), shift in 0u32..64,
    ) -> Usage {
        usage(prompt >> shift, cached >> shift, completion >> shift)
    }
}

proptest! {
    #[test]
    fn a_charge_within_its_limits_is_at_most_the_quote(
        row in any_price(), used in any_usage(), more_prompt in 0u64..1000, more_completion in 0u64..1000,
    ) {
        let prompt_max = used.prompt.saturating_add(TokenCount::new(more_prompt));
        let completion_max = used.completion.saturating_add(TokenCount::new(more_completion));
        prop_assert!(charge(&row, &used) <= quote(&row, prompt_max, completion_max));
    }

    #[test]
    fn more_tokens_never_cost_less(row in any_price(), used in any_usage(), more in 0u64..1_000_000) {
        let more = TokenCount::new(more);
        let longer = Usage { completion: used.completion.saturating_add(more), ..used };
        prop_assert!(charge(&row, &longer) >= charge(&row, &used));
        // A longer prompt with as many of its tokens cached.
        let cached = used.cached.min(used.prompt);
        let prompt = Usage { prompt: used.prompt.saturating_add(more), cached, ..used };
        prop_assert!(charge(&row, &prompt) >= charge(&row, &used));
    }

    #[test]
    fn the_charge_is_less_than_one_above_the_exact_sum(
        row in any_price(), used in any_usage(),
    ) {
        let cached = used.cached.min(used.prompt);
        let exact = row.prompt.micro_nano(used.prompt.saturating_sub(cached))
            + row.cached.micro_nano(cached)
            + row.completion.micro_nano(used.completion);
        let charged = u128::from(charge(&row, &used).get());
        if charged < u128::from(Nano::MAX.get()) {
            prop_assert!(charged * 1_000_000 >= exact);
            prop_assert!(charged * 1_000_000 < exact + 1_000_000);
        }
    }

    #[test]
    fn shares_add_up_to_the_charge(amount in 0..=Nano::MAX.get(), commission_bp in any::<u16>()) {
        let parts = split(nano(amount), commission_bp);
        prop_assert_eq!(parts.worker.checked_add(parts.commission), Some(nano(amount)));
    }
}
