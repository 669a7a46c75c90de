//! Asks the daemon, as whoever holds the credential, and repeats what got no answer under the same command id.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use config::{Config, Sources};
use door::Secret;
use host::Clock;
use http::{AddressError, Client, ClientError, Papers, Problem};
use kernel::{CommandId, Layer};
use serde_json::{Value, json};
use sop::boot::Places;

use super::approval;
use super::exit::{Exit, Failure};
use super::output::{Format, cell, complain, plain, plain_lines, problem_line};
use super::proof::{self, Given};

/// How often a request without an answer is repeated, and after which pause.
const REPEATS: u32 = 5;
const REPEAT_PAUSE: Duration = Duration::from_millis(200);

/// What asks to be asked again within this is worth waiting for.
const SOON_MS: u64 = 1_000;

/// How often a daemon is looked for. Its server may be restarting, which takes no longer than this.
const LOOKS: u32 = 3;

/// Over the daemon's own timeout, so that its words arrive.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

/// A status comes from memory; a daemon that does not give it within this is as good as gone.
const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Data directory. Also $SOP_DATA; else ./sop-data
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub data: Option<PathBuf>,
    /// Socket of the daemon. Also $SOP_SOCKET; else $XDG_RUNTIME_DIR/sop/sock or /tmp/sop-$UID/sock
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub socket: Option<PathBuf>,
    /// Daemon to ask over TCP instead, https://HOST:PORT; it takes --credential too. Also $SOP_ADDRESS
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket", help_heading = "Global options")]
    pub address: Option<String>,
    /// Certificates of the authorities that may have signed that daemon's. Also $SOP_CA
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub ca: Option<PathBuf>,
    /// Certificate to be known by under TLS, PEM, with those that lead to its authority after it. Also $SOP_CLIENT_CERT
    #[arg(long, global = true, value_name = "FILE", requires = "client_key", help_heading = "Global options")]
    pub client_cert: Option<PathBuf>,
    /// Its private key, PEM, of mode 0600. Also $SOP_CLIENT_KEY
    #[arg(long, global = true, value_name = "FILE", requires = "client_cert", help_heading = "Global options")]
    pub client_key: Option<PathBuf>,
    /// Configuration file. Also $SOP_CONFIG; else sop.toml in the data directory
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// File with the secret to act by. Also $SOP_CREDENTIAL; else the operator's in the data directory
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub credential: Option<PathBuf>,
    /// Ask leave for the command, where a policy demands approvals, instead of giving it; the same command without this is
    /// let in once it is approved
    #[arg(
        long,
        global = true,
        value_name = "REASON",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        help_heading = "Global options"
    )]
    pub request_approval: Option<String>,
    /// Prove what a policy demands for exactly this command, by what is in a file or a directory, and give it then; NAME alone
    /// shows what has to be proven, and does nothing
    #[arg(
        long,
        global = true,
        value_name = "NAME=EVIDENCE",
        value_parser = proof::given,
        conflicts_with_all = ["request_approval", "dry_run", "print_permission", "print_curl"],
        help_heading = "Global options"
    )]
    pub prove: Vec<Given>,
    /// Say what would come of the command, and do nothing (exit code 0: nothing, 2: it would be done, 3: denied)
    #[arg(
        long,
        global = true,
        conflicts_with_all = ["request_approval", "print_permission", "print_curl"],
        help_heading = "Global options"
    )]
    pub dry_run: bool,
    /// Print what would permit the command, as an entry of the registry and a policy, and do nothing
    #[arg(long, global = true, conflicts_with_all = ["request_approval", "print_curl"], help_heading = "Global options")]
    pub print_permission: bool,
    /// Print the command as one of curl's, without the secret, and do nothing
    #[arg(long, global = true, conflicts_with = "request_approval", help_heading = "Global options")]
    pub print_curl: bool,
    /// For people, or for programs: the API's answer as it is
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table", help_heading = "Global options")]
    pub output: Format,
}

/// For commands that change something.
#[derive(Args, Clone, Debug)]
pub struct Mutation {
    /// Id of the command, a UUIDv7: a repeat with the same id is done once and gets the first outcome
    #[arg(long, value_name = "UUID", value_parser = version_7)]
    pub command_id: Option<CommandId>,
}

