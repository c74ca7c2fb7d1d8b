//! `GET /figures`: a look at the host each second, as server-sent events, for as long as somebody watches.
//!
//! One task looks for all watchers, so that ten of them cost one reading a second, and none costs nothing.

use super::routes::Control;
use crate::{
    figures::{Figures, Watch},
    letters::now_ms,
};
use axum::{
    extract::State,
    response::sse::{Event, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::broadcast::{self, Receiver, Sender},
    time::{MissedTickBehavior, interval},
};

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);
/// Looks that a slow watcher may be behind before it misses some.
const BACKLOG: usize = 8;
/// What a new watcher is told of the time before it, at most: ten minutes, and so many bytes.
const KEPT: (usize, usize) = (600, 1 << 20);

/// The looks at a host, as JSON texts.
pub(super) struct Live {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// None while nobody watches, and nobody looks.
    looks: Option<Sender<Arc<str>>>,
    kept: VecDeque<Arc<str>>,
    bytes: usize,
    watch: Watch,
    is_closed: bool,
}

impl Live {
    pub fn new() -> Live {
        Live { shared: Mutex::default() }
    }

    /// Ends all streams, and lets no new one begin.
    pub fn close(&self) {
        let mut shared = self.shared();
        shared.looks = None;
        shared.is_closed = true;
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn keep(&mut self, look: Arc<str>) {
        self.bytes += look.len();
        self.kept.push_back(look);
        while self.kept.len() > KEPT.0 || self.bytes > KEPT.1 {
            let oldest = self.kept.pop_front();
            self.bytes -= oldest.map_or(0, |look| look.len());
        }
    }
}

/// The stream of one watcher: what is kept of the time before, and then each look as it comes.
pub(super) async fn figures(
    State(control): State<Arc<Control>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (before, looks) = watch(&control);
    let before = stream::iter(before).map(|look| event("past", &look));
    let live = stream::unfold(looks, |looks| async move {
        let mut looks = looks?;
        let look = next(&mut looks).await?;
        Some((event("figures", &look), Some(looks)))
    });
    Sse::new(before.chain(live).map(Ok))
}

fn event(name: &str, look: &str) -> Event {
    Event::default().event(name).data(look)
}

/// The next look; one that was too slow for some goes on with those that are left.
async fn next(looks: &mut Receiver<Arc<str>>) -> Option<Arc<str>> {
    loop {
        match looks.recv().await {
            Ok(look) => return Some(look),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

/// Begins to watch: what is kept, and the looks to come; the first watcher sets the task going that looks.
fn watch(control: &Arc<Control>) -> (Vec<Arc<str>>, Option<Receiver<Arc<str>>>) {
    let mut shared = control.live.shared();
    let kept = shared.kept.iter().cloned().collect();
    if shared.is_closed {
        return (kept, None);
    }
    let looks = match &shared.looks {
        Some(looks) => looks.subscribe(),
        None => {
            let (looks, receiver) = broadcast::channel(BACKLOG);
            shared.looks = Some(looks);
            tokio::spawn(look_on(Arc::clone(control)));
            receiver
        }
    };
    (kept, Some(looks))
}

/// Looks at the host until nobody watches any more.
async fn look_on(control: Arc<Control>) {
    let began = Instant::now();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let read =
            |operator: &dyn crate::operator::Operator| (operator.readings(), operator.is_ready());
        let Ok((readings, ready)) = control.operate(read).await else { continue };
        let mut shared = control.live.shared();
        let figures = shared.watch.figures(readings, ready, began.elapsed(), now_ms());
        let look = text(&figures);
        shared.keep(Arc::clone(&look));
        let is_watched = shared.looks.as_ref().is_some_and(|looks| looks.send(look).is_ok());
        if !is_watched {
            shared.looks = None;
            shared.watch.pause();
            return;
        }
    }
}

fn text(figures: &Figures) -> Arc<str> {
    serde_json::to_string(figures).expect("figures are JSON").into()
}
