//! The HTTP server of the page, which runs on its own thread.

use std::error::Error;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

type StartError = Box<dyn Error + Send + Sync>;

/// A running server. Dropping it stops the server and frees its port.
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the server. When this function returns, the server accepts connections.
    pub(super) fn start(builder: PrometheusBuilder) -> Result<(PrometheusRecorder, Self), StartError> {
        let (stop, stopped) = oneshot::channel();
        let (started_sender, started) = mpsc::channel();
        let serve = move || {
            // The runtime is created and dropped on this thread, because tokio forbids dropping a runtime on a thread
            // of another runtime.
            match listen(builder) {
                Ok((runtime, recorder, server)) => {
                    _ = started_sender.send(Ok(recorder));
                    runtime.spawn(server);
                    // Nothing is ever sent. This call returns when the sender is dropped.
                    _ = runtime.block_on(stopped);
                }
                Err(error) => _ = started_sender.send(Err(error)),
            }
        };
        let thread = thread::Builder::new().name("tallyd-client-http".to_owned()).spawn(serve)?;
        let recorder = started.recv()??;
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
            tracing::warn!(
                ?error,
                "the Prometheus page is no longer served; restart the application to serve it again"
            );
        }
    };
    Ok((runtime, recorder, server))
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // `join` fails only if the thread panicked, which the panic hook has reported.
            _ = thread.join();
        }
    }
}