impl Mutation {
    pub fn id(&self) -> CommandId {
        self.command_id.unwrap_or_else(|| Clock::system().command_id())
    }
}

fn version_7(text: &str) -> Result<CommandId, String> {
    let id: CommandId = text.parse().map_err(|error: kernel::Malformed| error.to_string())?;
    match id.made_at() {
        Some(_) => Ok(id),
        None => Err("a UUID, but not of version 7".to_owned()),
    }
}

impl Globals {
    pub fn sources(&self) -> Sources {
        Sources {
            config: self.config.clone(),
            data: self.data.clone(),
            socket: self.socket.clone(),
            ..Sources::of_process()
        }
    }

    pub fn load(&self) -> Result<Config, Failure> {
        Config::load(&self.sources()).map_err(|problems| invalid(&problems))
    }

    /// What is in force, or what would be without the file: a stop must not wait until somebody has mended a file.
    pub fn load_anyhow(&self) -> Result<Config, Failure> {
        self.load().or_else(|failure| {
            let bare = Sources { config: Some(PathBuf::from("/dev/null")), ..self.sources() };
            let config = Config::load(&bare).map_err(|_| failure)?;
            let socket = config.http.socket.display();
            let sentence = format!("the configuration is not valid and is left aside; asking on {socket}");
            let remedy = "see `sop config validate`; name the socket with --socket if it is another";
            complain(&format!("{}\n  remedy: {remedy}\n", problem_line("warning", "config.invalid", &sentence)));
            Ok(config)
        })
    }

    /// The daemon, with the credential to show it.
    pub fn remote(&self) -> Result<Remote, Failure> {
        self.remote_over(&self.load()?)
    }

    /// The same, also when the configuration is not valid.
    pub fn remote_anyhow(&self) -> Result<Remote, Failure> {
        self.remote_over(&self.load_anyhow()?)
    }

    /// The daemon at the other end of the line, whose socket is where `config` says if no address was given.
    fn client(&self, config: &Config) -> Result<Client, Failure> {
        let Some(address) = self.far() else { return Ok(Client::new(&config.http.socket)) };
        let ca = self.ca.clone().or_else(|| variable("SOP_CA").map(PathBuf::from));
        let papers = match &self.client_cert {
            Some(certificate) => Some((certificate.clone(), self.client_key.clone().unwrap_or_default())),
            None => variable("SOP_CLIENT_CERT")
                .zip(variable("SOP_CLIENT_KEY"))
                .map(|(one, other)| (one.into(), other.into())),
        };
        let papers: Option<(PathBuf, PathBuf)> = papers;
        let papers = papers.as_ref().map(|(certificate, key)| Papers { certificate, key });
        Client::over_tcp_as(&address, ca.as_deref(), papers).map_err(|error| {
            let (code, remedy) = match &error {
                AddressError::Malformed { .. } => ("cli.address", "such as https://sop.example:8443".to_owned()),
                AddressError::Unprotected { .. } => {
                    ("cli.address", "use https, or a tunnel to this machine".to_owned())
                }
                AddressError::NoAuthority { .. } => {
                    ("cli.no_ca", "name the file with that authority's certificate with --ca or $SOP_CA".to_owned())
                }
                AddressError::Tls(error) => ("cli.ca", error.remedy()),
            };
            Failure::new(code, error.to_string(), remedy)
        })
    }

    /// The address of a daemon that is not asked on its socket. A socket that was named is nearer.
    fn far(&self) -> Option<String> {
        let variable = || variable("SOP_ADDRESS").and_then(|address| address.into_string().ok());
        self.address.clone().or_else(|| if self.socket.is_some() { None } else { variable() })
    }

