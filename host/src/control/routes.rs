//! The endpoints, and what each asks of the operator.

use super::BODY_LIMIT;
use super::answers::Refusal;
use super::guard::{Authorized, Guard, guard};
use super::live::{self, Live};
use super::page;
use super::query::{self, Query};
use super::server::Limits;
use crate::letters::{Filter, ReplayReport, ToldLetter};
use crate::metrics::{self, Form};
use crate::operator::{Operator, OperatorReply};
use crate::report::ReloadReport;
use crate::status::{RouteCounts, Status};
use crate::why::Why;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, http};
use http_body_util::BodyExt;
use mycelia_plugin::{Error, ErrorCode, Handled};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Most bytes of a body too large that are read, so that its sender hears the refusal and not a reset.
const PATIENCE_BYTES: usize = 16 * BODY_LIMIT;

/// What `GET /` says to whatever is no browser.
const ENDPOINTS: &str = "\
Mycelia host: a browser shows its dashboard here

GET  /livez                         whether every worker goes on (503 if not)
GET  /readyz                        whether every required subsystem runs (503 if not)
GET  /status                        the whole host as JSON
GET  /metrics                       what it has counted, for Prometheus: its text form or OpenMetrics
GET  /figures                       a look at the host each second, as server-sent events
GET  /routes?subsystem=NAME         the routes of a subsystem, and how their messages ended
GET  /log                           what is logged, as directives
GET  /why?path=PATH&as=SUBSYSTEM    where a path leads for a sender, and what allows or denies it

With the token (Authorization: Bearer ...):
POST /send?path=PATH                sends the body as a message
POST /ask?path=PATH&within=2s       sends the body as a request, answers with the reply
GET  /dead-letters?reason=REASON    the messages that could not be handled, as JSON; limit=N for the newest N
GET  /dead-letters/ID               one of them with its body
POST /dead-letters/replay?id=ID     sends them again
POST /dead-letters/purge?id=ID      throws them away
PUT  /log                           changes what is logged by the directives in the body
POST /reload?subsystem=NAME         puts a plugin's new build in place of the old one
POST /stop                          stops the host in order
";

/// Takes an outcome, once.
type Tell<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// What every endpoint works with.
pub(super) struct Control {
    pub operator: Arc<dyn Operator>,
    pub guard: Guard,
    pub limits: Limits,
    pub live: Live,
}

pub(super) fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .route("/figures", get(live::figures))
        .route("/routes", get(routes))
        .route("/why", get(why))
        .route("/log", get(log).put(set_log))
        .route("/send", post(send))
        .route("/ask", post(ask))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/{id}", get(dead_letter))
        .route("/dead-letters/replay", post(replay))
        .route("/dead-letters/purge", post(purge))
        .route("/reload", post(reload))
        .route("/stop", post(stop))
        .fallback(unknown_endpoint)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&control), guard))
        .with_state(control)
}

/// The dashboard for a browser, and the list of endpoints for everybody else.
async fn front(headers: HeaderMap) -> Response {
    match accepts(&headers).contains("text/html") {
        true => page::html().into_response(),
        false => ENDPOINTS.into_response(),
    }
}

fn accepts(headers: &HeaderMap) -> String {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept.collect::<Vec<_>>().join(",")
}

async fn livez(State(control): State<Arc<Control>>) -> Result<(StatusCode, String), Refusal> {
    let live = control.operate(|operator| operator.live()).await?;
    Ok(match live {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(stuck) => (StatusCode::SERVICE_UNAVAILABLE, format!("stuck: {stuck}\n")),
    })
}

async fn readyz(State(control): State<Arc<Control>>) -> (StatusCode, String) {
    match control.operator.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".into()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

async fn status(State(control): State<Arc<Control>>) -> Result<Json<Status>, Refusal> {
    control.operate(|operator| operator.status()).await.map(Json)
}

async fn metrics(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    let form = Form::accepted(&accepts(&headers));
    let page = control.operate(move |operator| metrics::page(&operator.readings(), form)).await?;
    Ok(([(header::CONTENT_TYPE, form.content_type())], page))
}

async fn why(
    State(control): State<Arc<Control>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Why>, Refusal> {
    let (path, sender) =
        query::path_and_sender(&query.unwrap_or_default()).map_err(Refusal::bad_request)?;
    Ok(Json(control.operate(move |operator| operator.why(&path, &sender)).await??))
}

async fn routes(
    State(control): State<Arc<Control>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<RouteCounts>>, Refusal> {
    let name = query::subsystem(&query.unwrap_or_default()).map_err(Refusal::bad_request)?;
    Ok(Json(control.operate(move |operator| operator.routes(&name)).await??))
}

async fn log(State(control): State<Arc<Control>>) -> Result<Json<Value>, Refusal> {
    let log = control.operate(|operator| operator.log()).await?;
    Ok(Json(json!({ "log": log })))
}

async fn set_log(
    State(control): State<Arc<Control>>,
    _: Authorized,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let body = control.read(body).await?;
    let directives = String::from_utf8(body.to_vec())
        .map_err(|_| Refusal::bad_request("the directives are not UTF-8"))?;
    let log = control.operate(move |operator| operator.set_log(&directives)).await??;
    Ok(Json(json!({ "log": log })))
}

async fn send(
    State(control): State<Arc<Control>>,
    _: Authorized,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let Query { path, .. } = parse(query, false)?;
    let body = control.read(body).await?;
    let sent = control.operate(move |operator| operator.send(&path, &body)).await?;
    // What was not accepted was not handled, whatever the error itself says.
    sent.map_err(|error| error.handled(Handled::No))?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "accepted": true }))))
}

