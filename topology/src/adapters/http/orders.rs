//! What can be steered, on the control socket only.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, post};
use axum::{Json, Router};
use bolts::tuples::{CommandOrder, Reply};
use model::ledger::AskedBan;
use model::units::Seconds;

use super::answer::{Failure, now};
use super::pages::{Shared, target};
use crate::control::views::{BanOrder, ChangeView, Changed};

type Asked = State<Arc<Shared>>;
type Answer = Result<Json<Changed>, Failure>;
type Target = Result<Path<String>, PathRejection>;

/// No note has more bytes.
const LONGEST_NOTE: usize = 500;

/// The orders.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/bans", post(ban))
        .route("/api/v1/bans/{target}", delete(unban))
        .route("/api/v1/bans/held/release", post(release_all))
        .route("/api/v1/bans/held/discard", post(discard_all))
        .route("/api/v1/bans/held/{target}/release", post(release))
        .route("/api/v1/bans/held/{target}/discard", post(discard))
}

async fn order(shared: &Shared, order: CommandOrder) -> Answer {
    let reply = shared.ask(|control| control.command(order)).await?.map_err(Failure::unavailable)?;
    match reply {
        Reply::Done(changes) => {
            let now = now();
            let changes = changes.iter().map(|change| ChangeView::new(change, now)).collect();
            Ok(Json(Changed { changes }))
        }
        Reply::Refused(why) => Err(Failure::new(StatusCode::CONFLICT, why)),
    }
}

async fn ban(State(shared): Asked, body: Result<Bytes, BytesRejection>) -> Answer {
    let body = body.map_err(|rejection| Failure::new(rejection.status(), rejection.body_text()))?;
    let asked: BanOrder = serde_json::from_slice(&body).map_err(|error| {
        Failure::bad(format!("not {{\"target\": \"…\", \"seconds\": 600, \"note\": \"…\"}}: {error}"))
    })?;
    if asked.seconds == 0 {
        return Err(Failure::bad("seconds must be at least 1"));
    }
    if asked.note.as_ref().is_some_and(|note| note.len() > LONGEST_NOTE) {
        return Err(Failure::bad(format!("note must have at most {LONGEST_NOTE} bytes")));
    }
    let target = target(&asked.target)?;
    let length = Seconds(asked.seconds);
    order(&shared, CommandOrder::Ban(AskedBan { target, length, note: asked.note })).await
}

fn named(path: Target) -> Result<model::network::Network, Failure> {
    let Path(text) = path.map_err(|rejection| Failure::bad(rejection.body_text()))?;
    target(&text)
}

async fn unban(State(shared): Asked, path: Target) -> Answer {
    order(&shared, CommandOrder::Unban(named(path)?)).await
}

async fn release(State(shared): Asked, path: Target) -> Answer {
    order(&shared, CommandOrder::Release(Some(named(path)?))).await
}

async fn discard(State(shared): Asked, path: Target) -> Answer {
    order(&shared, CommandOrder::Discard(Some(named(path)?))).await
}

async fn release_all(State(shared): Asked) -> Answer {
    order(&shared, CommandOrder::Release(None)).await
}

async fn discard_all(State(shared): Asked) -> Answer {
    order(&shared, CommandOrder::Discard(None)).await
}
