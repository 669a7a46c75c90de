//! The one catalogue of what can be asked of the authority under a policy.
//!
//! `system.stop`, `system.resume` and `system.status` are not in it: capability decides them, so that no policy can keep
//! an operator from stopping. Nor are `approval.request` and `proof.submit`: whom approvals or proofs alone keep from something
//! may ask for them, or prove it.

/// Something that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// `concern.verb`: the name in policies, in the audit record and on the wire.
    pub name: &'static str,
    /// The Cedar entity type of what it is asked about.
    pub resource: &'static str,
    /// Leaves nothing behind but, at most, a record of the decision.
    pub reads_only: bool,
    /// What it does, for people.
    pub summary: &'static str,
}

const fn reads(name: &'static str, resource: &'static str, summary: &'static str) -> Action {
    Action { name, resource, reads_only: true, summary }
}

const fn changes(name: &'static str, resource: &'static str, summary: &'static str) -> Action {
    Action { name, resource, reads_only: false, summary }
}

/// Every action that a policy decides.
pub const ACTIONS: &[Action] = &[
    changes("policy.propose", "Policy", "Propose a policy text as a new, numbered epoch"),
    changes("policy.activate", "Policy", "Make a proposed epoch the one that decides"),
    changes("policy.rollback", "Policy", "Go back to the epoch that decided before"),
    reads("policy.list", "Policy", "List the policy epochs"),
    reads("policy.show", "Policy", "Show the text of a policy epoch"),
    reads("policy.validate", "Policy", "Check a policy text without proposing it"),
    reads("policy.replay", "Policy", "Judge recorded decisions again by another policy, and show which flip"),
    changes("policy.escalate", "Policy", "Propose a text that permits its author more than before"),
    reads("policy.roles", "Policy", "List the roles that policies are for, and what each may do"),
    reads("policy.can", "Right", "Ask whether somebody may do something"),
    reads("policy.who", "Right", "Ask who may do something"),
    reads("policy.what", "Right", "Ask what somebody may do"),
    reads("authz.evaluate", "Right", "Ask whether somebody may do something, as AuthZEN has it"),
    reads("authz.search", "Right", "Search for who may, what may be done, and on what, as AuthZEN has it"),
    changes("token.issue", "Token", "Issue a token"),
    reads("token.show", "Token", "Show a token, without its secret"),
    reads("token.list", "Token", "List tokens"),
    reads("token.validate", "Token", "Ask whether a token would be accepted, without using it"),
    changes("token.consume", "Token", "Use a token once"),
    changes("token.revoke", "Token", "End a token now"),
    changes("gap.scan", "Gap", "Scan a directory for gaps"),
    reads("gap.list", "Gap", "List gaps"),
    reads("gap.show", "Gap", "Show a gap and its evidence"),
    reads("todo.list", "Todo", "List todos"),
    reads("todo.show", "Todo", "Show a todo"),
    changes("todo.claim", "Todo", "Take a todo for a holder"),
    changes("todo.release", "Todo", "Give a claimed todo back"),
    changes("todo.submit", "Todo", "Hand in a claimed todo as done"),
    changes("resource.define", "Resource", "Define a pool of units to be leased"),
    changes("resource.resize", "Resource", "Change the capacity of a pool"),
    reads("resource.show", "Resource", "Show pools, and what is leased and free"),
    changes("lease.request", "Lease", "Ask for a lease"),
    changes("lease.renew", "Lease", "Hold a lease for longer"),
    changes("lease.release", "Lease", "Give a lease back, or take back a request that waits"),
    reads("lease.list", "Lease", "List leases and requests that wait"),
    reads("lease.show", "Lease", "Show a lease"),
    changes("protocol.admit", "Protocol", "Let a protocol take part, or change its lists"),
    changes("protocol.withdraw", "Protocol", "Let a protocol take part no more"),
    reads("protocol.list", "Protocol", "List protocols"),
    reads("protocol.show", "Protocol", "Show a protocol, and what waits for it"),
    changes("message.send", "Protocol", "Send a message to a protocol"),
    reads("message.list", "Message", "List what became of messages, from the record"),
    reads("message.show", "Message", "Show a message that waits or is dead"),
    reads("message.dead", "Message", "List dead letters"),
    changes("message.requeue", "Message", "Let a dead letter wait again"),
    changes("message.discard", "Message", "Take a dead letter away"),
    changes("protocol.call", "Protocol", "Call an operation of a protocol, inside one process"),
    changes("backup.create", "Backup", "Make a backup of all that is recorded"),
    reads("backup.list", "Backup", "List backups"),
    reads("backup.show", "Backup", "Show a backup"),
    changes("backup.verify", "Backup", "Read a backup again, and check all of it"),
    changes("backup.drill", "Backup", "Restore a backup for practice, and compare what comes of it"),
    changes("backup.hold", "Backup", "Keep a backup, whatever else is kept"),
    changes("backup.release", "Backup", "Keep a backup no longer than others"),
    reads("subject.list", "Subject", "List whose texts are sealed, held or erased"),
    reads("subject.show", "Subject", "Show a subject's key, cases and erasures"),
    changes("subject.erase", "Subject", "Destroy the key of a subject's texts"),
    changes("subject.hold", "Subject", "Let nothing of a subject be erased"),
    changes("subject.release", "Subject", "End a hold"),
    reads("retention.list", "Retention", "List what holds records in the tile log"),
    reads("retention.show", "Retention", "Show how long records stay in the tile log, and what may leave it"),
    changes("retention.hold", "Retention", "Keep records in the tile log"),
    changes("retention.release", "Retention", "End a hold on records"),
    changes("retention.prune", "Retention", "Let what may leave the tile log leave it"),
    reads("approval.list", "Approval", "List what leave was asked for"),
    reads("approval.show", "Approval", "Show what would be done, by whom, why, and who decided how"),
    changes("approval.approve", "Approval", "Approve that something is done, once"),
    changes("approval.deny", "Approval", "End a request for approvals"),
    changes("approval.withdraw", "Approval", "Take back what was asked for or approved"),
    reads("proof.verifiers", "Proof", "List which proofs there are, and how each is checked"),
    changes("proof.declare", "Proof", "Say how a proof is checked"),
    changes("proof.withdraw", "Proof", "Let there be no such proof any more"),
    reads("proof.list", "Proof", "List receipts of what was proven"),
    reads("proof.show", "Proof", "Show a receipt: what was proven, for what, and what it was spent on"),
    reads("audit.list", "Audit", "List audit records"),
    reads("audit.show", "Audit", "Show an audit record"),
    reads("audit.verify", "Audit", "Verify the chain of the audit records, and the log that signs them"),
    reads("audit.key", "Audit", "Show the key that signs the audit records"),
    reads("audit.checkpoint", "Audit", "Show what was signed last"),
    reads("audit.proof", "Audit", "Prove that an audit record was signed"),
    reads("audit.attest", "Audit", "Say how the authority is, signed"),
    changes("audit.cosign", "Audit", "Keep the cosignature of a witness, brought by hand"),
    reads("audit.export", "Audit", "Give audit records away, with proofs"),
    reads("decision.explain", "Audit", "Explain why a request was allowed or denied"),
    changes("subscription.create", "Subscription", "Begin to follow the audit records under a name"),
    reads("subscription.list", "Subscription", "List subscriptions, and how far they are behind"),
    reads("subscription.read", "Subscription", "Read the audit records that come next, or wait for them"),
    changes("subscription.ack", "Subscription", "Say up to which record all is done with"),
    changes("subscription.delete", "Subscription", "End a subscription"),
    changes("security.admit", "Security", "Let somebody ask, on terms, or change the terms"),
    changes("security.suspend", "Security", "Let somebody ask for nothing for a while"),
    changes("security.resume", "Security", "End a suspension"),
    changes("security.retire", "Security", "Let somebody ask for nothing, for ever"),
    changes("security.assign", "Security", "Give somebody a role"),
    changes("security.unassign", "Security", "Take a role away"),
    changes("security.separate", "Security", "Keep two roles apart: nobody may have both"),
    changes("security.unite", "Security", "Keep two roles apart no longer"),
    changes("security.bind", "Security", "Let a user of this machine act as somebody"),
    changes("security.unbind", "Security", "Let a user of this machine act as nobody"),
    reads("security.list", "Security", "List who may ask for what, and who has which role"),
    reads("security.show", "Security", "Show somebody's terms, roles and credentials"),
    reads("credential.list", "Credential", "List credentials, without their secrets"),
    changes("credential.create", "Credential", "Make a credential"),
    changes("credential.rotate", "Credential", "Make the successor of a credential"),
    changes("credential.revoke", "Credential", "End a credential now"),
    reads("system.tree", "System", "Show who supervises whom"),
    changes("system.kill", "System", "Kill a supervised actor, to see it come back"),
    changes("system.restart", "System", "Restart a supervised actor"),
    changes(
        "system.chaos",
        "System",
        "Kill supervised actors and supervisors by a seeded plan, and judge what follows",
    ),
    reads("system.judgement", "System", "Show how the tree takes such a plan"),
];

/// The action of this name, if there is one.
pub fn action(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}
