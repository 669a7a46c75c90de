//! Where things lie: the configuration file, the data directory and the socket.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::Origin;

pub(crate) const DATA: &str = "SOP_DATA";
pub(crate) const SOCKET: &str = "SOP_SOCKET";
const CONFIG: &str = "SOP_CONFIG";
const RUNTIME: &str = "XDG_RUNTIME_DIR";

/// The file that is looked for in the data directory.
const FILE: &str = "sop.toml";

/// All that the configuration depends on, besides the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--socket`
    pub socket: Option<PathBuf>,
    pub environment: BTreeMap<OsString, OsString>,
    pub uid: u32,
}

/// Where the configuration file is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// By the command line or the environment. It is read in the place of the other, and has to be there.
    pub named: Option<PathBuf>,
    /// In the data directory; it need not be there.
    pub beside_the_data: PathBuf,
}

impl Sources {
    /// Those of this process; the three paths of the command line are for the caller to fill in.
    pub fn of_process() -> Self {
        let environment = std::env::vars_os().collect();
        Self { environment, uid: rustix::process::getuid().as_raw(), ..Self::default() }
    }

    /// A variable that is set to nothing counts as not set, as everywhere in Unix.
    pub(crate) fn variable(&self, name: &str) -> Option<PathBuf> {
        self.environment.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The data directory, if the command line or the environment names it.
    pub(crate) fn data(&self) -> Option<(PathBuf, Origin)> {
        let flag = self.data.clone().map(|path| (path, Origin::Flag("--data")));
        flag.or_else(|| Some((self.variable(DATA)?, Origin::Environment(DATA))))
    }

    /// The places of the configuration file, of which one is read.
    pub(crate) fn files(&self, data: &Path) -> Files {
        Files { named: self.config.clone().or_else(|| self.variable(CONFIG)), beside_the_data: data.join(FILE) }
    }
}

/// Where the socket is: the command line, the environment, `configured` by a file, the user's runtime directory, or a
/// directory of the user's own under `/tmp`.
pub fn socket(sources: &Sources, configured: Option<(PathBuf, Origin)>) -> (PathBuf, Origin) {
    if let Some(path) = sources.socket.clone() {
        return (path, Origin::Flag("--socket"));
    }
    if let Some(path) = sources.variable(SOCKET) {
        return (path, Origin::Environment(SOCKET));
    }
    if let Some(configured) = configured {
        return configured;
    }
    // The XDG specification tells to ignore relative paths.
    match sources.variable(RUNTIME).filter(|path| path.is_absolute()) {
        Some(runtime) => (runtime.join("sop/sock"), Origin::Environment(RUNTIME)),
        None => (PathBuf::from(format!("/tmp/sop-{}/sock", sources.uid)), Origin::Default),
    }
}
