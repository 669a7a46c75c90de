//! `sop status`, `tree`, `kill`, `restart`, `emergency-stop` and `resume`.

use clap::Args;
use kernel::Digest;
use serde_json::{Value, json};

use super::call::{Globals, Mutation, Remote};
use super::exit::{Exit, Failure, Run};
use super::output::{answer, bytes, cell, count, fields, table};

/// How often the tree is asked what became of an actor, when a kill took its own connection along.
const LOOKS: u32 = 10;
const LOOK_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

#[derive(Args, Debug)]
pub struct Actor {
    /// Its name, or its path as in `sop tree`: authority/tokens
    actor: String,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
pub struct Stop {
    /// Why; it is recorded, and shown to everybody who is turned away
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    mutation: Mutation,
}

#[derive(Args, Debug)]
pub struct Resume {
    /// Digest of the stop to end; without it, the stop in force is shown
    #[arg(long)]
    digest: Option<Digest>,
    #[command(flatten)]
    mutation: Mutation,
}

pub async fn status(globals: &Globals) -> Run {
    let status = globals.status().await?;
    answer(globals.output, &status, shown)?;
    Ok(if status["state"] == "ready" { Exit::Ok } else { Exit::Findings })
}

pub async fn tree(globals: &Globals) -> Run {
    let tree = globals.remote()?.read("system.tree", &json!({})).await?;
    answer(globals.output, &tree, drawn)?;
    Ok(Exit::Ok)
}

pub async fn kill(globals: &Globals, Actor { actor, mutation }: Actor) -> Run {
    let remote = globals.remote()?;
    let path = found(&remote, &actor).await?;
    let id = mutation.id();
    let killed = match remote.once("system.kill", &json!({ "path": path }), id).await? {
        Some(killed) => killed,
        None => looked(&remote, &path, id).await?,
    };
    answer(globals.output, &killed, |killed| match killed["now"].as_str() {
        None => format!("Killed {}; `sop tree` shows what became of it.", cell(&killed["killed"])),
        Some(now) => format!("Killed {}, and with it the connection to it; it is {now} now.", cell(&killed["killed"])),
    })?;
    Ok(Exit::Ok)
}

/// What the tree says of an actor whose end took the connection along, as that of the server itself does.
async fn looked(remote: &Remote, path: &str, id: kernel::CommandId) -> Result<Value, Failure> {
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK_PAUSE).await;
        let Ok(tree) = remote.read("system.tree", &json!({})).await else { continue };
        let node = nodes(&tree).into_iter().find(|node| node["path"] == path);
        // The reason of an end is a text for people; that of a kill says so.
        if let Some(node) = node.filter(|node| node["last_exit"].as_str().is_some_and(|exit| exit.contains("kill"))) {
            return Ok(json!({ "killed": path, "now": node["state"], "epoch": node["epoch"] }));
        }
    }
    let detail = format!("the connection was lost while {path} was being killed; the outcome is unknown");
    Err(Failure::unknown(id, detail, "look with `sop tree` before you kill again"))
}

pub async fn restart(globals: &Globals, Actor { actor, mutation }: Actor) -> Run {
    let remote = globals.remote()?;
    let path = found(&remote, &actor).await?;
    let id = mutation.id();
    let Some(restarted) = remote.once("system.restart", &json!({ "path": path }), id).await? else {
        let detail = format!("the connection was lost while {path} was being restarted; the outcome is unknown");
        return Err(Failure::unknown(id, detail, "look with `sop tree`"));
    };
    answer(globals.output, &restarted, |restarted| format!("Restarted {}.", cell(&restarted["restarted"])))?;
    Ok(Exit::Ok)
}

/// The path of an actor that is named by it, or by a name that no other has.
pub async fn found(remote: &Remote, actor: &str) -> Result<String, Failure> {
    if actor.contains('/') || actor == "sop" {
        return Ok(actor.to_owned());
    }
    let tree = remote.read("system.tree", &json!({})).await?;
    let named: Vec<&str> = nodes(&tree)
        .into_iter()
        .filter(|node| node["name"] == actor)
        .filter_map(|node| node["path"].as_str())
        .collect();
    match named[..] {
        [path] => Ok(path.to_owned()),
        [] => Err(unknown(actor)),
        _ => {
            let detail = format!("the tree has several of the name {actor}: {}", named.join(", "));
            Err(Failure::new("cli.ambiguous", detail, "name it by its path"))
        }
    }
}

pub fn unknown(actor: &str) -> Failure {
    Failure::new("system.unknown", format!("the tree has no {actor}"), "see `sop tree`")
}

pub fn nodes(tree: &Value) -> Vec<&Value> {
    let below = tree["children"].as_array().into_iter().flatten().flat_map(nodes);
    std::iter::once(tree).chain(below).collect()
}

