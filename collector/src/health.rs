//! Metrics and health over plain HTTP, for the machine's own monitoring.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Answers until the service ends.
pub async fn run(socket: TcpListener, metrics: Arc<Metrics>) -> io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(health))
        .with_state(metrics);
    axum::serve(socket, routes).await
}

async fn figures(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, form)], metrics.encode())
}

/// The service stops as a whole when any part of it does: who answers is well.
async fn health() -> &'static str {
    "ok\n"
}