    fn remote_over(&self, config: &Config) -> Result<Remote, Failure> {
        let named = self.credential.clone().or_else(|| variable("SOP_CREDENTIAL").map(PathBuf::from));
        let usual = Places::of(&config.store.data).credential;
        let (credential, looked_at) = match named {
            Some(file) => (Some(read_secret(&file)?), None),
            // The one that lies here is for the daemon that runs here, and no other is to see it.
            None if self.far().is_some() => (None, None),
            // Without one, the daemon says what it takes; that there is no daemon is worth more to know.
            None if !usual.exists() => (None, Some(usual)),
            None => (Some(read_secret(&usual)?), None),
        };
        let client = self.client(config)?.timeout(config.http.request_timeout + ANSWER_MARGIN);
        let instead = self.instead(config);
        Ok(Remote { client, credential, looked_at, instead, prove: self.prove.clone() })
    }

    /// What is done instead of what changes something.
    fn instead(&self, config: &Config) -> Option<Instead> {
        if let Some(reason) = &self.request_approval {
            return Some(Instead::Request(reason.clone()));
        }
        let curl = || {
            let ca = || self.ca.clone().or_else(|| variable("SOP_CA").map(PathBuf::from));
            let Some(address) = self.far() else {
                let socket = std::path::absolute(&config.http.socket).unwrap_or(config.http.socket.clone());
                let way = Some(("--unix-socket", socket));
                return Instead::Curl(Far { way, address: "http://localhost".to_owned() });
            };
            Instead::Curl(Far { way: ca().map(|ca| ("--cacert", ca)), address })
        };
        match (self.dry_run, self.print_permission, self.print_curl) {
            (true, ..) => Some(Instead::Try),
            (_, true, _) => Some(Instead::Permission),
            (.., true) => Some(curl()),
            (false, false, false) => None,
        }
    }

    /// For a command that asks no daemon: it would not be tried, but done.
    ///
    /// # Errors
    /// If it was to be tried, or printed.
    pub fn asks_nobody(&self) -> Result<(), Failure> {
        if !(self.dry_run || self.print_permission || self.print_curl) {
            return Ok(());
        }
        let detail = "this command asks nothing of a daemon, so that there is nothing to be tried or printed";
        let remedy = "give it without --dry-run, --print-permission and --print-curl";
        Err(Failure::new("cli.nothing_asked", detail, remedy))
    }

    /// The status page, for which no credential is needed.
    pub async fn status(&self) -> Result<Value, Failure> {
        self.page("/v1/status").await
    }

    /// A page for which no credential is needed, and which is answered from memory.
    pub async fn page(&self, path: &str) -> Result<Value, Failure> {
        let client = self.client(&self.load_anyhow()?)?.timeout(STATUS_WITHIN);
        client.get(path).await.map_err(|error| {
            let why = match error {
                ClientError::TimedOut(limit) => waited(limit),
                ClientError::Protocol(why) => why,
                error => return local(error),
            };
            let remedy = "try again; if it stays so, look at the log with `sop logs` and restart the daemon";
            Failure::unreachable("cli.no_answer", format!("the daemon does not say its status: {why}"), remedy)
        })
    }
}

/// A variable that is set to nothing counts as not set.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Several problems as one failure.
pub fn invalid(problems: &[config::Problem]) -> Failure {
    let remedy = "mend them; `sop config validate` checks again";
    let detail = match problems {
        [only] => return Failure::new(only.code, worded(only), only.remedy.clone()),
        several => format!("the configuration has {} problems", several.len()),
    };
    let failure = Failure::new("config.invalid", detail, remedy);
    problems.iter().fold(failure, |failure, problem| failure.note(problem.to_string()))
}

/// Without code and remedy, which stand elsewhere.
fn worded(problem: &config::Problem) -> String {
    let whole = problem.to_string();
    let tail = format!("; {} ({})", problem.remedy, problem.code);
    whole.strip_suffix(&tail).unwrap_or(&whole).to_owned()
}

