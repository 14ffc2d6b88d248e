//! Membership and placement.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cocoon_attest::appraisal::Appraised;
use cocoon_attest::enrol::{Attested, Refusal, WorkloadModel};
use cocoon_attest::lease::Lease;
use cocoon_attest::policy::Policy;
use cocoon_attest::renewal::Renewed;
use cocoon_primitives::{Assurance, LeaseId, ModelName, Timestamp, WorkerId};

use crate::member::Member;
use crate::quarantine::Quarantine;
use crate::{Load, NotAdmitted, Pick, ServedModel, Unavailable};

/// Model names remembered at most. A model whose workers left is `NoWorker` while it is among
/// them, and unknown past that; what is served now is never unknown.
const NAMES_MAX: usize = 4096;

/// The workers of one gateway.
#[derive(Debug)]
pub struct Fleet<L> {
    members: HashMap<WorkerId, Member<L>>,
    /// Names that some worker served.
    names: BTreeSet<ModelName>,
    /// Workers that may not come back under the same id.
    quarantined: Quarantine,
}

impl<L: Clone> Default for Fleet<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Clone> Fleet<L> {
    pub fn new() -> Self {
        Self { members: HashMap::new(), names: BTreeSet::new(), quarantined: Quarantine::default() }
    }

    /// Admits a worker. One that was a member under another lease is replaced: its old link is
    /// returned, to be closed.
    pub fn admit(
        &mut self,
        attested: Attested,
        link: L,
        now: Timestamp,
    ) -> Result<Option<L>, NotAdmitted> {
        self.check(&attested, now)?;
        let (lease, appraised) = attested.into_parts();
        Ok(self.insert(lease, Arc::new(appraised), link, now))
    }

    /// Whether [`Self::admit`] would take this worker now.
    pub fn check(&self, attested: &Attested, now: Timestamp) -> Result<(), NotAdmitted> {
        self.judge(attested.lease(), attested.appraised(), now)
    }

    pub(crate) fn judge(
        &self,
        lease: &Lease,
        appraised: &Appraised,
        now: Timestamp,
    ) -> Result<(), NotAdmitted> {
        if self.quarantined.contains(lease.worker_id) {
            return Err(NotAdmitted::Quarantined);
        }
        let devices: BTreeSet<&str> = hardware(appraised).collect();
        for (worker, member) in &self.members {
            // Its own former connection is about to be replaced.
            if *worker == lease.worker_id || !member.is_open(now) {
                continue;
            }
            if hardware(&member.appraised).any(|serial| devices.contains(serial)) {
                return Err(NotAdmitted::GpuInUse);
            }
            let mut models = lease.models.iter();
            let differs = |model: &WorkloadModel| {
                member.lease.model(&model.name).is_some_and(|other| other.kind != model.kind)
            };
            if models.any(differs) {
                return Err(NotAdmitted::ModelKind);
            }
        }
        Ok(())
    }

    pub(crate) fn insert(
        &mut self,
        lease: Lease,
        appraised: Arc<Appraised>,
        link: L,
        now: Timestamp,
    ) -> Option<L> {
        for model in &lease.models {
            if self.names.len() < NAMES_MAX {
                self.names.insert(model.name.clone());
            }
        }
        let worker = lease.worker_id;
        self.members.insert(worker, Member::new(lease, appraised, link, now)).map(|old| old.link)
    }

    /// Whether this model is served now, or was, as far as names are remembered.
    pub fn knows(&self, model: &ModelName) -> bool {
        self.names.contains(model)
            || self.members.values().any(|member| member.lease.model(model).is_some())
    }

    /// Picks a worker for one request and counts the request until [`Self::finished`].
    ///
    /// `assurance` is what the client was told: where the model is served with another one now,
    /// there is no worker for this request. `random` is 64 random bits; `exclude` are the workers
    /// that this request already tried.
    pub fn pick(
        &mut self,
        model: &ModelName,
        assurance: Assurance,
        now: Timestamp,
        random: u64,
        exclude: &[WorkerId],
    ) -> Result<Pick<L>, Unavailable> {
        let wanted = Wanted { model, assurance, among: None, exclude };
        self.choose(&wanted, now, random)
    }

    /// As [`Self::pick`], but only among these workers: a sealed request opens nowhere else.
    #[expect(clippy::too_many_arguments, reason = "one more than a plain pick has")]
    pub fn pick_among(
        &mut self,
        workers: &[WorkerId],
        model: &ModelName,
        assurance: Assurance,
        now: Timestamp,
        random: u64,
        exclude: &[WorkerId],
    ) -> Result<Pick<L>, Unavailable> {
        let wanted = Wanted { model, assurance, among: Some(workers), exclude };
        self.choose(&wanted, now, random)
    }

