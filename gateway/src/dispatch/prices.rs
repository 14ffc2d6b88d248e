//! What each model costs at this gateway.

use std::collections::HashMap;

use cocoon_metering::PriceRow;
use cocoon_primitives::ModelName;

/// One model's price, and the most that one of its answers may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelPrice {
    pub row: PriceRow,
    /// Completion tokens of one choice; `None` leaves it to the context and the gateway's limit.
    pub completion_tokens_max: Option<u64>,
}

/// The configured prices. A model without one is not sold: for a client it does not exist.
#[derive(Debug, Clone, Default)]
pub struct PriceList {
    named: HashMap<ModelName, ModelPrice>,
    any: Option<ModelPrice>,
}

impl PriceList {
    /// `any` is the price of every served model that `named` leaves out.
    pub fn new(
        named: impl IntoIterator<Item = (ModelName, ModelPrice)>,
        any: Option<ModelPrice>,
    ) -> Self {
        Self { named: named.into_iter().collect(), any }
    }

    pub fn row(&self, model: &ModelName) -> Option<&ModelPrice> {
        self.named.get(model).or(self.any.as_ref())
    }

    /// Whether some model costs nothing at all.
    pub fn has_free(&self) -> bool {
        self.all().any(|price| price.row == PriceRow::default())
    }

    fn all(&self) -> impl Iterator<Item = &ModelPrice> {
        self.named.values().chain(&self.any)
    }

    /// Whether the model has a price of its own, and so exists even while nobody serves it.
    pub fn names(&self, model: &ModelName) -> bool {
        self.named.contains_key(model)
    }
}