/// The secret that a file holds.
pub fn read_secret(file: &std::path::Path) -> Result<Secret, Failure> {
    let unreadable = |why: String| {
        let detail = format!("the secret in {} cannot be used: {why}", file.display());
        Failure::new(
            "cli.secret_unreadable",
            detail,
            "name a file that holds one secret on one line, and that you may read",
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    let mode = std::fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let sentence = format!("others may read the secret in {} (mode {mode:04o})", file.display());
        let line = problem_line("warning", "cli.secret_mode", &sentence);
        complain(&format!("{line}\n  remedy: chmod 600 {}\n", file.display()));
    }
    secret_of(&text).map_err(|why| unreadable(why.to_owned()))
}

/// The secret that a text is, without the white space around it.
pub fn secret_of(text: &str) -> Result<Secret, &'static str> {
    match text.trim() {
        "" => Err("it is empty"),
        text if text.chars().all(|c| c.is_ascii_graphic()) => Ok(Secret::of(text)),
        _ => Err("it is not one word of ASCII"),
    }
}

/// The daemon at the other end of the socket.
pub struct Remote {
    client: Client,
    credential: Option<Secret>,
    /// Where a credential was looked for and not found.
    looked_at: Option<PathBuf>,
    instead: Option<Instead>,
    /// What is to be proven for what is asked.
    prove: Vec<Given>,
}

/// What is done instead of what changes something.
enum Instead {
    /// Leave is asked for it, for this reason.
    Request(String),
    /// It is said what would come of it.
    Try,
    /// It is said what would permit it.
    Permission,
    /// It is printed.
    Curl(Far),
}

/// Where curl is to ask.
struct Far {
    way: Option<(&'static str, PathBuf)>,
    address: String,
}

/// Arguments whose value is for nobody to read, or drawn anew each time, and the variables that stand for them.
const LEFT_OUT: [(&str, &str); 2] = [("secret", "SOP_SECRET"), ("secret_digest", "SOP_SECRET_DIGEST")];

impl Remote {
    /// Asks for something that changes nothing.
    pub async fn read(&self, action: &str, arguments: &Value) -> Result<Value, Failure> {
        let id = Clock::system().command_id();
        let answered = match (&self.instead, self.repeated(action, arguments, id).await) {
            // Who only wants to see something sees it, if nothing is needed for it.
            (Some(Instead::Request(reason)), Err(Lost::Refused(failure))) if failure.problem.missing.is_some() => {
                return Err(self.request(reason, action, arguments, id).await);
            }
            (None, Err(Lost::Refused(failure))) if failure.problem.missing.is_some() && !self.prove.is_empty() => {
                self.prove(action, arguments, id).await?;
                self.repeated(action, arguments, id).await
            }
            (_, answered) => answered,
        };
        answered.map_err(|error| match error {
            Lost::Refused(failure) => *failure,
            Lost::Unanswered(why) => Failure::unreachable("cli.no_answer", why, "ask again; see `sop status`"),
        })
    }

    /// Asks for a change, which is done once however often it has to be asked for.
    pub async fn change(&self, action: &str, arguments: &Value, id: CommandId) -> Result<Value, Failure> {
        if let Some(instead) = &self.instead {
            return Err(self.otherwise(instead, action, arguments, id).await);
        }
        self.prove(action, arguments, id).await?;
        self.give(action, arguments, id).await
    }

    /// Gives the evidence that there is for exactly this. Where only the goal is wanted, that ends it.
    async fn prove(&self, action: &str, arguments: &Value, id: CommandId) -> Result<(), Failure> {
        for Given { proof, evidence } in &self.prove {
            let mut about = json!({ "action": action, "arguments": arguments, "proof": proof });
            let Some(path) = evidence else {
                let goal = self.give("proof.goal", &about, id).await?;
                return Err(Failure::instead(Exit::Ok, goal, proof::goal));
            };
            about["evidence"] = proof::evidence(path)?.into();
            self.give("proof.submit", &about, id).await?;
        }
        Ok(())
    }