    fn choose(
        &mut self,
        wanted: &Wanted<'_>,
        now: Timestamp,
        random: u64,
    ) -> Result<Pick<L>, Unavailable> {
        if !self.knows(wanted.model) {
            return Err(Unavailable::UnknownModel);
        }
        if self.assurance(wanted.model, now) != Some(wanted.assurance) {
            return Err(Unavailable::NoWorker);
        }
        let serving: Vec<&Member<L>> =
            self.members.values().filter(|member| wanted.is_met_by(member, now)).collect();
        if serving.is_empty() {
            return Err(Unavailable::NoWorker);
        }
        let free: Vec<&Member<L>> =
            serving.into_iter().filter(|member| member.has_room()).collect();
        if free.is_empty() {
            return Err(Unavailable::Saturated);
        }
        // A worker that failed lately serves only where nobody else is left.
        let sound: Vec<&Member<L>> =
            free.iter().copied().filter(|member| !member.is_suspended(now)).collect();
        let worker = less_loaded(if sound.is_empty() { free } else { sound }, random);
        let member = self.members.get_mut(&worker).ok_or(Unavailable::NoWorker)?;
        member.in_flight = member.in_flight.saturating_add(1);
        Ok(Pick { worker, lease: Arc::clone(&member.lease), link: member.link.clone() })
    }

    /// A request that was picked under this lease ended, however it ended. A newer lease of the
    /// same worker began at zero and does not count it.
    pub fn finished(&mut self, worker: WorkerId, lease: LeaseId) {
        if let Some(member) = self.members.get_mut(&worker)
            && member.lease.lease_id == lease
        {
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }

    /// The worker reported its load.
    pub fn load(&mut self, worker: WorkerId, load: Load) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.load = load;
        }
    }

    /// The lease was prolonged, and rests on this appraisal, the last of its connection. A lease
    /// that was replaced meanwhile stays as it is.
    pub fn renewed(&mut self, renewed: Renewed, appraised: Arc<Appraised>) {
        let lease = renewed.into_lease();
        if let Some(member) = self.members.get_mut(&lease.worker_id)
            && member.lease.lease_id == lease.lease_id
        {
            member.lease = Arc::new(lease);
            member.appraised = appraised;
        }
    }

    /// Judges every member anew, by what it proved. Those that the policy does not admit are gone
    /// when this returns; the leases of others end no later than the policy allows.
    pub fn reappraise(
        &mut self,
        policy: &Policy,
        now: Timestamp,
    ) -> Vec<(WorkerId, LeaseId, Refusal, L)> {
        let mut ended = Vec::new();
        self.members.retain(|worker, member| match policy.admit(&member.appraised, now) {
            Ok(admission) => {
                if admission.until < member.lease.expires {
                    let lease = Lease { expires: admission.until, ..(*member.lease).clone() };
                    member.lease = Arc::new(lease);
                }
                true
            }
            Err(refusal) => {
                ended.push((*worker, member.lease.lease_id, refusal, member.link.clone()));
                false
            }
        });
        ended
    }

    /// Nothing new goes to this worker under this lease; what runs, finishes.
    pub fn drain(&mut self, worker: WorkerId, lease: LeaseId) {
        if let Some(member) = self.members.get_mut(&worker)
            && member.lease.lease_id == lease
        {
            member.draining = true;
        }
    }

    /// The connection of this lease is gone. A newer lease of the same worker stays.
    pub fn remove(&mut self, worker: WorkerId, lease: LeaseId) {
        if self.members.get(&worker).is_some_and(|member| member.lease.lease_id == lease) {
            self.members.remove(&worker);
        }
    }

    /// The worker failed a request: it is passed over for a while, longer each time.
    pub fn strike(&mut self, worker: WorkerId, now: Timestamp) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.strike(now);
        }
    }

    /// Takes a worker out and keeps it out: it gets nothing new, and its id is refused until 16384
    /// others were quarantined after it. What runs on its link, which is returned, may finish. An id is a key
    /// that only its holder can give up, so a worker comes back with another key alone.
    pub fn quarantine(&mut self, worker: WorkerId) -> Option<L> {
        self.quarantined.insert(worker);
        self.members.remove(&worker).map(|member| member.link)
    }

    /// Whether [`Self::admit`] refuses this worker for what it did.
    pub fn is_quarantined(&self, worker: WorkerId) -> bool {
        self.quarantined.contains(worker)
    }

    /// Drains every worker whose lease has ended, and returns those links.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(WorkerId, L)> {
        let mut ended = Vec::new();
        for (worker, member) in &mut self.members {
            if !member.draining && !member.lease.is_live(now) {
                member.draining = true;
                ended.push((*worker, member.link.clone()));
            }
        }
        ended
    }

    /// Every worker that may be picked now, with what it proved, by id.
    pub fn attested(&self, now: Timestamp) -> Vec<(Arc<Lease>, Arc<Appraised>, L)> {
        let open = self.members.values().filter(|member| member.is_open(now));
        let mut open: Vec<_> = open
            .map(|member| {
                (Arc::clone(&member.lease), Arc::clone(&member.appraised), member.link.clone())
            })
            .collect();
        open.sort_unstable_by_key(|(lease, _, _)| lease.worker_id);
        open
    }

    /// Requests that were picked for this worker and have not finished.
    pub fn in_flight(&self, worker: WorkerId) -> u32 {
        self.members.get(&worker).map_or(0, |member| member.in_flight)
    }

    /// Members, draining ones included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What can be asked for now, by name.
    pub fn models(&self, now: Timestamp) -> Vec<ServedModel> {
        let mut served: BTreeMap<&ModelName, ServedModel> = BTreeMap::new();
        let mut open: Vec<_> = self.members.values().filter(|member| member.is_open(now)).collect();
        // What is one worker's to say, the one with the least id says, whoever came first.
        open.sort_unstable_by_key(|member| member.lease.worker_id);
        for member in open {
            for model in &member.lease.models {
                if self.assurance(&model.name, now) != Some(member.lease.assurance) {
                    continue;
                }
                let entry = served.entry(&model.name).or_insert_with(|| ServedModel {
                    name: model.name.clone(),
                    kind: model.kind,
                    context_length: model.context_length,
                    assurance: member.lease.assurance,
                    workers: 0,
                    is_demo: model.is_demo,
                    owned_by: model.owned_by.clone(),
                });
                entry.workers += 1;
                entry.is_demo |= model.is_demo;
                entry.context_length = entry.context_length.min(model.context_length);
            }
        }
        served.into_values().collect()
    }

    /// Which kind of worker serves a model: hardware as long as one such worker has a live lease,
    /// also while it drains. When the last one is gone, new requests may go to software and say
    /// so; a request that was promised hardware may not, see [`Self::pick`].
    fn assurance(&self, model: &ModelName, now: Timestamp) -> Option<Assurance> {
        let mut found = None;
        for member in self.members.values() {
            if member.lease.is_live(now) && member.lease.model(model).is_some() {
                if member.lease.assurance == Assurance::Hardware {
                    return Some(Assurance::Hardware);
                }
                found = Some(Assurance::Software);
            }
        }
        found
    }
}