pub async fn stop(globals: &Globals, Stop { reason, mutation }: Stop) -> Run {
    let remote = globals.remote_anyhow()?;
    let stopped = remote.change("system.stop", &json!({ "reason": reason }), mutation.id()).await?;
    answer(globals.output, &stopped, |stopped| {
        let mut lines = vec!["STOPPED: the door is shut to everything but reading, stopping and resuming.".to_owned()];
        if stopped["recorded"] == true {
            lines.push(format!("The stop is recorded. To end it: sop resume --digest {}", cell(&stopped["digest"])));
        } else {
            lines.push(format!("The stop is NOT in the journal: {}", cell(&stopped["not_recorded_because"])));
            lines.push("`sop resume` can end it once it is.".to_owned());
        }
        if stopped["kept_in_file"] != true {
            lines.push(format!("The stop is NOT in the seal file: {}", cell(&stopped["not_kept_because"])));
        }
        lines.join("\n")
    })?;
    let kept = stopped["recorded"] == true && stopped["kept_in_file"] == true;
    Ok(if kept { Exit::Ok } else { Exit::Findings })
}

pub async fn resume(globals: &Globals, Resume { digest, mutation }: Resume) -> Run {
    if let Some(digest) = digest {
        let resumed = globals.remote()?.change("system.resume", &json!({ "digest": digest }), mutation.id()).await?;
        answer(globals.output, &resumed, |_| {
            "Resumed: the door is open again. Tokens that the stop revoked stay revoked.".to_owned()
        })?;
        return Ok(Exit::Ok);
    }
    let status = globals.status().await?;
    let stop = &status["sealed"];
    if stop.is_null() {
        answer(globals.output, &json!({ "sealed": false }), |_| "No emergency stop is in force.".to_owned())?;
        return Ok(Exit::Ok);
    }
    answer(globals.output, stop, |stop| {
        let in_force = fields([
            ("stopped by", cell(&stop["by"])),
            ("reason", cell(&stop["reason"])),
            ("at", cell(&stop["at"])),
            ("digest", cell(&stop["digest"])),
        ]);
        match stop["digest"].as_str() {
            Some(digest) => format!("{in_force}\n\nTo end this stop: sop resume --digest {digest}"),
            None => format!("{in_force}\n\nThe journal does not know this stop yet; it can be ended once it does."),
        }
    })?;
    Ok(Exit::NeedsApproval)
}

fn shown(status: &Value) -> String {
    let mut known = vec![("state", cell(&status["state"]))];
    known.extend(status["reasons"].as_array().into_iter().flatten().map(|reason| ("", cell(reason))));
    if let Some(stop) = status["sealed"].as_object() {
        let part = |name: &str| cell(stop.get(name).unwrap_or(&Value::Null));
        known.push(("stopped by", format!("{} at {}: {}", part("by"), part("at"), part("reason"))));
        known.push(("resume", "sop resume".to_owned()));
    }
    known.push(("version", cell(&status["version"])));
    known.push(("redundancy", cell(&status["redundancy"])));
    known.push(("policy", format!("epoch {}", cell(&status["policy_epoch"]))));
    known.push(("journal", format!("head {}", cell(&status["head"]))));
    known.extend(witnesses(&status["witnesses"]));
    known.push(("since the start", figures(&status["journal"])));
    known.push(("disk", format!("{} free", status["disk_free_bytes"].as_u64().map_or("-".to_owned(), bytes))));
    let quarantined = status["quarantined"].as_array().filter(|paths| !paths.is_empty());
    known.push(("quarantined", quarantined.map_or("nothing".to_owned(), |paths| cell(&json!(paths)))));
    let under_way = &status["operations"];
    let [open, unknown] = ["open", "unknown"].map(|key| under_way[key].as_u64().unwrap_or_default());
    if open + unknown != 0 {
        let of = |outcome| format!("`sop audit list --outcome {outcome}`");
        let some = [(open, "under way", "open"), (unknown, "ended unknown", "unknown")];
        let some = some.into_iter().filter(|(count, ..)| *count != 0);
        let some: Vec<_> = some.map(|(count, words, outcome)| format!("{count} {words}: {}", of(outcome))).collect();
        known.push(("operations", some.join("; ")));
    }
    known.push(("strangers", count(status["strangers_denied"].as_u64().unwrap_or_default(), "request") + " denied"));
    fields(known)
}

