//! What is known to be wrong.

use std::sync::{Mutex, PoisonError};

use cocoon_primitives::RequestId;

use super::super::event::Event;
use crate::trust::Doubt;

/// The first reason stays.
#[derive(Default)]
pub(in crate::command::proxy) struct Latch {
    doubt: Mutex<Option<Doubt>>,
}

impl Latch {
    pub(in crate::command::proxy) fn check(&self) -> Result<(), Doubt> {
        match &*self.doubt.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(doubt) => Err(doubt.clone()),
        }
    }

    /// Refuses all further requests.
    pub(in crate::command::proxy) fn close(&self, doubt: Doubt, request_id: Option<RequestId>) {
        Event::Doubt { code: doubt.code, reason: &doubt.reason, request_id }.print();
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(doubt);
    }
}