/// The serial numbers of the devices, where hardware's maker stands behind them. Software's are the same on
/// every platform of one seed.
fn hardware(appraised: &Appraised) -> impl Iterator<Item = &str> {
    let is_hardware = appraised.software_roots.devices.is_none();
    let devices = appraised.devices.iter().filter(move |_| is_hardware);
    devices.map(|device| device.device_serial.as_str())
}

/// What a request may be served by.
struct Wanted<'a> {
    model: &'a ModelName,
    assurance: Assurance,
    /// `None`: any worker.
    among: Option<&'a [WorkerId]>,
    exclude: &'a [WorkerId],
}

impl Wanted<'_> {
    fn is_met_by<L>(&self, member: &Member<L>, now: Timestamp) -> bool {
        let worker = &member.lease.worker_id;
        member.serves(self.model, now)
            && member.lease.assurance == self.assurance
            && self.among.is_none_or(|among| among.contains(worker))
            && !self.exclude.contains(worker)
    }
}

/// The less loaded of two that the random bits name: no herd runs to one idle worker.
fn less_loaded<L>(mut candidates: Vec<&Member<L>>, random: u64) -> WorkerId {
    candidates.sort_unstable_by_key(|member| member.lease.worker_id);
    let count = u64::try_from(candidates.len()).expect("a fleet fits in 64 bits");
    let at = |index: u64| usize::try_from(index).expect("below the fleet's size");
    let first = candidates[at((random & 0xffff_ffff) % count)];
    if count == 1 {
        return first.lease.worker_id;
    }
    // The second differs from the first: an offset of 1 to count - 1 behind it.
    let offset = 1 + (random >> 32) % (count - 1);
    let second = candidates[at(((random & 0xffff_ffff) % count + offset) % count)];
    let better = if second.is_less_loaded_than(first) { second } else { first };
    better.lease.worker_id
}
