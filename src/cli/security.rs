//! `sop security` and `sop whoami`: who there is, what each may ask for, roles, credentials. A secret is made here, and
//! only its digest is sent.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use host::Clock;
use identity::{CredentialId, Proof};
use kernel::{CommandId, Digest, Principal};
use serde_json::{Value, json};

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, cell, fields, table};
use super::rights::{self, AddRole};
use super::secret::{Keep, NewSecret, named_by};

#[derive(Subcommand, Debug)]
pub enum Security {
    /// Let somebody ask, on terms; given again, the terms are those of the last one
    Admit(Admit),
    /// Let somebody ask for nothing until resumed; tokens and keys stay, and open nothing
    Suspend(Change),
    /// End a suspension
    Resume(Change),
    /// Let somebody ask for nothing for ever; the name is not used again
    Retire(Change),
    /// Let a user of this machine act as somebody, without a secret
    Bind {
        /// The user's number
        uid: u32,
        /// agent/alpha
        principal: Principal,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Let a user of this machine act as nobody
    Unbind {
        /// The user's number
        uid: u32,
        #[command(flatten)]
        mutation: Mutation,
    },
    /// Who there is, and who has which role; gives and takes roles
    Users(Users),
    /// Which roles there are, and which nobody may have both of
    Roles(Roles),
    /// Who may ask for what: the registry, and the authority's own parts
    Capabilities,
    /// Credentials: listed, made, rotated, revoked
    Credentials(Credentials),
    /// How many requests who may have let in within a window of time: listed with what is used, set, cleared
    Quota(super::quota::Quota),
    /// What was detected in the records and at the door
    Events(super::incident::Events),
    /// Look at one of them, dismiss it, or make it an incident
    #[command(subcommand)]
    Event(super::incident::Event),
}

#[derive(Args, Debug)]
pub struct Admit {
    /// agent/alpha
    principal: Principal,
    /// The operator who answers for it
    #[arg(long)]
    owner: Option<Principal>,
    /// What it may ask for: an action such as gap.scan, all of a noun such as 'gap.*', or '*'; may be given again
    #[arg(long, required = true, value_name = "CAPABILITY")]
    can: Vec<String>,
    /// When that ends: a span such as 30d, or a time such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = time)]
    until: Option<String>,
    /// blake3 of what attests it: a build, a model, a contract
    #[arg(long, value_name = "DIGEST")]
    attestation: Option<Digest>,
    /// Why, in words; sealed
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
pub struct Change {
    /// agent/alpha
    principal: Principal,
    /// Why, in words; sealed
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
pub struct Users {
    /// Whom to show, or whose role changes
    principal: Option<Principal>,
    /// List all; so it is without a name, too
    #[arg(long, conflicts_with_all = ["principal", "assign_role", "unassign_role"])]
    list: bool,
    /// Give a role; whom to may be said here, too: --assign-role agent/alpha auditor
    #[arg(long, value_names = ["PRINCIPAL", "ROLE"], num_args = 1..=2, conflicts_with = "unassign_role", alias = "assign")]
    assign_role: Vec<String>,
    /// Take a role away
    #[arg(long, value_name = "ROLE", requires = "principal", alias = "unassign")]
    unassign_role: Option<String>,
    /// When the role ends: a span such as 8h, or a time
    #[arg(long, value_name = "WHEN", requires = "assign_role", value_parser = time)]
    until: Option<String>,
    /// Why, in words; sealed
    #[arg(long, default_value = "", hide_default_value = true, requires = "assign_role")]
    reason: String,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
pub struct Roles {
    /// List them; so it is without an option, too
    #[arg(long, conflicts_with_all = ["separate", "unite", "create"])]
    list: bool,
    /// Propose a policy that says what a role may do, as `sop policy add-role` does; it is in force once it is activated
    #[arg(long, value_name = "ROLE", requires = "can", conflicts_with_all = ["separate", "unite"])]
    create: Option<String>,
    /// What it may do, such as audit.list,audit.show or audit.*
    #[arg(long, value_name = "ACTIONS", value_delimiter = ',', requires = "create")]
    can: Vec<String>,
    /// What must hold besides, as it is written in a policy: 'context.approvals >= 1'
    #[arg(long, value_name = "CONDITION", requires = "create")]
    when: Option<String>,
    /// Two roles that nobody may have both of
    #[arg(long, num_args = 2, value_names = ["ROLE", "OTHER"], conflicts_with = "unite")]
    separate: Vec<String>,
    /// Two roles that somebody may have both of again
    #[arg(long, num_args = 2, value_names = ["ROLE", "OTHER"])]
    unite: Vec<String>,
    #[command(flatten)]
    mutation: Mutation,
}

#[expect(clippy::option_option, reason = "absent, there, or there with a value: clap says it so")]
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").multiple(false))]
pub struct Credentials {
    /// List them, of one principal if it is named; so it is without an option, too
    #[arg(long, group = "what", num_args = 0..=1, value_name = "PRINCIPAL")]
    list: Option<Option<Principal>>,
    /// Make one for this principal; its secret is made here and shown once
    #[arg(long, group = "what", value_name = "PRINCIPAL")]
    create: Option<Principal>,
    /// Make the successor of this one, or of all that are older than --older-than
    #[arg(long, group = "what", num_args = 0..=1, value_name = "ID")]
    rotate: Option<Option<CredentialId>>,
    /// End this one now
    #[arg(long, group = "what", value_name = "ID")]
    revoke: Option<CredentialId>,
    /// What it is called: one word
    #[arg(long, requires = "create", value_name = "WORD")]
    label: Option<String>,
    /// When the new one ends: a span such as 90d, or a time
    #[arg(long, value_name = "WHEN", value_parser = time)]
    until: Option<String>,
    /// For emergencies: never locked out, and loud; operators only
    #[arg(long, requires = "create")]
    break_glass: bool,
    /// Rotate every key that is older than this, such as 90d
    #[arg(long, requires = "rotate", value_name = "SPAN", value_parser = millis)]
    older_than: Option<u64>,
    /// How long the old one stays good, unless it is said 24h
    #[arg(long, requires = "rotate", value_name = "SPAN", value_parser = millis)]
    overlap: Option<u64>,
    /// End the old one as soon as the new one is used
    #[arg(long, requires = "rotate")]
    early: bool,
    #[command(flatten)]
    vouched: Vouched,
    #[command(flatten)]
    keep: Keep,
}

/// What makes a credential that others vouch for, in place of a secret.
#[derive(Args, Debug)]
pub struct Vouched {
    /// It is this certificate, PEM, shown by a client under TLS
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "issuer", "secret_file"])]
    certificate: Option<PathBuf>,
    /// It is any certificate with this name, uri:sop://agent/alpha or dns:alpha.example
    #[arg(long, value_name = "NAME", requires = "authority", conflicts_with_all = ["issuer", "secret_file"])]
    name: Option<String>,
    /// The authority that vouches for that name, PEM
    #[arg(long, value_name = "FILE", requires = "name")]
    authority: Option<PathBuf>,
    /// It is a token of this issuer, one of http.issuers
    #[arg(long, value_name = "URL", requires = "subject", conflicts_with = "secret_file")]
    issuer: Option<String>,
    /// About this subject
    #[arg(long, value_name = "NAME", requires = "issuer")]
    subject: Option<String>,
    /// With this claim
    #[arg(long, value_name = "NAME=VALUE", requires = "issuer")]
    claim: Option<String>,
}

impl Vouched {
    fn proof(&self) -> Result<Option<Proof>, Failure> {
        let fingerprint = |file: &Path| {
            http::fingerprint_in(file).map_err(|error| Failure::new(error.code(), error.to_string(), error.remedy()))
        };
        Ok(match self {
            Self { certificate: Some(file), .. } => Some(Proof::Certificate(fingerprint(file)?)),
            Self { name: Some(name), authority: Some(file), .. } => {
                Some(Proof::CertificateName { authority: fingerprint(file)?, name: name.clone() })
            }
            Self { issuer: Some(issuer), subject: Some(subject), claim, .. } => {
                let split = |claim: &String| {
                    let (name, value) = claim.split_once('=').ok_or_else(|| {
                        Failure::new("cli.claim", format!("{claim:?} is no claim"), "write --claim NAME=VALUE")
                    })?;
                    Ok((name.to_owned(), value.to_owned()))
                };
                let claim = claim.as_ref().map(split).transpose()?;
                Some(Proof::Foreign { issuer: issuer.clone(), subject: subject.clone(), claim })
            }
            _ => None,
        })
    }
}

/// What is asked for: a new secret, or what is known by something else.
enum New {
    Secret(NewSecret),
    Vouched(CommandId, Proof),
}

impl New {
    fn of(asked: &Credentials) -> Result<Self, Failure> {
        Ok(match asked.vouched.proof()? {
            Some(proof) => Self::Vouched(asked.keep.mutation().id(), proof),
            None => Self::Secret(NewSecret::key(&asked.keep)?),
        })
    }

