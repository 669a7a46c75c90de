//! HTTP and JSON on a Unix socket, and over TCP where that is asked for: the way in for the command line, the console and every program outside.
//!
//! Pure transport. It turns a request into a [`Call`], hands it to an [`Api`], and turns what comes back into JSON or an
//! RFC 9457 [`Problem`]. It knows no machine, checks no credential and decides nothing; the door does.
//!
//! `POST /v1/{action}` takes the arguments as a JSON object; `GET /v1/{action}?name=value` serves the actions that only
//! read. `GET /v1/actions`, `/v1/status`, `/v1/health`, `/health`, `/health/live`, `/health/ready` and `/metrics` need no
//! credential. `POST /access/v1/…` and `GET /.well-known/authzen-configuration` are the decision point of the AuthZEN Authorization
//! API 1.0: two of those actions, under the names of that standard.
//!
//! # Invariants
//! 1. Every answer that is not a success is a problem document with a stable code and a remedy, whoever found the fault:
//!    this crate, the framework under it, or the [`Api`]. Bytes that are no HTTP request at all get hyper's bare 400.
//! 2. A credential is in no log line and no `Debug` output.
//! 3. Everything that is read, waited for or kept open has a bound ([`Limits`]).
//! 4. What runs is owned: connections by the accept loop, the accept loop by [`HttpActor`]; when the owner goes, they go.
//! 5. Only its owner can reach the socket: mode 0600, in a directory that nobody else can change.
//! 6. A client's certificate is believed as far as the authorities in the file that the operator names vouch for it, and says
//!    nothing beyond the connection on which its key was proven: there is no resumption where they are asked for.
//! 7. What leaves the machine is under TLS 1.3: a listener without it is on a loopback address, and so is a client's peer.
//!    But what [`Outward`] sends is for everybody to read, and goes where the operator says.

mod access;
mod actor;
mod api;
pub mod client;
mod outward;
mod pace;
mod peer;
mod problem;
mod request;
mod routes;
mod server;
mod socket;
mod tcp;
mod tls;

pub use actor::{Arguments, HttpActor, Msg};
pub use api::{ActionInfo, Answer, Api, Call, Refused, Source};
pub use client::{AddressError, Client, ClientError};
pub use outward::{Lost, Outward};
pub use peer::PeerCertificate;
pub use problem::Problem;
pub use request::{bearer, command_id};
pub use server::{Limits, Listeners, Server};
pub use socket::{BindError, Bound, bind};
pub use tcp::Tcp;
pub use tls::{Papers, Shown, Tls, TlsError, fingerprint_in};
