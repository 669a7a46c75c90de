//! Figures for `GET /metrics`, in the text form of Prometheus, version 0.0.4.
//!
//! Written by hand on purpose: each figure lives where it arises (the journal, the hosts, the tree) and is read when it is
//! asked for, and what is left is a dozen lines of text. prometheus-client owns its figures and writes OpenMetrics, in
//! which a counter is named differently; the crate `prometheus` writes this form, and owns its figures too.
//!
//! # Invariants
//! 1. What is served is what [`CATALOGUE`] says, and so is docs/metrics.md (tests/system/health.rs).
//! 2. Every label takes its values from a list in this program, or from its configuration: no caller can make a series.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;

use door::outcomes::Counts;
use health::Severity;
use journal::SYNC_BOUNDS;
use supervisors::{Node, NodeState};
use workers::custodian::due_at;
use workers::witness::Standing;

use super::{Desk, health as looked};

/// What a metric is.
pub struct Metric {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    /// Its label, and where that takes its values from.
    pub labels: &'static [&'static str],
}

const fn metric(name: &'static str, kind: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind, help, labels }
}

/// Every metric, in the order of the page.
pub const CATALOGUE: &[Metric] = &[
    metric("sop_up", "gauge", &[], "1 as long as the daemon answers."),
    metric("sop_ready", "gauge", &[], "1 if commands are taken."),
    metric("sop_start_time_seconds", "gauge", &[], "When the process began, in seconds since 1970."),
    metric("sop_health_reasons", "gauge", &["severity"], "Reasons for which not all is well."),
    metric("sop_children", "gauge", &["state"], "Supervised children, supervisors included."),
    metric("sop_restarts_total", "counter", &["group"], "Restarts of children of their own, by the group of the tree."),
    metric("sop_journal_records_total", "counter", &[], "Records that the journal stored."),
    metric("sop_journal_bytes_total", "counter", &[], "Bytes of records that the journal stored."),
    metric("sop_journal_append_seconds", "histogram", &[], "Time to store one group of records, its sync included."),
    metric("sop_journal_head_sequence", "gauge", &[], "The last durable record."),
    metric("sop_log_checkpoint_size", "gauge", &[], "Records that the last signed checkpoint covers."),
    metric("sop_log_lag_records", "gauge", &[], "Durable records that no signed checkpoint covers yet."),
    metric(
        "sop_log_cosigned_size",
        "gauge",
        &[],
        "Records under the last checkpoint with the quorum of witnesses; missing if none is asked for.",
    ),
    metric(
        "sop_witness_cosigned_size",
        "gauge",
        &["witness"],
        "Records under the last checkpoint that a witness cosigned; 0 if none.",
    ),
    metric(
        "sop_witness_lag_records",
        "gauge",
        &["witness"],
        "Signed records that no checkpoint which a witness cosigned covers.",
    ),
    metric("sop_witness_failures_total", "counter", &["witness"], "How often a witness was asked, and did not cosign."),
    metric("sop_subscriptions", "gauge", &[], "Subscriptions."),
    metric(
        "sop_subscription_lag_records",
        "gauge",
        &[],
        "Records that the subscription which is furthest behind has yet to acknowledge or pass over.",
    ),
    metric("sop_approvals_pending", "gauge", &[], "Requests for approvals that wait for somebody to decide."),
    metric("sop_operations_open", "gauge", &[], "Operations that were let in, and are under way."),
    metric("sop_operations_ended_total", "counter", &["outcome"], "Operations that were under way, by how they ended."),
    metric("sop_security_events_total", "counter", &["kind"], "How often something was detected, ever."),
    metric("sop_security_events_new", "gauge", &[], "Security events that nobody has looked at."),
    metric("sop_incidents_open", "gauge", &[], "Incidents that are open."),
    metric("sop_receipts_live", "gauge", &[], "Receipts of what was proven that can be spent."),
    metric("sop_keystore_unsealed", "gauge", &[], "1 if keys can be used; missing if no root key is configured."),
    metric("sop_keys_in_use", "gauge", &[], "Keys that sign."),
    metric(
        "sop_key_due_seconds",
        "gauge",
        &[],
        "Until the first of the keys in use is to be rotated, negative if it should have been; missing if none is.",
    ),
    metric("sop_requests_total", "counter", &["concern", "outcome"], "Requests, by what became of them."),
    metric("sop_denials_total", "counter", &["layer"], "Requests that were said no to, by the layer that did."),
    metric("sop_commands_outstanding", "gauge", &["machine"], "Commands that a machine has taken and not answered."),
    metric("sop_commands_limit", "gauge", &["machine"], "Commands that a machine may have taken and not answered."),
    metric("sop_commands_overload_total", "counter", &["machine"], "Commands that were refused for that limit."),
    metric(
        "sop_snapshot_version",
        "gauge",
        &["machine"],
        "Version of a machine that its last snapshot is of; 0 if none.",
    ),
    metric("sop_snapshot_failures_total", "counter", &["machine"], "Snapshots of a machine that could not be made."),
    metric("sop_disk_free_bytes", "gauge", &[], "Free space on the journal's disk; missing if it cannot be measured."),
    metric(
        "sop_backup_age_seconds",
        "gauge",
        &[],
        "Since the last verified backup was made; missing if none was verified.",
    ),
];