    /// Does what was asked for instead. What comes of that is no answer to the command, so it ends here.
    async fn otherwise(&self, instead: &Instead, action: &str, arguments: &Value, id: CommandId) -> Failure {
        match instead {
            Instead::Request(reason) => self.request(reason, action, arguments, id).await,
            Instead::Curl(far) => {
                let line = curl(far, self.credential.is_some(), action, arguments, id);
                Failure::instead(Exit::Ok, json!({ "curl": line }), |told| {
                    told["curl"].as_str().unwrap_or_default().to_owned()
                })
            }
            Instead::Try | Instead::Permission => {
                let permission = matches!(instead, Instead::Permission);
                let asked = json!({ "action": action, "arguments": arguments, "permission": permission });
                match self.repeated("request.try", &asked, id).await {
                    Ok(told) if permission => Failure::instead(Exit::Ok, told, permitting),
                    Ok(told) => Failure::instead(foreseen(&told), told, tried),
                    Err(Lost::Refused(failure)) => *failure,
                    Err(Lost::Unanswered(why)) => {
                        Failure::unreachable("cli.no_answer", why, "try again; nothing was done")
                    }
                }
            }
        }
    }

    async fn request(&self, reason: &str, action: &str, arguments: &Value, id: CommandId) -> Failure {
        let arguments = json!({ "action": action, "arguments": arguments, "reason": reason });
        match self.give("approval.request", &arguments, id).await {
            Ok(asked) => Failure::instead(Exit::Ok, asked, approval::requested),
            Err(failure) => failure,
        }
    }

    async fn give(&self, action: &str, arguments: &Value, id: CommandId) -> Result<Value, Failure> {
        self.repeated(action, arguments, id).await.map_err(|error| match error {
            Lost::Refused(failure) if failure.open => failure.note(format!("command id: {id}")),
            Lost::Refused(failure) => *failure,
            Lost::Unanswered(why) => {
                let remedy = format!("give the same command again with --command-id {id}: it is done once");
                Failure::unknown(id, format!("{why}; the outcome is unknown"), remedy)
            }
        })
    }