/// How far the log is seen by others: with the quorum, and by each.
fn witnesses(witnesses: &Value) -> Vec<(&'static str, String)> {
    let Some(each) = witnesses["each"].as_array() else { return Vec::new() };
    let upto = |part: &Value| match part["size"].as_u64() {
        Some(size) => format!("up to {size}, lag {}", cell(&part["lag"])),
        None => "nothing yet".to_owned(),
    };
    let quorum = witnesses["quorum"].as_u64().unwrap_or_default();
    let mut lines = vec![("cosigned", format!("{} ({quorum} of {} must)", upto(witnesses), each.len()))];
    lines.extend(each.iter().map(|witness| {
        let code = witness["code"].as_str().map(|code| format!(": {code}, {}", cell(&witness["why"])));
        let by = if witness["address"].is_null() { ", by hand" } else { "" };
        ("", format!("{} {}{by}{}", cell(&witness["name"]), upto(witness), code.unwrap_or_default()))
    }));
    lines
}

fn figures(journal: &Value) -> String {
    let figure = |name: &str| journal[name].as_u64().unwrap_or_default();
    let (records, groups) = (count(figure("records"), "record"), count(figure("groups"), "group"));
    let (last, longest) = (figure("sync_micros_last"), figure("sync_micros_max"));
    format!("{records} in {groups}, last sync {last} µs, longest {longest} µs")
}

/// The tree, drawn.
fn drawn(tree: &Value) -> String {
    if tree.is_null() {
        return "The tree is starting.".to_owned();
    }
    let mut rows = Vec::new();
    draw(tree, "", "", &mut rows);
    table(["ACTOR", "STRATEGY", "STATE", "EPOCH", "RESTARTS", "RESTARTS WITH ME", "WHY"], rows)
}

fn draw(node: &Value, first: &str, next: &str, rows: &mut Vec<[String; 7]>) {
    let why = if node["why"].is_null() { &node["last_exit"] } else { &node["why"] };
    let blank = |value: &Value| if value.is_null() { String::new() } else { cell(value) };
    rows.push([
        format!("{first}{}", cell(&node["name"])),
        blank(&node["strategy"]),
        cell(&node["state"]),
        cell(&node["epoch"]),
        cell(&node["restarts"]),
        node["restarts_with_me"]
            .as_array()
            .filter(|with| !with.is_empty())
            .map(|with| cell(&json!(with)))
            .unwrap_or_default(),
        blank(why),
    ]);
    let children = node["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (place, child) in children.iter().enumerate() {
        let last = place + 1 == children.len();
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{next}{branch}"), &format!("{next}{below}"), rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, path: &str, children: Value) -> Value {
        json!({ "name": name, "path": path, "strategy": null, "state": "running", "why": null, "epoch": 1, "restarts": 0,
            "last_exit": null, "restarts_with_me": [], "children": children })
    }

    #[test]
    fn a_tree_is_drawn() {
        let mut http = node("http", "sop/edge/http", json!([]));
        http["epoch"] = json!(12);
        http["restarts"] = json!(11);
        http["last_exit"] = json!("was killed");
        let mut edge = node("edge", "sop/edge", json!([http]));
        edge["strategy"] = json!("one_for_one");
        let mut journal = node("foundation", "sop/foundation", json!([]));
        journal["state"] = json!("quarantined");
        journal["why"] = json!("spent its budget");
        journal["restarts_with_me"] = json!(["authority", "operations"]);
        let root = node("sop", "sop", json!([edge, journal]));
        assert_eq!(
            drawn(&root),
            "ACTOR          STRATEGY     STATE        EPOCH  RESTARTS  RESTARTS WITH ME       WHY\n\
             sop                         running          1         0\n\
             ├─ edge        one_for_one  running          1         0\n\
             │  └─ http                  running         12        11                         was killed\n\
             └─ foundation               quarantined      1         0  authority, operations  spent its budget"
        );
        assert_eq!(
            nodes(&root).iter().filter_map(|node| node["name"].as_str()).collect::<Vec<_>>(),
            ["sop", "edge", "http", "foundation"]
        );
    }

    #[test]
    fn a_status_is_one_screen() {
        let status = json!({ "state": "sealed", "reasons": ["tokens is down"], "version": "0.1.0", "redundancy": "one node",
            "head": 7, "policy_epoch": 1, "sealed": { "by": "operator/root", "reason": "fire", "at": null, "digest": null },
            "quarantined": [], "strangers_denied": 1, "disk_free_bytes": 1_073_741_824_u64,
            "journal": { "groups": 1, "records": 7, "sync_micros_last": 400, "sync_micros_max": 900 } });
        assert_eq!(
            shown(&status),
            "state            sealed\n                 tokens is down\nstopped by       operator/root at -: fire\nresume           \
             sop resume\nversion          0.1.0\nredundancy       one node\npolicy           epoch 1\njournal          head \
             7\nsince the start  7 records in 1 group, last sync 400 µs, longest 900 µs\ndisk             1.0 GiB \
             free\nquarantined      nothing\nstrangers        1 request denied"
        );
    }
}