async fn ask(
    State(control): State<Arc<Control>>,
    _: Authorized,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, Refusal> {
    let Query { path, within } = parse(query, true)?;
    let body = control.read(body).await?;
    let told = control.told(move |operator, done| operator.ask(&path, &body, within, done));
    Ok(reply(told.await?))
}

async fn dead_letters(
    State(control): State<Arc<Control>>,
    _: Authorized,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refusal> {
    let (filter, limit) =
        query::newest_letters(&query.unwrap_or_default()).map_err(Refusal::bad_request)?;
    let found = control.operate(move |operator| operator.dead_letters(&filter)).await?;
    let newest = &found[found.len().saturating_sub(limit)..];
    let told: Vec<ToldLetter> = newest.iter().map(|letter| letter.told(false)).collect();
    Ok(Json(json!({ "letters": told })))
}

async fn dead_letter(
    State(control): State<Arc<Control>>,
    _: Authorized,
    Path(id): Path<String>,
) -> Result<Json<ToldLetter>, Refusal> {
    let id = query::letter(&id).map_err(Refusal::bad_request)?;
    let filter = Filter { ids: vec![id], ..Filter::default() };
    let found = control.operate(move |operator| operator.dead_letters(&filter)).await?;
    let letter = found.first().ok_or_else(|| {
        let text = format!("there is no dead letter {id}; GET /dead-letters lists what there is");
        Refusal::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, text)
    })?;
    Ok(Json(letter.told(true)))
}

async fn replay(
    State(control): State<Arc<Control>>,
    _: Authorized,
    RawQuery(query): RawQuery,
) -> Result<Json<ReplayReport>, Refusal> {
    let filter = letters(query)?;
    control.operate(move |operator| operator.replay(&filter)).await.map(Json)
}

async fn purge(
    State(control): State<Arc<Control>>,
    _: Authorized,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refusal> {
    let filter = letters(query)?;
    let purged = control.operate(move |operator| operator.purge(&filter)).await?;
    Ok(Json(json!({ "purged": purged })))
}

/// Takes as long as the reload does; the limits are those of its steps.
async fn reload(
    State(control): State<Arc<Control>>,
    _: Authorized,
    RawQuery(query): RawQuery,
) -> Result<Json<ReloadReport>, Refusal> {
    let name = query::subsystem(&query.unwrap_or_default()).map_err(Refusal::bad_request)?;
    control.told(move |operator, done| operator.reload(&name, done)).await.map(Json)
}

async fn stop(
    State(control): State<Arc<Control>>,
    _: Authorized,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    tracing::info!("the operator stops the host");
    control.operate(|operator| operator.stop()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "stopping": true }))))
}

async fn unknown_endpoint(uri: http::Uri) -> Refusal {
    let text = format!("there is no endpoint {}; GET / lists them", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, ErrorCode::NoRoute, text)
}

async fn wrong_method(method: http::Method, uri: http::Uri) -> Refusal {
    let text = format!("{} does not take {method}; GET / lists what does", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Invalid, text)
}

impl Control {
    /// Runs a call on a thread that may block: a sender waits where a queue's policy is `Block`.
    pub async fn operate<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Operator) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let operator = Arc::clone(&self.operator);
        tokio::task::spawn_blocking(move || call(&*operator)).await.map_err(|_| lost())
    }

    /// Waits for what a call tells later, when its thread is free again.
    async fn told<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Operator, Tell<T>) + Send + 'static,
    ) -> Result<T, Refusal> {
        let (done, outcome) = oneshot::channel();
        // A client that hung up hears nothing more.
        let done = Box::new(move |outcome| drop(done.send(outcome)));
        self.operate(move |operator| call(operator, done)).await?;
        Ok(outcome.await.map_err(|_| lost())??)
    }

    async fn read(&self, body: Body) -> Result<Vec<u8>, Refusal> {
        let limit = self.limits.body;
        timeout(limit, collect(body)).await.unwrap_or_else(|_| {
            let text = format!("the body did not arrive within {limit:?}");
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Deadline, text))
        })
    }
}

async fn collect(mut body: Body) -> Result<Vec<u8>, Refusal> {
    let mut length = 0;
    let mut kept = Vec::with_capacity(expected_bytes(&body));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::bad_request(format!("half a body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > PATIENCE_BYTES {
            break;
        }
        if length <= BODY_LIMIT {
            kept.extend_from_slice(&data);
        }
    }
    if length > BODY_LIMIT { Err(too_large()) } else { Ok(kept) }
}

fn expected_bytes(body: &Body) -> usize {
    let told = body.size_hint().lower();
    usize::try_from(told).map_or(BODY_LIMIT, |told| told.min(BODY_LIMIT))
}

fn parse(query: Option<String>, takes_within: bool) -> Result<Query, Refusal> {
    Query::parse(&query.unwrap_or_default(), takes_within).map_err(Refusal::bad_request)
}

fn letters(query: Option<String>) -> Result<Filter, Refusal> {
    query::letters(&query.unwrap_or_default()).map_err(Refusal::bad_request)
}

fn reply(reply: OperatorReply) -> Response {
    let kind = if reply.is_json { "application/json" } else { "application/octet-stream" };
    ([(header::CONTENT_TYPE, kind)], reply.body).into_response()
}

fn too_large() -> Refusal {
    let text = format!("the body is over {BODY_LIMIT} bytes, the most that is taken here");
    Error::new(ErrorCode::TooLarge, text).handled(Handled::No).into()
}

fn lost() -> Refusal {
    let text = "the host gave no outcome; its log tells more";
    Error::new(ErrorCode::Failed, text).handled(Handled::Unknown).into()
}
