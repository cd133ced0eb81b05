//! What can be seen.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use model::ban::Ban;
use model::network::{Network, NetworkSet};
use model::time::parse_time_iso8601;
use model::units::Moment;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::answer::{Failure, now};
use super::{ANSWER, QUESTIONS};
use crate::adapters::metrics_text;
use crate::control::views::{AgentPage, BanPage, BanView, HeldPage, HeldView, HistoryPage, StatusView};
use crate::control::{Control, Health, HistoryFilter};

/// Whom a listener's pages ask.
pub(super) struct Shared {
    control: Arc<dyn Control>,
    /// Where orders are taken, where that isn't here.
    orders_at: Option<PathBuf>,
    places: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(control: Arc<dyn Control>, orders_at: Option<PathBuf>) -> Self {
        Self { control, orders_at, places: Arc::new(Semaphore::new(QUESTIONS)) }
    }

    /// Asks on a thread that may wait, for a bounded time.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Control) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let late =
            |_| Failure::unavailable("no answer in time: the program is very busy, or hangs; try again");
        let asked = async {
            let place = self.places.clone().acquire_owned().await.expect("it is never closed");
            let control = self.control.clone();
            spawn_blocking(move || {
                // Whoever gave up waiting doesn't make room: the question is still being answered.
                let _place = place;
                question(&*control)
            })
            .await
        };
        timeout(ANSWER, asked).await.map_err(late)?.map_err(|_| {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the program broke answering; see its log")
        })
    }
}

type Asked = State<Arc<Shared>>;
type Answer<T> = Result<Json<T>, Failure>;
type Parameters<T> = Result<Query<T>, QueryRejection>;

/// The pages.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/api/v1/bans", get(bans))
        .route("/api/v1/bans/held", get(held))
        .route("/api/v1/bans/history", get(history))
        .route("/api/v1/agents", get(agents))
}

/// Everything else is answered with what there is.
pub(super) fn with_fallbacks(routes: Router<Arc<Shared>>, shared: Arc<Shared>) -> Router {
    routes.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(shared)
}

async fn unknown(state: Asked, method: Method, uri: Uri) -> Failure {
    if state.orders_at.is_some() && !matches!(method, Method::GET | Method::HEAD) {
        return wrong_method(state).await;
    }
    let known = "/healthz, /metrics, /api/v1/status, /api/v1/bans, /api/v1/bans/held, /api/v1/bans/history, \
                 /api/v1/agents";
    Failure::new(StatusCode::NOT_FOUND, format!("there is no page {}; there are {known}", uri.path()))
}

async fn wrong_method(State(shared): Asked) -> Failure {
    let message = match &shared.orders_at {
        None => "this page has no such method; docs/http.md has them all".to_owned(),
        Some(socket) => format!(
            "here everything is read-only (GET); orders are taken on the control socket {} (`ccfirewall bans`)",
            socket.display()
        ),
    };
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

async fn health(State(shared): Asked) -> Result<Response, Failure> {
    let health: Health = shared.ask(Control::health).await?;
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(health)).into_response())
}

async fn metrics(State(shared): Asked) -> Result<Response, Failure> {
    let text = shared
        .ask(|control| metrics_text::text(&control.status(), &control.health(), &control.metrics(), now()))
        .await?;
    Ok(([(CONTENT_TYPE, metrics_text::CONTENT_TYPE)], text).into_response())
}

async fn status(State(shared): Asked) -> Answer<StatusView> {
    shared.ask(|control| control.status().into()).await.map(Json)
}

async fn agents(State(shared): Asked) -> Answer<AgentPage> {
    let mut agents = shared.ask(Control::agents).await?;
    agents.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(AgentPage { agents }))
}

async fn held(State(shared): Asked) -> Answer<HeldPage> {
    let mut held = shared.ask(Control::held).await?;
    held.sort_by_key(|held| (Reverse(held.ban.start), held.ban.target));
    let now = now();
    Ok(Json(HeldPage { held: held.iter().map(|held| HeldView::new(held, now)).collect() }))
}

/// So many bans stand on a page where nobody says how many.
const PAGE: usize = 100;
/// And so many at most.
const LONGEST_PAGE: usize = 1000;

fn page_length(limit: Option<usize>) -> Result<usize, Failure> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=LONGEST_PAGE => Ok(limit),
        _ => Err(Failure::bad(format!("limit must be a whole number from 1 to {LONGEST_PAGE}"))),
    }
}

