//! Traces by OTLP over HTTP.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use tokio::runtime::Handle;

/// Most spans that wait for the collector; more are dropped and counted by the SDK. About 4 MiB.
const SPANS_MAX: usize = 4096;

/// Most time for one export, so that a stuck collector costs spans and not memory.
const EXPORT_MAX: Duration = Duration::from_secs(2);

/// A provider whose exporter sends on the current runtime.
pub(super) fn provider(service: &str, endpoint: &str, share: f64) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_MAX)
        .build()?;
    let exporter = OnRuntime { exporter: Arc::new(exporter), runtime: Handle::current() };
    let batches = BatchConfigBuilder::default().with_max_queue_size(SPANS_MAX).build();
    Ok(SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(service.to_owned()).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .build())
}

/// Sends what waits and ends the exporter, within the limit.
pub(super) fn flush(provider: &SdkTracerProvider, limit: Duration) {
    if let Err(error) = provider.shutdown_with_timeout(limit) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the last traces were not sent");
    }
}

/// The SDK's batch processor exports from a thread of its own; the HTTP client needs our runtime's sockets and timers.
#[derive(Debug)]
struct OnRuntime {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
}

impl SpanExporter for OnRuntime {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = self.exporter.clone();
        // Waited for here, so it needs no tracking: the SDK has one export at a time and a limit on each.
        let sent = self.runtime.spawn(async move { exporter.export(batch).await });
        sent.await.unwrap_or_else(|lost| Err(OTelSdkError::InternalFailure(lost.to_string())))
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(limit)
    }
}
