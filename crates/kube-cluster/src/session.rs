//! A client for a process that stays: one connection, and one thread that keeps it and all watches going.

use std::ops::ControlFlow;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::approval::Verdict;
use crate::watch::{Event, Watched};
use crate::{Api, Error, Source, runtime};

/// A kept client. Dropped, it ends its watches and its thread.
#[derive(Debug)]
pub struct Session {
    api: Api,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Starts the thread. Nothing is sent yet.
    ///
    /// # Errors
    /// When `source` cannot be used, or no thread be started.
    pub fn start(source: Source) -> Result<Self, Error> {
        let api = Api::new(source)?;
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = Builder::new()
            .name("api-server".to_owned())
            .spawn(move || {
                // The sender says nothing; that it is gone is the message.
                let _ = runtime.block_on(stopped);
            })
            .map_err(|error| Error::unavailable("start the thread that speaks to the API server", error))?;
        Ok(Self { api, handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Tells `sink` what there is of `watched`, and from then on what changes, until it breaks or the session ends. It is called in
    /// the session's thread, which waits for it.
    pub fn watch<T: DeserializeOwned + Send + 'static>(
        &self,
        watched: Watched,
        sink: impl FnMut(Event<T>) -> ControlFlow<()> + Send + 'static,
    ) {
        let api = self.api.clone();
        self.handle.spawn(async move { api.follow(&watched, sink).await });
    }

    /// [`Api::get`], for callers that are not asynchronous.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub fn get<T: DeserializeOwned>(
        &self,
        attempt: String,
        path: String,
        deadline: Instant,
    ) -> Result<T, Error> {
        self.handle.block_on(self.api.get(attempt, path, deadline))
    }

    /// [`Api::settle`], for callers that are not asynchronous.
    ///
    /// # Errors
    /// As [`Api::settle`].
    pub fn settle(&self, request: &str, deadline: Instant) -> Result<Verdict, Error> {
        self.handle.block_on(self.api.settle(request, deadline))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It can have panicked only in a sink, which has been told by then.
            let _ = thread.join();
        }
    }
}
