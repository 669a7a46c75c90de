//! Backups in an object store that speaks the S3 protocol: a [`Target`] like a directory, over a network.
//!
//! What is asked goes to a thread of its own, which has the connections; whoever asks waits for the answer as for a disk.
//!
//! # Invariants
//! 1. An object is there whole or not at all, as its store promises; its SHA-256 goes with it and is checked there.
//! 2. No call lasts for ever: each attempt has its time, attempts are few and their pauses grow.
//! 3. The secret is in memory and in signatures only: no error, log, argument or `Debug` has it.
//! 4. What cannot be asked is never told from what is not there by guessing: an object is missing only if the store, which
//!    has that bucket, says so.

mod credentials;
mod http;

pub use credentials::Credentials;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use config::{Address, S3};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, GetOptions, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload, RetryConfig,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use vault::{Target, Trouble, VaultError};

use crate::http::{Connector, Heard};

/// The pause before a second attempt; it doubles with each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A bucket, or what is below a prefix in it.
pub struct Bucket {
    address: Address,
    jobs: Option<UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(Arc<Reached>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The store, and what was last heard of it.
struct Reached {
    store: AmazonS3,
    heard: Heard,
}

impl Bucket {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`VaultError::Remote`] if it could not be asked at all.
    pub fn new(address: &Address, how: &S3, credentials: Credentials) -> Result<Self, VaultError> {
        let S3 { endpoint, region, allow_http, ca, credentials: _, timeout, attempts } = how;
        let unusable = |why: String| remote(address, Trouble::Unusable, why);
        let heard = Heard::default();
        let connector = Connector::new(*allow_http, ca.as_deref(), *timeout, &heard).map_err(unusable)?;
        let Credentials { id, secret, token } = credentials;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&address.bucket)
            .with_region(region)
            .with_access_key_id(id)
            .with_secret_access_key(secret)
            .with_allow_http(*allow_http)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_client_options(ClientOptions::new().with_allow_http(*allow_http))
            .with_http_connector(connector)
            .with_retry(RetryConfig {
                backoff: BackoffConfig { init_backoff: PAUSE_FIRST, max_backoff: PAUSE_MAX, base: 2. },
                max_retries: attempts.saturating_sub(1),
                retry_timeout: timeout.saturating_mul(u32::try_from(*attempts).unwrap_or(u32::MAX)),
            });
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(token) = token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|error| unusable(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unusable(error.to_string()))?;
        let (jobs, mut asked) = unbounded_channel::<Job>();
        let reached = Arc::new(Reached { store, heard });
        let work = move || {
            runtime.block_on(async {
                while let Some(job) = asked.recv().await {
                    job(reached.clone()).await;
                }
            });
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "what it does is waited for, and it is joined when its owner goes"
        )]
        let thread = std::thread::Builder::new().name("bucket".to_owned()).spawn(work);
        let thread = thread.map_err(|error| unusable(error.to_string()))?;
        Ok(Self { address: address.clone(), jobs: Some(jobs), thread: Some(thread) })
    }

    /// Has `work` done where the connections are, and waits. `None` if there is nothing of that name, or something already.
    fn ask<T, F>(&self, work: impl FnOnce(Arc<Reached>) -> F + Send + 'static) -> Result<Option<T>, VaultError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + 'static,
    {
        let (tell, told) = sync_channel(1);
        let job: Job = Box::new(move |reached| {
            Box::pin(async move {
                reached.heard.forget();
                let heard = reached.heard.clone();
                let done = work(reached).await;
                // Who asked waits for it.
                let _ = tell.send(done.map_err(|error| (heard.last(), error)));
            })
        });
        let gone = || remote(&self.address, Trouble::Unusable, "its thread has ended".to_owned());
        self.jobs.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        match told.recv().map_err(|_| gone())? {
            Ok(done) => Ok(Some(done)),
            Err((Some((Trouble::NoBucket, why)), _)) => Err(remote(&self.address, Trouble::NoBucket, why)),
            Err((_, Error::NotFound { .. } | Error::AlreadyExists { .. })) => Ok(None),
            Err((Some((trouble, why)), _)) => Err(remote(&self.address, trouble, why)),
            Err((None, error)) => Err(remote(&self.address, Trouble::Failing, error.to_string())),
        }
    }

    /// As the store knows it.
    fn path(&self, name: &str) -> Path {
        self.address.prefix.split('/').chain(name.split('/')).filter(|part| !part.is_empty()).collect()
    }

    fn write(&self, name: &str, bytes: &[u8], mode: PutMode) -> Result<bool, VaultError> {
        let (path, payload) = (self.path(name), PutPayload::from(bytes.to_vec()));
        let done = self.ask(move |reached| async move {
            reached.store.put_opts(&path, payload, PutOptions { mode, ..PutOptions::default() }).await
        })?;
        Ok(done.is_some())
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // The thread ends when nothing more can be asked.
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was an answer that did not come.
            let _ = thread.join();
        }
    }
}

impl Target for Bucket {
    fn place(&self) -> String {
        self.address.to_string()
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, VaultError> {
        let path = self.path(folder);
        let listed = self.ask(move |reached| async move { reached.store.list_with_delimiter(Some(&path)).await })?;
        let Some(listed) = listed else { return Ok(Vec::new()) };
        let objects = listed.objects.iter().filter_map(|object| object.location.filename());
        let folders = listed.common_prefixes.iter().filter_map(Path::filename);
        let mut names: Vec<String> = objects.chain(folders).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        let path = self.path(name);
        let got = self.ask(move |reached| async move {
            reached.store.get_opts(&path, GetOptions::default()).await?.bytes().await
        });
        Ok(got?.map(Vec::from))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        self.write(name, bytes, PutMode::Overwrite).map(drop)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, VaultError> {
        self.write(name, bytes, PutMode::Create)
    }

    fn remove(&self, name: &str) -> Result<(), VaultError> {
        let path = self.path(name);
        self.ask(move |reached| async move { reached.store.delete(&path).await }).map(drop)
    }

    /// What was put is there for good once it is answered.
    fn sync(&self) -> Result<(), VaultError> {
        Ok(())
    }

    /// A store keeps nobody out: each object is put only where there is none.
    fn hold(&self, _: &str) -> Result<Option<Box<dyn Send>>, VaultError> {
        Ok(None)
    }
}

pub(crate) fn remote(address: &Address, trouble: Trouble, why: String) -> VaultError {
    VaultError::Remote { place: address.to_string(), trouble, why }
}
