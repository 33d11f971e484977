//! The server of the page, on a thread of its own.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::StartError;

/// Serves until it is dropped; then the port is free.
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens; whoever asks is answered from then on.
    pub(super) fn start(builder: PrometheusBuilder) -> Result<(PrometheusRecorder, Self), StartError> {
        let (stop, stopped) = oneshot::channel();
        let (told, tell) = mpsc::channel();
        let serve = move || {
            // All of it on this thread: the application may run another runtime, in which none may be dropped.
            match listen(builder) {
                Ok((runtime, recorder, server)) => {
                    _ = told.send(Ok(recorder));
                    runtime.spawn(server);
                    // Nothing is ever sent: the other end is dropped.
                    _ = runtime.block_on(stopped);
                }
                Err(error) => _ = told.send(Err(error)),
            }
        };
        let thread = thread::Builder::new().name("tallyd-client-http".to_owned()).spawn(serve)?;
        let recorder = tell.recv()??;
        Ok((recorder, Self { stop: Some(stop), thread: Some(thread) }))
    }
}

fn listen(
    builder: PrometheusBuilder,
) -> Result<(Runtime, PrometheusRecorder, impl Future<Output = ()> + Send + 'static), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();
    let (recorder, server) = builder.build()?;
    drop(context);
    let server = async {
        if let Err(error) = server.await {
            tracing::warn!(?error, "metrics cannot be scraped any more");
        }
    };
    Ok((runtime, recorder, server))
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Fails only where it panicked, which was told then.
            _ = thread.join();
        }
    }
}