fn parameters<T>(given: Parameters<T>) -> Result<T, Failure> {
    given.map(|Query(parameters)| parameters).map_err(|rejection| Failure::bad(rejection.body_text()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichBans {
    limit: Option<usize>,
    after: Option<String>,
    q: Option<String>,
}

async fn bans(State(shared): Asked, given: Parameters<WhichBans>) -> Answer<BanPage> {
    let which = parameters(given)?;
    let length = page_length(which.limit)?;
    let after = which.after.as_deref().map(Place::read).transpose()?;
    let query = which.q.filter(|text| !text.is_empty()).map(|text| Wanted::new(&text));
    let page = shared.ask(move |control| ban_page(control.bans(), query.as_ref(), after, length)).await?;
    Ok(Json(page))
}

fn ban_page(mut bans: Vec<Ban>, query: Option<&Wanted>, after: Option<Place>, length: usize) -> BanPage {
    if let Some(query) = query {
        bans.retain(|ban| query.matches(ban));
    }
    let total = bans.len() as u64;
    if let Some(after) = after {
        bans.retain(|ban| Place::of(ban) > after);
    }
    let more = bans.len() > length;
    if more {
        // Only this page has to be in order.
        bans.select_nth_unstable_by_key(length, Place::of);
        bans.truncate(length);
    }
    bans.sort_unstable_by_key(Place::of);
    let now = now();
    BanPage {
        total,
        next: bans.last().filter(|_| more).map(|last| Place::of(last).to_string()),
        bans: bans.iter().map(|ban| BanView::new(ban, now)).collect(),
    }
}

/// Where a ban stands: the newest first. New bans and ended ones move nobody over a page's edge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Reverse<Moment>, Network);

impl Place {
    fn of(ban: &Ban) -> Self {
        Self(Reverse(ban.start), ban.target)
    }

    fn read(text: &str) -> Result<Self, Failure> {
        let (start, target) = text.split_once(',').unwrap_or_default();
        match (start.parse(), target.parse()) {
            (Ok(start), Ok(target)) => Ok(Self(Reverse(Moment(start)), target)),
            _ => Err(Failure::bad("after must be what `next` of the page before says")),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{}", self.0.0.0, self.1)
    }
}

/// What is looked for: bans that have an address in common with a target, or a text in them.
enum Wanted {
    Target(NetworkSet),
    Text(String),
}

impl Wanted {
    fn new(text: &str) -> Self {
        match text.trim().parse::<Network>() {
            Ok(target) => Self::Target([target].into_iter().collect()),
            Err(_) => Self::Text(text.to_lowercase()),
        }
    }

    fn matches(&self, ban: &Ban) -> bool {
        match self {
            Self::Target(target) => target.overlaps(&ban.target),
            Self::Text(text) => {
                let has = |value: &str| value.to_lowercase().contains(text);
                let place = ban.place.as_ref();
                let country = place.and_then(|place| place.country.as_deref());
                has(&ban.target.to_string())
                    || has(&ban.rule)
                    || country.is_some_and(has)
                    || ban.note.as_deref().is_some_and(has)
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichHistory {
    ip: Option<String>,
    since: Option<String>,
    limit: Option<usize>,
}

async fn history(State(shared): Asked, given: Parameters<WhichHistory>) -> Answer<HistoryPage> {
    let which = parameters(given)?;
    let target = which.ip.as_deref().map(target).transpose()?;
    let since = which.since.as_deref().map(moment).transpose()?;
    let filter = HistoryFilter { target, since, limit: page_length(which.limit)? };
    let rows = shared.ask(move |control| control.history(&filter)).await?.map_err(Failure::unavailable)?;
    Ok(Json(HistoryPage { bans: rows.into_iter().map(Into::into).collect() }))
}

/// An address or prefix that somebody wrote.
pub(super) fn target(text: &str) -> Result<Network, Failure> {
    text.trim().parse().map_err(|error: model::network::NetworkError| Failure::bad(error.to_string()))
}

/// A time that somebody wrote: RFC 3339, or seconds since 1970.
fn moment(text: &str) -> Result<Moment, Failure> {
    let seconds = || text.parse::<u32>().ok().map(|seconds| Moment(i64::from(seconds) * 1000));
    parse_time_iso8601(text.as_bytes())
        .map(Moment::from)
        .or_else(seconds)
        .ok_or_else(|| Failure::bad("since must be a time like 2026-01-01T00:00:00Z, or seconds since 1970"))
}
