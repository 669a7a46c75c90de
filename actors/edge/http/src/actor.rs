//! The server as a supervised actor.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::socket::Claim;
use crate::{Api, Limits, Listeners, Server, Tcp, bind, tcp};

/// How long a daemon on our socket may prove to be one that was killed just now.
const PATIENCE: Duration = Duration::from_secs(1);

/// Binds when it starts, serves while it lives. Stopped, it finishes what is in flight; killed, it cuts everything off.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpActor;

pub struct Arguments {
    pub socket: PathBuf,
    pub tcp: Option<Tcp>,
    pub api: Arc<dyn Api>,
    pub limits: Limits,
}

/// Nothing can be asked of the actor from outside.
#[derive(Debug)]
pub struct Msg(Ended);

/// The accept loop is over, and nobody had asked it to end.
#[derive(Debug)]
struct Ended;

/// Dropped when the accept loop ends, in whatever way.
struct TellWhenDone(ActorRef<Msg>);

impl Drop for TellWhenDone {
    fn drop(&mut self) {
        // Refused when the actor itself is ending, which is the usual case.
        let _ = self.0.cast(Msg(Ended));
    }
}

#[doc(hidden)]
pub struct State {
    /// Dropped before the tasks, which end a little later: the path is free for the next incarnation at once.
    claim: Option<Claim>,
    stop: Option<oneshot::Sender<()>>,
    /// The accept loop alone. Dropping it ends the loop, and the loop owns the connections.
    serving: JoinSet<()>,
}

impl Actor for HttpActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { socket, tcp, api, limits } = arguments;
        let bound = bind(&socket, PATIENCE).await?;
        let tcp = match tcp {
            Some(tcp) => Some(tcp::bind(tcp).await?),
            None => None,
        };
        let listeners = Listeners { socket: bound.listener, tcp };
        let (stop, stopped) = oneshot::channel();
        let server = Server::new(api, limits);
        let tell = TellWhenDone(myself);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let _tell = tell;
            // A dropped sender is a stop as well.
            server.serve(listeners, async { drop(stopped.await) }).await;
        });
        Ok(State { claim: Some(bound.claim), stop: Some(stop), serving })
    }

    async fn handle(&self, _: ActorRef<Msg>, Msg(Ended): Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match state.serving.join_next().await {
            Some(Err(error)) => Err(error.into()),
            Some(Ok(())) | None => Err("the accept loop ended by itself".into()),
        }
    }

    async fn post_stop(&self, _: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        // New callers find no socket rather than one that does not answer.
        state.claim = None;
        state.stop = None;
        while let Some(ended) = state.serving.join_next().await {
            ended?;
        }
        Ok(())
    }
}