/// A page in the making.
#[derive(Default)]
struct Page {
    text: String,
    next: usize,
}

impl Page {
    /// The samples of the next metric of the catalogue: their labels' values, and the figure.
    fn put<const N: usize>(&mut self, name: &str, samples: impl IntoIterator<Item = ([&'static str; N], f64)>) {
        let labels = self.head(name);
        for (values, figure) in samples {
            let pairs = labels.iter().zip(values).map(|(label, value)| format!("{label}=\"{value}\""));
            let pairs = pairs.collect::<Vec<_>>().join(",");
            self.sample(name, &pairs, figure);
        }
    }

    /// Samples of the witnesses, by their names.
    fn named(&mut self, name: &str, witnesses: &[Standing], figure: impl Fn(&Standing) -> u64) {
        let labels = self.head(name);
        for witness in witnesses {
            let value = witness.name.replace('\\', "\\\\").replace('"', "\\\"");
            self.sample(name, &format!("{}=\"{value}\"", labels[0]), float(figure(witness)));
        }
    }

    fn one(&mut self, name: &str, figure: f64) {
        self.put(name, [([], figure)]);
    }

    fn head(&mut self, name: &str) -> &'static [&'static str] {
        let metric = &CATALOGUE[self.next];
        assert_eq!(metric.name, name, "the page follows the catalogue");
        self.next += 1;
        // Writing to a text cannot fail.
        let _ = write!(self.text, "# HELP {name} {}\n# TYPE {name} {}\n", metric.help, metric.kind);
        metric.labels
    }

    fn sample(&mut self, name: &str, pairs: &dyn Display, figure: f64) {
        let pairs = pairs.to_string();
        let _ = match pairs.as_str() {
            "" => writeln!(self.text, "{name} {figure}"),
            pairs => writeln!(self.text, "{name}{{{pairs}}} {figure}"),
        };
    }
}

#[expect(clippy::cast_precision_loss, reason = "the format has floats only; 2^53 of anything is far away")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The page.
pub fn text(desk: &Desk) -> String {
    let (parts, look) = (&desk.parts, looked::look(desk));
    let figures = parts.journal.figures();
    let mut page = Page::default();
    page.one("sop_up", 1.0);
    page.one("sop_ready", if looked::obstacles(desk).is_empty() { 1.0 } else { 0.0 });
    page.one("sop_start_time_seconds", float(parts.began.0) / 1_000.0);
    let of = |severity| look.reasons.iter().filter(|reason| reason.severity == severity).count() as u64;
    page.put("sop_health_reasons", Severity::ALL.map(|severity| ([severity.as_str()], float(of(severity)))));

    let (mut states, mut restarts) = (BTreeMap::from(STATES.map(|state| (state, 0))), BTreeMap::new());
    if let Some(tree) = parts.tree() {
        let tree = tree.snapshot();
        count(&tree, &mut states);
        for group in GROUPS {
            let node = tree.children.iter().find(|node| node.name == group);
            restarts.insert(group, node.map_or(0, restarted));
        }
    }
    page.put("sop_children", states.into_iter().map(|(state, count)| ([state], float(count))));
    page.put("sop_restarts_total", restarts.into_iter().map(|(group, count)| ([group], float(count))));

    let load = |figure: &std::sync::atomic::AtomicU64| float(figure.load(Ordering::Relaxed));
    page.one("sop_journal_records_total", load(&figures.records));
    page.one("sop_journal_bytes_total", load(&figures.bytes));
    page.head("sop_journal_append_seconds");
    let name = "sop_journal_append_seconds";
    let mut so_far = 0;
    for (class, syncs) in figures.syncs.iter().enumerate() {
        so_far += syncs.load(Ordering::Relaxed);
        let bound = SYNC_BOUNDS.get(class).map_or_else(|| "+Inf".to_owned(), |micros| seconds(*micros).to_string());
        page.sample(&format!("{name}_bucket"), &format!("le=\"{bound}\""), float(so_far));
    }
    page.sample(&format!("{name}_sum"), &"", seconds(figures.sync_micros_sum.load(Ordering::Relaxed)));
    page.sample(&format!("{name}_count"), &"", float(so_far));
    page.one("sop_journal_head_sequence", float(parts.journal.durable().borrow().0));

    let standing = parts.evidence.standing();
    let signed = standing.checkpoint.as_ref().map(|checkpoint| ([], float(checkpoint.size)));
    page.put("sop_log_checkpoint_size", signed);
    page.one("sop_log_lag_records", float(standing.lag));

    let (size, cosigned) = *parts.evidence.sizes().borrow();
    let asked = parts.evidence.witnesses().quorum != 0;
    page.put("sop_log_cosigned_size", asked.then(|| ([], float(cosigned))));
    let witnesses = parts.witnessing.standing();
    let seen = |witness: &Standing| witness.seen.map_or(0, |(seen, _)| seen);
    page.named("sop_witness_cosigned_size", &witnesses, seen);
    page.named("sop_witness_lag_records", &witnesses, |witness| size.saturating_sub(seen(witness)));
    page.named("sop_witness_failures_total", &witnesses, |witness| witness.failures);

    let (subscriptions, lag) = crate::subscriptions::lag(parts);
    page.one("sop_subscriptions", float(subscriptions as u64));
    page.one("sop_subscription_lag_records", float(lag));

    let now = parts.clock.now();
    let pending = parts.approvals_view.read(|approvals| approvals.pending(now));
    page.one("sop_approvals_pending", float(pending as u64));

    let view = parts.door.outcomes_view();
    let (open, Counts { succeeded, failed, unknown, corrected }) = view.read(|now| (now.open().count(), now.counts()));
    page.one("sop_operations_open", float(open as u64));
    let ended = [("succeeded", succeeded), ("failed", failed), ("unknown", unknown), ("corrected", corrected)];
    page.put("sop_operations_ended_total", ended.map(|(outcome, count)| ([outcome], float(count))));
    let (found, new, open) = parts.security_view.read(|security| {
        let new = security.events().filter(|(_, event)| event.triage == ::security::Triage::New).count();
        let open = security.incidents().filter(|(_, incident)| incident.closed.is_none()).count();
        (security.found().collect::<Vec<_>>(), new, open)
    });
    let found = found.into_iter().map(|(kind, count)| ([kind.as_str()], float(count)));
    page.put("sop_security_events_total", found);
    page.one("sop_security_events_new", float(new as u64));
    page.one("sop_incidents_open", float(open as u64));
    let live = parts.proofs_view.read(|proofs| proofs.live(now));
    page.one("sop_receipts_live", float(live as u64));

    let unsealed = parts.safe.source().map(|_| ([], if parts.safe.sealed().is_none() { 1.0 } else { 0.0 }));
    page.put("sop_keystore_unsealed", unsealed);
    let (in_use, due) = parts.crypto_view.read(|keys| {
        let in_use: Vec<_> = ::crypto::Purpose::ALL.into_iter().filter_map(|purpose| keys.active(purpose)).collect();
        let due = |(key, version): &(_, &_)| due_at(*key, version, parts.rotate_every?);
        (in_use.len(), in_use.iter().filter_map(due).min())
    });
    page.one("sop_keys_in_use", float(in_use as u64));
    let due = due.map(|due| (float(due.0) - float(now.0)) / 1_000.0);
    page.put("sop_key_due_seconds", due.map(|due| ([], due)));

    let outcomes = parts.requests.outcomes();
    page.put("sop_requests_total", outcomes.map(|(noun, what, count)| ([noun, what.as_str()], float(count))));
    let denials = parts.requests.denials();
    page.put("sop_denials_total", denials.map(|(layer, count)| ([layer.as_str()], float(count))));
    let machines = parts.machines();
    page.put("sop_commands_outstanding", machines.map(|(name, load)| ([name], float(load.outstanding as u64))));
    page.put("sop_commands_limit", machines.map(|(name, load)| ([name], float(load.limit as u64))));
    page.put("sop_commands_overload_total", machines.map(|(name, load)| ([name], float(load.overloads))));
    page.put("sop_snapshot_version", machines.map(|(name, load)| ([name], float(load.snapshots.version.0))));
    page.put("sop_snapshot_failures_total", machines.map(|(name, load)| ([name], float(load.snapshots.failed))));
    let free = parts.journal.free_bytes();
    page.put("sop_disk_free_bytes", free.map(|bytes| ([], float(bytes))));
    let verified = parts.health_view.read(health::Health::last_verified);
    let age = verified.map(|verified| desk.now() - verified.made);
    page.put("sop_backup_age_seconds", age.map(|age| ([], float(age.0) / 1_000.0)));
    assert_eq!(page.next, CATALOGUE.len(), "every metric is on the page");
    page.text
}

fn seconds(micros: u64) -> f64 {
    float(micros) / 1e6
}

const STATES: [&str; 7] = ["backing_off", "quarantined", "restarting", "running", "starting", "stopped", "stopping"];

/// The groups of the tree.
const GROUPS: [&str; 5] = ["edge", "foundation", "authority", "operations", "protocols"];

fn count(node: &Node, states: &mut BTreeMap<&'static str, u64>) {
    for child in &node.children {
        let state = match child.state {
            NodeState::Starting => "starting",
            NodeState::Running => "running",
            NodeState::Restarting => "restarting",
            NodeState::BackingOff { .. } => "backing_off",
            NodeState::Quarantined { .. } => "quarantined",
            NodeState::Stopping => "stopping",
            NodeState::Stopped => "stopped",
        };
        *states.entry(state).or_default() += 1;
        count(child, states);
    }
}

fn restarted(node: &Node) -> u64 {
    node.restarts + node.children.iter().map(restarted).sum::<u64>()
}
