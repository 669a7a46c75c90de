//! The actor around a protocol: one thing at a time, no panic of a handler unseen.
//!
//! What a call seldom needs is boxed: the future of a handler is moved for each message, and with the way through the door
//! in it that cost more than all else.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use host::OwnedTask;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::cx::Caller;
use crate::post::{self, Handled};
use crate::runtime::{Permit, Seat};
use crate::{CallError, Cx, Fault, Letter, Protocol};

/// What a protocol's actor is told. Only a line or the post makes one.
pub(crate) enum Msg<P: Protocol> {
    Call { request: P::Request, caller: Caller, reply: oneshot::Sender<Result<P::Reply, CallError>>, permit: Permit },
    Letter { letter: Box<Letter>, done: oneshot::Sender<Handled> },
}

pub(crate) struct Shell<P>(PhantomData<fn() -> P>);

impl<P> Default for Shell<P> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

type Make<P> = Arc<dyn Fn() -> P + Send + Sync>;

/// One incarnation.
pub(crate) struct Running<P: Protocol> {
    protocol: P,
    make: Make<P>,
    seat: Arc<Seat>,
    /// Tells the post to end, and hears that it has.
    post: Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>,
    _posting: OwnedTask,
}

impl<P: Protocol> Actor for Shell<P> {
    type Msg = Msg<P>;
    type State = Running<P>;
    type Arguments = (Arc<Seat>, Make<P>);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg<P>>,
        (seat, make): (Arc<Seat>, Make<P>),
    ) -> Result<Running<P>, ActorProcessingErr> {
        seat.dependencies().await?;
        let protocol = start(&seat, &make).await?;
        seat.started();
        let (stop, stopping) = oneshot::channel();
        let (tell, done) = oneshot::channel();
        let hand = move |letter, done| myself.send_message(Msg::Letter { letter: Box::new(letter), done }).is_ok();
        let posting = OwnedTask::spawn(post::deliver(seat.clone(), hand, stopping, tell));
        Ok(Running { protocol, make, seat, post: Some((stop, done)), _posting: posting })
    }

    async fn handle(
        &self,
        _: ActorRef<Msg<P>>,
        msg: Msg<P>,
        running: &mut Running<P>,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Call { request, caller, reply, permit } => {
                let mut cx = Cx::new(&running.seat, Some(caller));
                let answered = caught(running.protocol.call(request, &mut cx)).await;
                let answered = answered.unwrap_or_else(|panic| Err(Fault::new(format!("it panicked: {panic}"))));
                let (answer, ends) = match answered {
                    Ok(answer) if cx.posted.is_empty() => (Ok(answer), None),
                    Ok(answer) => {
                        let sent = Box::pin(running.seat.send(cx.posted)).await;
                        let name = || running.seat.me.name().to_owned();
                        (sent.map(|()| answer).map_err(|denial| CallError::Unsent { name: name(), denial }), None)
                    }
                    Err(fault) => {
                        let name = running.seat.me.name().to_owned();
                        (Err(CallError::Fault { name, fault: fault.clone() }), Some(fault))
                    }
                };
                // A permit ends before its caller hears of it, who may ask for the next one at once.
                drop(permit);
                // The caller may have stopped waiting, as is its right.
                let _ = reply.send(answer);
                ends.map_or(Ok(()), |fault| Err(fault.into()))
            }
            Msg::Letter { letter, done } => Box::pin(running.letter(&letter, done)).await,
        }
    }

    async fn post_stop(&self, _: ActorRef<Msg<P>>, running: &mut Running<P>) -> Result<(), ActorProcessingErr> {
        if let Some((stop, done)) = running.post.take() {
            // The letter in hand was handled; what became of it is put on record first.
            let _ = stop.send(());
            let _ = done.await;
        }
        let mut cx = Cx::new(&running.seat, None);
        running.protocol.stopping(&mut cx).await;
        running.seat.send(cx.posted).await.map_err(|denial| denial.to_string().into())
    }
}

impl<P: Protocol> Running<P> {
    async fn letter(&mut self, letter: &Letter, done: oneshot::Sender<Handled>) -> Result<(), ActorProcessingErr> {
        let mut cx = Cx::new(&self.seat, None);
        let handled = caught(self.protocol.message(letter, &mut cx)).await;
        let (handled, panicked) = match handled {
            Ok(Ok(())) => (Handled::Done { posted: cx.posted }, false),
            Ok(Err(rejected)) => (Handled::Failed { why: rejected.to_string() }, false),
            Err(panic) => (Handled::Failed { why: format!("it panicked: {panic}") }, true),
        };
        let _ = done.send(handled);
        if panicked {
            // Whoever writes to a protocol must not spend its restarts. But what panicked may be half changed.
            self.protocol = start(&self.seat, &self.make).await?;
        }
        Ok(())
    }
}

async fn start<P: Protocol>(seat: &Arc<Seat>, make: &Make<P>) -> Result<P, ActorProcessingErr> {
    let mut protocol = make();
    let mut cx = Cx::new(seat, None);
    protocol.started(&mut cx).await?;
    seat.send(cx.posted).await.map_err(|denial| denial.to_string())?;
    Ok(protocol)
}

/// The outcome, or what the panic said.
async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(said(&*panic))),
    })
    .await
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