    /// Asks once, for what must not be done twice; `None` if the connection was lost.
    pub async fn once(&self, action: &str, arguments: &Value, id: CommandId) -> Result<Option<Value>, Failure> {
        if let Some(instead) = &self.instead {
            return Err(self.otherwise(instead, action, arguments, id).await);
        }
        self.prove(action, arguments, id).await?;
        let bearer = self.credential.as_ref().map(Secret::expose);
        match self.client.call(action, arguments, bearer, Some(id)).await {
            Ok(answer) => Ok(Some(answer)),
            Err(ClientError::TimedOut(_) | ClientError::Protocol(_)) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn repeated(&self, action: &str, arguments: &Value, id: CommandId) -> Result<Value, Lost> {
        let bearer = self.credential.as_ref().map(Secret::expose);
        let mut lost = None;
        for attempt in 0..=REPEATS {
            if attempt != 0 {
                tokio::time::sleep(REPEAT_PAUSE).await;
            }
            match self.client.call(action, arguments, bearer, Some(id)).await {
                Ok(answer) => return Ok(answer),
                Err(error @ ClientError::Protocol(_)) => lost = Some(error.to_string()),
                // It had longer than it gives itself: it will not answer the next one either.
                Err(ClientError::TimedOut(limit)) => return Err(Lost::Unanswered(waited(limit))),
                Err(ClientError::Refused(problem)) if is_open(&problem) => lost = Some(problem.detail),
                // What is needed is restarting, and nothing was done.
                Err(ClientError::Refused(problem)) if is_soon_back(&problem) && attempt != REPEATS => {}
                // If it went away with an earlier request, it may come back.
                Err(ClientError::Unreachable { .. }) if lost.is_some() || attempt + 1 < LOOKS => {}
                Err(error) => return Err(Lost::Refused(Box::new(self.failed(error)))),
            }
        }
        Err(Lost::Unanswered(lost.unwrap_or_default()))
    }

    /// Whether this acts by a token, which is good for little.
    pub fn by_token(&self) -> bool {
        self.credential.as_ref().is_some_and(|credential| credential.expose().starts_with("sop_tk_"))
    }

    fn failed(&self, error: ClientError) -> Failure {
        let failure = local(error);
        match &self.looked_at {
            Some(file) if failure.problem.code == "door.no_credential" => {
                failure.note(format!("no credential was named, and there is none at {}", file.display()))
            }
            _ => failure,
        }
    }
}

/// How a trial ends, as the command would.
fn foreseen(told: &Value) -> Exit {
    let layer = serde_json::from_value::<Layer>(told["denial"]["layer"].clone()).ok();
    match (told["would"].as_str(), layer) {
        (Some("nothing"), _) => Exit::Ok,
        (Some("change"), _) => Exit::Findings,
        (_, Some(_)) if !told["denial"]["missing"].is_null() => Exit::NeedsApproval,
        (_, Some(layer)) => Exit::of(layer),
        _ => Exit::Failed,
    }
}

fn tried(told: &Value) -> String {
    let records: Vec<_> = told["records"].as_array().into_iter().flatten().map(cell).collect();
    let what = match told["would"].as_str() {
        Some("nothing") => "Nothing would change.".to_owned(),
        Some("change") if records.is_empty() => "It would be done.".to_owned(),
        Some("change") => format!("It would be done, and recorded as {}.", records.join(", ")),
        would => {
            let denial = &told["denial"];
            let word = if would == Some("refused") { "let in, and refused" } else { "denied" };
            let rule = denial["rule"].as_str().map(|rule| format!("\n  rule: {}", plain(rule))).unwrap_or_default();
            let (reason, code, remedy) = (cell(&denial["reason"]), cell(&denial["code"]), cell(&denial["remedy"]));
            format!("It would be {word}: {reason} ({code}){rule}\n  remedy: {remedy}")
        }
    };
    format!("{what}\nNothing was done.")
}

/// As a file of policies: what is no policy is a comment.
fn permitting(told: &Value) -> String {
    let (registry, policy) = (&told["permission"]["registry"], &told["permission"]["policy"]);
    let who = cell(&told["principal"]);
    let what = format!("{} on {}", cell(&told["action"]), cell(&told["resource"]));
    let list = |list: &Value| list.as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(", ");
    let admitted = match (registry["held"].as_bool(), registry["command"].as_str()) {
        (Some(true), _) => format!("// Registry: {who} is admitted for {}.", cell(&told["action"])),
        (_, Some(command)) => format!("// Registry: {}", plain(command)),
        _ => format!("// Registry: {who} is not admitted, and is not admitted again."),
    };
    let mut lines = vec![format!("// {who}: {what}"), admitted];
    lines.push(match (policy["held"].as_bool(), policy["suffices"].as_bool()) {
        (None, _) => format!("// Policy: {}.", cell(&policy["why"])),
        (Some(true), _) => format!("// Policy: permitted already, by {}.", list(&policy["by"])),
        (_, Some(true)) => "// Policy: propose the active text with this.".to_owned(),
        _ => match list(&policy["forbidden_by"]).as_str() {
            "" => "// Policy: this, and an active text that can be judged.".to_owned(),
            forbids => format!("// Policy: this, and an end of what forbids it: {forbids}."),
        },
    });
    lines.extend(policy["text"].as_str().map(|text| plain_lines(text.trim_end())));
    lines.join("\n")
}

/// The request as a line for a shell. The secret goes in by the file that the variable names, and so is in no list of processes.
fn curl(far: &Far, credential: bool, action: &str, arguments: &Value, id: CommandId) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let members = arguments.as_object().into_iter().flatten().map(|(name, value)| {
        let left_out = LEFT_OUT.iter().find(|(left_out, _)| left_out == name);
        match left_out {
            Some((_, variable)) => format!("{}:\"'\"${variable}\"'\"", json!(name)),
            None => format!("{}:{value}", json!(name)).replace('\'', r"'\''"),
        }
    });
    let body = format!("'{{{}}}'", members.collect::<Vec<_>>().join(","));
    let (shown, header) = if credential {
        ("printf 'Authorization: Bearer %s\\n' \"$(cat \"$SOP_CREDENTIAL\")\" | ", "-H @- ")
    } else {
        ("", "")
    };
    let way = far.way.as_ref().map(|(option, file)| format!("{option} {} ", quoted(&file.display().to_string())));
    let (way, url) = (way.unwrap_or_default(), quoted(&format!("{}/v1/{action}", far.address.trim_end_matches('/'))));
    format!(
        "{shown}curl -sS {way}{header}-H 'Content-Type: application/json' -H 'Idempotency-Key: {id}' -d {body} {url}"
    )
}

/// Why a request has no answer.
enum Lost {
    /// It has one: no.
    Refused(Box<Failure>),
    Unanswered(String),
}

/// The daemon does not know whether the request was carried out; a repeat with the same id learns it.
fn is_open(problem: &Problem) -> bool {
    ["host.outcome_unknown", "http.timeout"].contains(&problem.code.as_str())
}

/// A part is down or full, and says to ask again in a moment.
fn is_soon_back(problem: &Problem) -> bool {
    matches!(problem.layer, Layer::Availability | Layer::Limit)
        && problem.retry_after_ms.is_some_and(|wait| wait <= SOON_MS)
}

fn waited(limit: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(limit))
}

fn local(error: ClientError) -> Failure {
    let detail = error.to_string();
    match error {
        ClientError::Refused(problem) => Failure::of(*problem),
        ClientError::Unreachable { .. } => {
            let remedy = "start one with `sop dev` or `sop up`, or name the running one with --socket or --address";
            Failure::unreachable("cli.unreachable", detail, remedy)
        }
        ClientError::Unbelieved { .. } => {
            let remedy = "name the certificate of the authority that vouches for it with --ca (`sop crypto authority` shows one of \
                          the daemon's own), and the daemon by a name that its certificate has";
            Failure::unreachable("cli.unbelieved", detail, remedy)
        }
        ClientError::Stranger { .. } => {
            Failure::unreachable("cli.stranger", detail, "run `sop` as the daemon's user, or name another --socket")
        }
        ClientError::TimedOut(_) | ClientError::Protocol(_) => {
            Failure::unreachable("cli.no_answer", detail, "ask again")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_word() {
        assert_eq!(secret_of(" sop_op_00 \n").unwrap().expose(), "sop_op_00");
        for text in ["", " \n", "two words", "naïve", "a\nb"] {
            assert!(secret_of(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_request_is_printed_without_its_secrets() {
        let id: CommandId = "0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        let near = Far { way: Some(("--unix-socket", "/run/it's/sock".into())), address: "http://localhost".into() };
        let arguments = json!({ "note": "it's $(done)", "secret": "sop_tk_1", "uses": 2 });
        assert_eq!(
            curl(&near, true, "token.consume", &arguments, id),
            r#"printf 'Authorization: Bearer %s\n' "$(cat "$SOP_CREDENTIAL")" | curl -sS --unix-socket '/run/it'\''s/sock' -H @- "#.to_owned()
                + "-H 'Content-Type: application/json' -H 'Idempotency-Key: 0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f' "
                + r#"-d '{"note":"it'\''s $(done)","secret":"'"$SOP_SECRET"'","uses":2}' 'http://localhost/v1/token.consume'"#
        );
        let far = Far { way: None, address: "https://sop.example:8443/".into() };
        let line = curl(&far, false, "gap.scan", &json!({}), id);
        assert!(
            line.starts_with("curl -sS -H ") && line.ends_with("-d '{}' 'https://sop.example:8443/v1/gap.scan'"),
            "{line}"
        );
    }

    #[test]
    fn a_trial_ends_as_its_command_would() {
        let denied = |denial: Value| json!({ "would": "denied", "denial": denial });
        for (told, exit) in [
            (json!({ "would": "nothing" }), Exit::Ok),
            (json!({ "would": "change", "records": ["pool.defined"] }), Exit::Findings),
            (denied(json!({ "layer": "policy" })), Exit::Denied),
            (denied(json!({ "layer": "seal" })), Exit::Denied),
            (denied(json!({ "layer": "policy", "missing": { "approvals": 1 } })), Exit::NeedsApproval),
            (json!({ "would": "refused", "denial": { "layer": "decide" } }), Exit::Failed),
        ] {
            assert_eq!(foreseen(&told), exit, "{told}");
        }
    }

    #[test]
    fn a_command_id_has_a_time_in_it() {
        assert!(version_7("0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f").is_ok());
        assert!(version_7("c9a04d27-9f0a-4f0e-8a4c-000000000001").is_err());
        assert!(version_7("7").is_err());
    }
}
