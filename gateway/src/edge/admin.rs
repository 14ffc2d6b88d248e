//! The admin listener: metrics and liveness, for the operator's own machines.

use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use cocoon_runtime::Lifecycle;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How long histograms keep single samples where nobody scrapes.
const UPKEEP_PACE: Duration = Duration::from_secs(5);

pub fn router(metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/metrics", get(move || render(metrics.clone())))
        .route("/health", get(|| async { axum::Json(serde_json::json!({ "status": "ok" })) }))
}

/// Folds samples into their buckets, so that memory stays bounded without a scraper.
pub fn keep_up(metrics: PrometheusHandle, lifecycle: &Lifecycle) {
    let soft = lifecycle.soft().clone();
    lifecycle.spawn("metrics.upkeep", async move {
        let mut ticks = interval(UPKEEP_PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => metrics.run_upkeep(),
                () = soft.cancelled() => return,
            }
        }
    });
}

async fn render(metrics: PrometheusHandle) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}
