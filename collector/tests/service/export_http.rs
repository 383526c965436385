//! What is stored is posted to webhooks and to a receiver of OpenTelemetry's logs, which refuse, fall silent and come back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::collector::Collector;
use crate::export::{lines, program, store, with_exports};

/// A receiver: what it was told, and what it answers.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    taken: Vec<(HeaderMap, String)>,
    refused: Vec<HeaderMap>,
    answers: Vec<StatusCode>,
    body: String,
}

async fn take(
    State(receiver): State<Receiver>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    assert_eq!(uri.path_and_query().unwrap().as_str(), "/hook?team=7");
    let mut told = receiver.0.lock().unwrap();
    let status = told.answers.pop().unwrap_or(StatusCode::OK);
    if status.is_success() {
        let text = String::from_utf8(body.to_vec()).unwrap();
        told.taken.push((headers, text));
    } else {
        told.refused.push(headers);
    }
    (status, told.body.clone())
}

impl Receiver {
    async fn listen(&self) -> (std::net::SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let router = Router::new().route("/hook", post(take));
        let router = router.with_state(self.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (at, server)
    }

    fn programs(&self) -> Vec<String> {
        let told = self.0.lock().unwrap();
        let lines = told.taken.iter().flat_map(|(_, body)| body.lines());
        lines.map(program).collect()
    }
}

async fn figure(collector: &Collector, name: &str, wanted: u64) -> u64 {
    let name = format!("picket_export_{name}_total{{export=\"hook\"}}");
    collector.figure_reaches(&name, wanted).await
}

#[tokio::test]
async fn a_webhook_that_refuses_gets_the_same_again_until_it_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("hook");
    std::fs::write(&secret, "Bearer open sesame\n").unwrap();
    let receiver = Receiver::default();
    receiver.0.lock().unwrap().answers = vec![
        StatusCode::OK,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::FORBIDDEN,
    ];
    let (at, _server) = receiver.listen().await;
    let secret = secret.display();
    let text = format!(
        "[[export]]\nname = \"hook\"\nto = \"http://{at}/hook?team=7\"\nauthorization_file = \"{secret}\"\n\
         kinds = [\"exec\"]\n"
    );
    let (collector, mut host) = with_exports(&text).await;
    store(&collector, &mut host, 0..30).await;
    let all = lines(30, || receiver.programs()).await;
    let expected: Vec<String> = (0..30).map(|one| format!("/program/{one}")).collect();
    assert_eq!(all, expected);
    {
        let told = receiver.0.lock().unwrap();
        let (headers, _) = &told.taken[0];
        assert_eq!(headers["authorization"], "Bearer open sesame");
        assert_eq!(headers["content-type"], "application/x-ndjson");
        let key = &headers["idempotency-key"];
        let again = |refused: &HeaderMap| refused["idempotency-key"] == *key;
        assert!(told.refused.iter().all(again));
        assert_eq!(told.refused.len(), 2);
    }
    assert_eq!(figure(&collector, "failures", 2).await, 2);
    assert_eq!(figure(&collector, "rejected", 0).await, 0);
}

#[tokio::test]
async fn a_receiver_of_open_telemetry_gets_records_and_what_it_rejects_is_counted() {
    let receiver = Receiver::default();
    let rejects = json!({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "odd"}});
    receiver.0.lock().unwrap().body = rejects.to_string();
    let (at, _server) = receiver.listen().await;
    let text = format!(
        "[[export]]\nname = \"hook\"\nto = \"http://{at}/hook?team=7\"\nformat = \"otlp\"\nkinds = [\"exec\"]\n"
    );
    let (collector, mut host) = with_exports(&text).await;
    store(&collector, &mut host, 0..1).await;
    let mut request = Value::Null;
    for _ in 0..400 {
        if let Some((headers, body)) = receiver.0.lock().unwrap().taken.first() {
            assert_eq!(headers["content-type"], "application/json");
            request = serde_json::from_str(body).unwrap();
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let resource = &request["resourceLogs"][0];
    let attributes = resource["resource"]["attributes"].as_array().unwrap();
    assert_eq!(attributes[0]["value"]["stringValue"], "picket");
    let record = &resource["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["eventName"], "picket.exec");
    assert_eq!(record["severityNumber"], 9);
    assert!(
        record["timeUnixNano"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
    assert_eq!(
        program(record["body"]["stringValue"].as_str().unwrap()),
        "/program/0"
    );
    let exe = record["attributes"].as_array().unwrap().iter();
    let exe = exe.filter(|one| one["key"] == "process.executable.path");
    let exe: Vec<&Value> = exe.map(|one| &one["value"]["stringValue"]).collect();
    assert_eq!(exe, ["/program/0"]);
    assert_eq!(figure(&collector, "rejected", 1).await, 1);
}

#[tokio::test]
async fn a_server_that_never_answers_holds_up_nothing_but_its_own_export() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let text = format!("[[export]]\nname = \"hook\"\nto = \"http://{at}/hook?team=7\"\n");
    let (mut collector, mut host) = with_exports(&text).await;
    let begun = std::time::Instant::now();
    store(&collector, &mut host, 0..20).await;
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!(figure(&collector, "events", 0).await, 0);
    // It accepts and says nothing, and the collector ends all the same.
    let silent = listener.accept().await;
    collector.stop().await;
    drop(silent);
}
