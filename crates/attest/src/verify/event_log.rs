//! What a worker measured into its guest after the boot: which models, which rules for GPUs, and that
//! nothing may follow.
//!
//! Shape: an [`EventLog`] is the list; [`EventLog::rtmr3`] replays it as TDX does, and
//! [`EventLog::host_data`] is the digest by which an SEV-SNP guest is bound to it.
//! Invariants: a log has one encoding; every digest is recomputed from the payloads; the three required
//! events stand once each, in their order, and nothing else does.

use sha2::{Digest as _, Sha384};

use crate::cbor::{CborError, Decoder, Encoder};

/// Bytes of an encoded log at most.
pub const LOG_BYTES_MAX: usize = 256 * 1024;
pub const EVENTS_MAX: usize = 64;
pub const NAME_BYTES_MAX: usize = 64;
pub const PAYLOAD_BYTES_MAX: usize = 4096;

/// Digests of manifests in one event at most: what its payload has room for.
pub const MANIFESTS_MAX: usize = 64;

/// The required events.
pub const MODEL_MANIFEST: &str = "model-manifest";
pub const GPU_POLICY: &str = "gpu-policy";
pub const SYSTEM_READY: &str = "system-ready";

const DOMAIN: &[u8] = b"cocoon/event/v1\0";

/// One thing that was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// At most 64 bytes.
    pub name: String,
    /// At most 4096 bytes.
    pub payload: Vec<u8>,
}

/// What was measured about GPUs before the worker served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuPolicy {
    pub gpu_count: u32,
    /// Confidential computing is on, on each of them.
    pub cc_on: bool,
    /// Developers' tools are on, on any of them.
    pub devtools: bool,
}

/// Events in the order in which they were measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog(Vec<Event>);

/// Why a log is none, or not the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventLogError {
    #[error("it is too large")]
    TooLarge,
    #[error("it is not a list of named events: {0}")]
    Encoding(#[from] CborError),
    #[error("its events are not the three required ones, once each and in their order")]
    Events,
    #[error("it names other models than the workload")]
    Models,
    #[error("it names other rules for GPUs than the workload")]
    Gpus,
}

impl EventLogError {
    /// The name that scripts branch on; it never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "event_log_too_large",
            Self::Encoding(_) => "event_log_encoding",
            Self::Events => "event_log_events",
            Self::Models => "event_log_models",
            Self::Gpus => "event_log_gpus",
        }
    }
}

impl EventLog {
    pub fn new(events: Vec<Event>) -> Result<Self, EventLogError> {
        let fits = |event: &Event| {
            event.name.len() <= NAME_BYTES_MAX && event.payload.len() <= PAYLOAD_BYTES_MAX
        };
        let is_small = events.len() <= EVENTS_MAX && events.iter().all(fits);
        let log = Self(events);
        if is_small && log.encode().len() <= LOG_BYTES_MAX {
            Ok(log)
        } else {
            Err(EventLogError::TooLarge)
        }
    }

    /// The three required events of a worker that serves models with these manifests.
    pub fn of_worker(manifests: &[[u8; 32]], gpus: GpuPolicy) -> Result<Self, EventLogError> {
        let event = |name: &str, payload| Event { name: name.to_owned(), payload };
        let manifests = manifests_payload(manifests).ok_or(EventLogError::TooLarge)?;
        Self::new(vec![
            event(MODEL_MANIFEST, manifests),
            event(GPU_POLICY, gpus_payload(gpus)),
            event(SYSTEM_READY, Vec::new()),
        ])
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, EventLogError> {
        if bytes.len() > LOG_BYTES_MAX {
            return Err(EventLogError::TooLarge);
        }
        let mut reader = Decoder::new(bytes);
        let count = reader.array(EVENTS_MAX)?;
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            if reader.array(2)? != 2 {
                return Err(CborError::Range.into());
            }
            let name = reader.text(NAME_BYTES_MAX)?.to_owned();
            let payload = reader.bytes(PAYLOAD_BYTES_MAX)?.to_vec();
            events.push(Event { name, payload });
        }
        reader.finish()?;
        Ok(Self(events))
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new();
        out.array(self.0.len());
        for event in &self.0 {
            out.array(2).text(&event.name).bytes(&event.payload);
        }
        out.into_bytes()
    }

    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// What the fourth run-time register of a TDX guest has, if these events alone went into it.
    pub fn rtmr3(&self) -> [u8; 48] {
        self.0.iter().fold([0; 48], |register, event| {
            Sha384::new().chain_update(register).chain_update(event.digest()).finalize().into()
        })
    }

    /// What the host of an SEV-SNP guest put beside it, if the guest has this log.
    pub fn host_data(&self) -> [u8; 32] {
        crate::sha256(&[&self.encode()])
    }

    /// Whether it is exactly the log of a worker that serves models with these manifests under these
    /// rules for GPUs.
    pub fn check(&self, manifests: &[[u8; 32]], gpus: GpuPolicy) -> Result<(), EventLogError> {
        let [models, gpu_policy, ready] = self.0.as_slice() else {
            return Err(EventLogError::Events);
        };
        let names = [&models.name, &gpu_policy.name, &ready.name];
        if names != [MODEL_MANIFEST, GPU_POLICY, SYSTEM_READY] || !ready.payload.is_empty() {
            return Err(EventLogError::Events);
        }
        if manifests_payload(manifests).as_ref() != Some(&models.payload) {
            return Err(EventLogError::Models);
        }
        if gpu_policy.payload != gpus_payload(gpus) {
            return Err(EventLogError::Gpus);
        }
        Ok(())
    }
}

impl Event {
    /// What is extended into the register.
    pub fn digest(&self) -> [u8; 48] {
        let name_bytes = u32::try_from(self.name.len()).expect("a name has at most 64 bytes");
        Sha384::new()
            .chain_update(DOMAIN)
            .chain_update(name_bytes.to_be_bytes())
            .chain_update(&self.name)
            .chain_update(&self.payload)
            .finalize()
            .into()
    }
}

/// Sorted, each once; none where they are too many.
fn manifests_payload(manifests: &[[u8; 32]]) -> Option<Vec<u8>> {
    let sorted: std::collections::BTreeSet<_> = manifests.iter().collect();
    if sorted.len() > MANIFESTS_MAX {
        return None;
    }
    let mut out = Encoder::new();
    out.array(sorted.len());
    for manifest in sorted {
        out.bytes(manifest);
    }
    Some(out.into_bytes())
}

fn gpus_payload(gpus: GpuPolicy) -> Vec<u8> {
    let mut out = Encoder::new();
    out.array(3).unsigned(u64::from(gpus.gpu_count));
    out.unsigned(u64::from(gpus.cc_on)).unsigned(u64::from(gpus.devtools));
    out.into_bytes()
}

#[cfg(test)]
mod tests;