    /// Asks for it, and gives what is to be shown.
    async fn ask(self, remote: &Remote, action: &str, mut arguments: Value) -> Result<(Value, Shown), Failure> {
        match self {
            Self::Secret(secret) => {
                arguments["id"] = json!(secret.credential());
                arguments["secret_digest"] = json!(secret.digest());
                match remote.change(action, &present(arguments), secret.id).await {
                    Ok(done) => Ok((secret.with(done), secret.field())),
                    Err(failure) => Err(secret.failed(failure)),
                }
            }
            Self::Vouched(id, proof) => {
                arguments["id"] = json!(named_by(id));
                arguments["proof"] = json!(proof);
                let done = remote.change(action, &present(arguments), id).await?;
                Ok((done, ("known by", known_by(&json!(proof)))))
            }
        }
    }
}

/// A heading, and what stands under it.
type Shown = (&'static str, String);

/// A proof, in the words of the options that make it.
fn known_by(proof: &Value) -> String {
    let part = |value: &Value| cell(value);
    if let Some(name) = proof.get("certificate_name") {
        return format!("{} by {}", part(&name["name"]), part(&name["authority"]));
    }
    if let Some(foreign) = proof.get("foreign") {
        let claim = foreign["claim"].as_array().filter(|claim| claim.len() == 2);
        let claim = claim.map(|claim| format!(" with {}={}", part(&claim[0]), part(&claim[1]))).unwrap_or_default();
        return format!("{} at {}{claim}", part(&foreign["subject"]), part(&foreign["issuer"]));
    }
    proof.get("certificate").map_or("-".to_owned(), part)
}

pub async fn whoami(globals: &Globals) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    answer(format, &remote.read("security.whoami", &json!({})).await?, who)?;
    Ok(Exit::Ok)
}

pub async fn run(globals: &Globals, command: Security) -> Run {
    let (remote, format) = (globals.remote()?, globals.output);
    let changed = async |action: &str, arguments: Value, mutation: Mutation, told: &dyn Fn(&Value) -> String| {
        let changed = remote.change(action, &arguments, mutation.id()).await?;
        answer(format, &changed, told)
    };
    match command {
        Security::Admit(Admit { principal, owner, can, until, attestation, reason, mutation }) => {
            let can: Vec<_> = can.iter().flat_map(|can| can.split(',')).collect();
            let arguments = present(json!({
                "principal": principal, "owner": owner, "can": can, "until": until, "attestation": attestation,
                "reason": reason,
            }));
            changed("security.admit", arguments, mutation, &|told| {
                fields([
                    ("admitted", cell(&told["principal"])),
                    ("owner", cell(&told["owner"])),
                    ("can", cell(&told["can"])),
                    ("until", cell(&told["until"])),
                ])
            })
            .await?;
        }
        Security::Suspend(Change { principal, reason, mutation }) => {
            let arguments = json!({ "principal": principal, "reason": reason });
            changed("security.suspend", arguments, mutation, &state).await?;
        }
        Security::Resume(Change { principal, reason, mutation }) => {
            let arguments = json!({ "principal": principal, "reason": reason });
            changed("security.resume", arguments, mutation, &state).await?;
        }
        Security::Retire(Change { principal, reason, mutation }) => {
            let arguments = json!({ "principal": principal, "reason": reason });
            changed("security.retire", arguments, mutation, &state).await?;
        }
        Security::Bind { uid, principal, mutation } => {
            let arguments = json!({ "uid": uid, "principal": principal });
            changed("security.bind", arguments, mutation, &|told| {
                format!("User {} acts as {}.", cell(&told["uid"]), cell(&told["principal"]))
            })
            .await?;
        }
        Security::Unbind { uid, mutation } => {
            changed("security.unbind", json!({ "uid": uid }), mutation, &|told| {
                format!("User {} acts as nobody.", cell(&told["uid"]))
            })
            .await?;
        }
        Security::Users(Users { principal: None, assign_role, .. }) if assign_role.is_empty() => {
            answer(format, &remote.read("security.list", &json!({})).await?, users)?;
        }
        Security::Users(Users { principal, assign_role, unassign_role, until, reason, mutation, .. }) => {
            match (assigned(principal, assign_role)?, unassign_role) {
                ((principal, Some(role)), _) => {
                    let arguments =
                        present(json!({ "principal": principal, "role": role, "until": until, "reason": reason }));
                    changed("security.assign", arguments, mutation, &|told| {
                        let until = told["until"].as_str().map_or(String::new(), |until| format!(" until {until}"));
                        format!("{} has the role {}{until}.", cell(&told["principal"]), cell(&told["role"]))
                    })
                    .await?;
                }
                ((principal, None), Some(role)) => {
                    let arguments = json!({ "principal": principal, "role": role });
                    changed("security.unassign", arguments, mutation, &|told| {
                        format!("{} has the role {} no more.", cell(&told["principal"]), cell(&told["role"]))
                    })
                    .await?;
                }
                ((principal, None), None) => {
                    let shown = remote.read("security.show", &json!({ "principal": principal })).await?;
                    answer(format, &shown, one)?;
                }
            }
        }
        Security::Roles(Roles { create: Some(name), can, when, mutation, .. }) => {
            return rights::add_role(globals, AddRole { name, can, when, mutation }).await;
        }
        Security::Roles(Roles { separate, unite, mutation, .. }) => match (&separate[..], &unite[..]) {
            ([one, other], _) => {
                let arguments = json!({ "one": one, "other": other });
                changed("security.separate", arguments, mutation, &|told| {
                    format!("Nobody may have both: {}.", cell(&told["roles"]))
                })
                .await?;
            }
            (_, [one, other]) => {
                let arguments = json!({ "one": one, "other": other });
                changed("security.unite", arguments, mutation, &|told| {
                    format!("Somebody may have both: {}.", cell(&told["roles"]))
                })
                .await?;
            }
            _ => answer(format, &remote.read("security.list", &json!({})).await?, roles)?,
        },
        Security::Capabilities => {
            answer(format, &remote.read("security.list", &json!({})).await?, capabilities)?;
        }
        Security::Credentials(asked) => credentials(globals, &remote, asked).await?,
        Security::Quota(asked) => return super::quota::run(globals, asked).await,
        Security::Events(asked) => return super::incident::events(globals, asked).await,
        Security::Event(command) => return super::incident::event(globals, command).await,
    }
    Ok(Exit::Ok)
}

/// Whose role it is, and which is given: of two words the principal is the one with a kind before a slash.
fn assigned(principal: Option<Principal>, words: Vec<String>) -> Result<(Principal, Option<String>), Failure> {
    let unclear = || {
        let remedy = "sop security users agent/alpha --assign-role auditor, or --assign-role agent/alpha auditor";
        Failure::new("cli.assign", "whose role it is was not said, or twice", remedy)
    };
    match (principal, &words[..]) {
        (Some(principal), []) => Ok((principal, None)),
        (Some(principal), [role]) => Ok((principal, Some(role.clone()))),
        (None, [one, other]) => match (one.parse(), other.parse()) {
            (Ok(principal), Err(_)) => Ok((principal, Some(other.clone()))),
            (Err(_), Ok(principal)) => Ok((principal, Some(one.clone()))),
            _ => Err(unclear()),
        },
        _ => Err(unclear()),
    }
}

async fn credentials(globals: &Globals, remote: &Remote, asked: Credentials) -> Result<(), Failure> {
    let (format, until) = (globals.output, asked.until.clone());
    if let Some(principal) = &asked.create {
        let arguments = json!({
            "principal": principal, "until": until, "label": asked.label, "break_glass": asked.break_glass,
        });
        let (made, shown) = New::of(&asked)?.ask(remote, "credential.create", arguments).await?;
        return answer(format, &made, |made| {
            fields([
                ("credential", cell(&made["credential"])),
                ("of", cell(&made["principal"])),
                ("until", cell(&made["until"])),
                shown,
            ])
        });
    }
    if let Some(credential) = asked.revoke {
        let arguments = json!({ "credential": credential });
        let revoked = remote.change("credential.revoke", &arguments, asked.keep.mutation().id()).await?;
        return answer(format, &revoked, |told| {
            format!("Credential {} opens nothing any more.", cell(&told["credential"]))
        });
    }
    let Some(rotate) = asked.rotate else {
        let of = asked.list.flatten();
        let listed = remote.read("credential.list", &present(json!({ "principal": of }))).await?;
        return answer(format, &listed, credentials_listed);
    };
    let chosen = match (rotate, asked.older_than) {
        (Some(id), None) => vec![id.to_string()],
        (None, Some(older)) => {
            let listed = remote.read("credential.list", &json!({})).await?;
            let all = listed["credentials"].as_array().map(Vec::as_slice).unwrap_or_default();
            // What others vouch for is renewed there.
            let due = all.iter().filter(|one| one["state"] == "active" && one["form"] == "api_key");
            let due = due.filter(|one| one["age_ms"].as_u64().is_some_and(|age| older <= age));
            due.filter_map(|one| one["credential"].as_str().map(str::to_owned)).collect()
        }
        _ => {
            let remedy = "sop security credentials --rotate ID, or --rotate --older-than 90d";
            return Err(Failure::new("cli.rotate", "what is to be rotated was not said, or twice", remedy));
        }
    };
    if asked.older_than.is_some() && asked.vouched.proof()?.is_some() {
        let remedy = "rotate one by its id: sop security credentials --rotate ID --certificate FILE";
        return Err(Failure::new("cli.rotate", "all of them cannot become the same", remedy));
    }
    if chosen.len() != 1 && asked.keep.is_fixed() {
        let remedy = "rotate one by its id, or leave --secret-file and --command-id out";
        return Err(Failure::new("cli.rotate", format!("one file cannot hold {} secrets", chosen.len()), remedy));
    }
    let mut rotated = Vec::new();
    for old in chosen {
        let arguments = json!({ "credential": old, "until": until, "overlap_ms": asked.overlap, "early": asked.early });
        let done = match New::of(&asked) {
            Ok(new) => new.ask(remote, "credential.rotate", arguments).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(done) => rotated.push(done),
            Err(failure) if rotated.is_empty() => return Err(failure),
            // What was made before is shown, whatever became of this one.
            Err(failure) => {
                shown(globals, &rotated)?;
                return Err(failure);
            }
        }
    }
    shown(globals, &rotated)
}

fn shown(globals: &Globals, rotated: &[(Value, Shown)]) -> Result<(), Failure> {
    let all = json!({ "rotated": rotated.iter().map(|(done, _)| done).collect::<Vec<_>>() });
    answer(globals.output, &all, |_| {
        if rotated.is_empty() {
            return "Nothing is as old as that.".to_owned();
        }
        let one = |(done, secret): &(Value, Shown)| {
            fields([
                ("credential", cell(&done["credential"])),
                ("in place of", cell(&done["replaces"])),
                (
                    "which ends",
                    format!(
                        "{}{}",
                        cell(&done["old_until"]),
                        if done["early"] == true { ", or when the new one is used" } else { "" }
                    ),
                ),
                secret.clone(),
            ])
        };
        rotated.iter().map(one).collect::<Vec<_>>().join("\n\n")
    })
}

/// Without what was not given.
pub fn present(mut arguments: Value) -> Value {
    if let Some(fields) = arguments.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    arguments
}

pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn state(told: &Value) -> String {
    format!("{} is {}.", cell(&told["principal"]), cell(&told["state"]))
}

fn role_names(one: &Value) -> String {
    let held = list(one, "roles").iter().filter(|role| role["holds"] == true);
    let names: Vec<_> = held.map(|role| cell(&role["role"])).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn users(listed: &Value) -> String {
    let row = |one: &Value| {
        let part = |name: &str| cell(&one[name]);
        [part("principal"), part("state"), part("owner"), role_names(one), part("live_credentials"), part("until")]
    };
    table(["WHO", "STATE", "OWNER", "ROLES", "CREDENTIALS", "UNTIL"], list(listed, "principals").iter().map(row))
}

fn capabilities(listed: &Value) -> String {
    let row = |one: &Value| [cell(&one["principal"]), cell(&one["state"]), cell(&one["can"])];
    let part = |one: &Value| [cell(&one["principal"]), "fixed".to_owned(), cell(&one["can"])];
    let principals = list(listed, "principals").iter().map(row);
    table(["WHO", "STATE", "MAY ASK FOR"], principals.chain(list(listed, "internal").iter().map(part)))
}

fn roles(listed: &Value) -> String {
    let mut rows = Vec::new();
    for one in list(listed, "principals") {
        for role in list(one, "roles").iter().filter(|role| role["holds"] == true) {
            let part = |name: &str| cell(&role[name]);
            rows.push([part("role"), cell(&one["principal"]), part("until"), part("by"), part("reason")]);
        }
    }
    rows.sort();
    let apart: Vec<_> =
        list(listed, "apart").iter().map(|pair| format!("Nobody may have both: {}.", cell(pair))).collect();
    let held = if rows.is_empty() {
        "Nobody has a role. A policy says what one may: `principal in Role::\"auditor\"`.".to_owned()
    } else {
        table(["ROLE", "WHO", "UNTIL", "BY", "REASON"], rows)
    };
    [held].into_iter().chain(apart).collect::<Vec<_>>().join("\n")
}

fn one(shown: &Value) -> String {
    let part = |name: &'static str| (name, cell(&shown[name]));
    let mut known = vec![part("principal"), part("state"), part("owner"), part("can"), part("until"), part("reason")];
    known.push(("admitted", format!("{} by {}", cell(&shown["at"]), cell(&shown["by"]))));
    if !shown["ended"].is_null() {
        let part = |name: &str| cell(&shown["ended"][name]);
        known.push(("since then", format!("{} by {}: {}", part("at"), part("by"), part("reason"))));
    }
    for role in list(shown, "roles") {
        let part = |name: &str| cell(&role[name]);
        known.push(("role", format!("{} until {} by {}: {}", part("role"), part("until"), part("by"), part("reason"))));
    }
    for credential in list(shown, "credentials") {
        let part = |name: &str| cell(&credential[name]);
        known.push(("credential", format!("{} {} {}", part("credential"), part("label"), part("state"))));
    }
    for uid in list(shown, "uids") {
        known.push(("user", cell(uid)));
    }
    fields(known)
}

fn who(known: &Value) -> String {
    let mut shown = vec![
        ("you are", cell(&known["principal"])),
        ("by", cell(&known["by"])),
        ("state", cell(&known["state"])),
        ("owner", cell(&known["owner"])),
        ("may ask for", cell(&known["can"])),
        ("until", cell(&known["until"])),
        ("roles", cell(&known["roles"])),
    ];
    for one in list(known, "quotas") {
        shown.push(("quota", super::quota::own(one)));
    }
    if known["quotas"].is_null() {
        shown.push(("quotas", "what is used of them is being counted".to_owned()));
    }
    if !known["denied"].is_null() {
        shown.push(("but", cell(&known["denied"]["reason"])));
        shown.push(("remedy", cell(&known["denied"]["remedy"])));
    }
    fields(shown)
}

fn credentials_listed(listed: &Value) -> String {
    let row = |one: &Value| {
        let part = |name: &str| cell(&one[name]);
        let age = Duration::from_secs(one["age_ms"].as_u64().unwrap_or_default() / 1_000);
        let state = if one["break_glass"] == true { format!("{}, break-glass", part("state")) } else { part("state") };
        let age = humantime::format_duration(age).to_string();
        [
            part("credential"),
            part("principal"),
            part("form"),
            part("label"),
            state,
            age,
            part("until"),
            part("last_used_at"),
            known_by(&one["known_by"]),
        ]
    };
    let headings = ["CREDENTIAL", "OF", "FORM", "LABEL", "STATE", "AGE", "UNTIL", "LAST USED", "KNOWN BY"];
    table(headings, list(listed, "credentials").iter().map(row))
}

/// A time of RFC 3339, also from a span that begins now.
fn time(text: &str) -> Result<String, String> {
    if humantime::parse_rfc3339(text).is_ok() {
        return Ok(text.to_owned());
    }
    let span = humantime::parse_duration(text).map_err(|error| format!("neither a span nor a time: {error}"))?;
    let now = UNIX_EPOCH + Duration::from_millis(Clock::system().now().0);
    let limit = UNIX_EPOCH + Duration::from_hours(24 * 365 * 1_000);
    let at = now.checked_add(span).filter(|at| *at < limit).ok_or("longer than anything lasts")?;
    Ok(humantime::format_rfc3339_millis(at).to_string())
}

pub fn millis(text: &str) -> Result<u64, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(span.as_millis()).map_err(|_| "longer than anything lasts".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_as_people_write_them() {
        assert_eq!(time("2030-01-31T12:00:00Z").unwrap(), "2030-01-31T12:00:00Z");
        assert!(humantime::parse_rfc3339(&time("30d").unwrap()).is_ok());
        for text in ["", "soon", "-1s", "9999999999y"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert_eq!(millis("90d"), Ok(7_776_000_000));
    }

    #[test]
    fn whose_role_it_is_is_said_once() {
        let alpha = || "agent/alpha".parse::<Principal>().unwrap();
        let told = |principal, words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            assigned(principal, words).ok().map(|(principal, role)| (principal.to_string(), role))
        };
        let given = |role: Option<&str>| Some(("agent/alpha".to_owned(), role.map(str::to_owned)));
        for (row, principal, words, answer) in [
            ("shown", Some(alpha()), &[][..], given(None)),
            ("as it was", Some(alpha()), &["auditor"], given(Some("auditor"))),
            ("as the runbook has it", None, &["agent/alpha", "auditor"], given(Some("auditor"))),
            ("the other way round", None, &["auditor", "agent/alpha"], given(Some("auditor"))),
            ("nobody", None, &["auditor"], None),
            ("no role", None, &["agent/alpha", "agent/beta"], None),
            ("twice", Some(alpha()), &["agent/alpha", "auditor"], None),
        ] {
            assert_eq!(told(principal, words), answer, "{row}");
        }
    }
}
