//! A message's parts, for whoever passes them on in other forms than the message.

use crate::enrol::{Refusal, UnverifiedEvidence, report_data};
use crate::evidence::{Device, Evidence};

/// What a message is made of. Nothing of it is verified: that is [`super::examine`].
#[derive(Debug, Clone)]
pub struct MessageParts {
    pub evidence: Evidence,
    pub devices: Vec<Device>,
    /// What the quote or report has to be over.
    pub report_data: [u8; 64],
}

impl MessageParts {
    pub fn read(message: &[u8]) -> Result<Self, Refusal> {
        let message = UnverifiedEvidence::decode(message)?;
        let devices = Device::decode_list(&message.dev)?;
        let report_data = report_data(&message.bind);
        Ok(Self { evidence: message.evidence, devices, report_data })
    }
}
