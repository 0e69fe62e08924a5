//! The live inventory: a task that follows it, and what is known of it.

use api::{InventoryStatus, text};
use model::{ErrorKind, WallTime};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;
use vsphere::{Replica, Tree, Update, VsphereError, Watcher};

/// Pauses after the first, second … failure in a row.
const PAUSES_SECONDS: [u64; 5] = [1, 2, 5, 10, 30];
/// Pause after a refusal: a server locks an account that fails to log in again and again.
const REFUSED: Duration = Duration::from_secs(600);
/// How long a session may take to end.
const LOGOUT: Duration = Duration::from_secs(5);

/// What is known of the inventory.
#[derive(Default)]
pub(crate) struct Live {
    state: Mutex<State>,
    stop: Notify,
}

#[derive(Default)]
struct State {
    replica: Replica,
    /// Since when changes come in without a break.
    since: Option<WallTime>,
    /// When the server was heard last.
    as_of: Option<WallTime>,
    error: Option<String>,
}

impl Live {
    /// Looks at the tree, however old it is; `None`: there never was one.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Tree) -> T) -> Option<T> {
        self.lock().replica.tree().map(look)
    }

    /// Looks at the tree when it is followed now.
    pub(crate) fn live<T>(&self, look: impl FnOnce(&Tree) -> T) -> Option<T> {
        let state = self.lock();
        state.since?;
        state.replica.tree().map(look)
    }

    pub(crate) fn status(&self) -> InventoryStatus {
        let state = self.lock();
        InventoryStatus {
            live: state.since.is_some(),
            since: state.since.map(text::wall),
            as_of: state.as_of.map(text::wall),
            objects: state.replica.tree().map_or(0, |tree| tree.len() as u64),
            error: state.error.clone(),
        }
    }

    /// Follows the server until [`Live::end`].
    pub(crate) async fn follow(self: Arc<Self>, config: vsphere::Config, now: fn() -> WallTime) {
        let mut pauses = PAUSES_SECONDS.iter().copied();
        loop {
            let (mut watcher, mut heard) = (None, false);
            let refused;
            tokio::select! {
                error = self.listen(&config, now, &mut watcher, &mut heard) => {
                    self.lost(&error.text);
                    refused = error.refused;
                }
                () = self.stop.notified() => return log_out(watcher).await,
            }
            log_out(watcher).await;
            if heard {
                pauses = PAUSES_SECONDS.iter().copied();
            }
            let next = pauses.next().unwrap_or(PAUSES_SECONDS[PAUSES_SECONDS.len() - 1]);
            let pause = if refused { REFUSED } else { Duration::from_secs(next) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.notified() => return,
            }
        }
    }

    /// Ends [`Live::follow`].
    pub(crate) fn end(&self) {
        self.stop.notify_one();
    }

    /// Takes over what the server says, until it says nothing more.
    async fn listen(
        &self,
        config: &vsphere::Config,
        now: fn() -> WallTime,
        slot: &mut Option<Watcher>,
        heard: &mut bool,
    ) -> Lost {
        let watcher = match Watcher::connect(config.clone()).await {
            Ok(watcher) => slot.insert(watcher),
            Err(error) => return Lost::by(&error),
        };
        loop {
            match watcher.next().await.map(|update| self.take(update, now())) {
                Ok(Ok(())) => *heard = true,
                Ok(Err(text)) => return Lost { text, refused: true },
                Err(error) => return Lost::by(&error),
            }
        }
    }

    fn take(&self, update: Option<Update>, now: WallTime) -> Result<(), String> {
        let mut state = self.lock();
        if let Some(update) = update {
            if update.fresh {
                state.since = None; // there was a break
            }
            let whole = state.replica.take(update).map_err(|error| error.to_string())?;
            if !whole {
                return Ok(());
            }
        }
        state.as_of = Some(now);
        state.error = None;
        if state.since.is_none() {
            tracing::info!("the inventory is live");
            state.since = Some(now);
        }
        Ok(())
    }

    fn lost(&self, error: &str) {
        let mut state = self.lock();
        if state.error.as_deref() != Some(error) {
            tracing::warn!(error, "the inventory is not live");
        }
        state.since = None;
        state.error = Some(error.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing more is heard.
struct Lost {
    text: String,
    /// Trying again soon would harm or help nothing.
    refused: bool,
}

impl Lost {
    fn by(error: &VsphereError) -> Self {
        Self { text: model::chain(error), refused: error.kind() == ErrorKind::Refused }
    }
}

/// A session that is not ended lasts for half an hour and counts for the server.
async fn log_out(watcher: Option<Watcher>) {
    let Some(watcher) = watcher else { return };
    if let Ok(Err(error)) = timeout(LOGOUT, watcher.stop()).await {
        tracing::debug!(error = model::chain(&error), "the inventory's session was not ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vsphere::{Change, ChangeKind, MoRef};

    fn update(fresh: bool, truncated: bool, vm: &str) -> Update {
        let object = MoRef::new("VirtualMachine", vm);
        let change = Change { object, kind: ChangeKind::Enter, set: Vec::new() };
        Update { fresh, truncated, changes: vec![change] }
    }

    #[test]
    fn it_says_since_when_it_is_live_and_how_old_it_is_when_not() {
        let live = Live::default();
        assert_eq!(live.status(), InventoryStatus::default());
        assert!(live.read(|_| ()).is_none());
        live.take(Some(update(true, true, "vm-1")), WallTime(10)).unwrap();
        assert!(!live.status().live, "half a listing is none");
        live.take(Some(update(false, false, "vm-2")), WallTime(11)).unwrap();
        live.take(None, WallTime(40)).unwrap();
        let status = live.status();
        assert!(status.live && status.objects == 2);
        assert_eq!(status.since, Some(text::wall(WallTime(11))));
        assert_eq!(status.as_of, Some(text::wall(WallTime(40))));

        live.lost("no route");
        assert!(live.live(|_| ()).is_none());
        assert_eq!(live.read(Tree::len), Some(2), "what is known is shown, with its age");
        let status = live.status();
        assert_eq!((status.live, status.since), (false, None));
        assert_eq!(status.as_of, Some(text::wall(WallTime(40))));
        assert_eq!(status.error.as_deref(), Some("no route"));

        live.take(Some(update(true, true, "vm-3")), WallTime(69)).unwrap();
        assert!(!live.status().live, "it is listed anew");
        live.take(Some(update(false, false, "vm-3")), WallTime(70)).unwrap();
        let status = live.status();
        assert_eq!((status.live, status.objects, status.error), (true, 1, None));
        assert_eq!(status.since, Some(text::wall(WallTime(70))));
    }
}
