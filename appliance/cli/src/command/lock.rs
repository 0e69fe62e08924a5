//! `holdfast point lock`, `point hold`, `point delete --preview`.

use super::point::{lock, whole};
use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, clean, size};
use api::endpoint::{ExtendLock, GetStatus, HoldPoint, PreviewDeletion, TightenLock};
use api::{HoldRequest, LockExtension, LockTightening, Protection};
use jiff::{SignedDuration, Timestamp};

/// `point lock extend`.
pub(crate) fn extend(
    client: &Client,
    id: &str,
    until: Option<Timestamp>,
    days: Option<u32>,
) -> Result<Outcome, Error> {
    let id = whole(client, id)?;
    let until = match (until, days) {
        (Some(until), _) => until,
        (None, days) => {
            let now = client.ask(GetStatus, &[])?.retention_now;
            let hours = i64::from(days.unwrap_or(0)) * 24;
            now.saturating_add(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MAX)
        }
    };
    let kept = client.call(ExtendLock, &[&id], &[], &LockExtension { until })?;
    Ok(shown(&id, &kept))
}

/// `point lock tighten`.
pub(crate) fn tighten(client: &Client, id: &str, until: Timestamp) -> Result<Outcome, Error> {
    let id = whole(client, id)?;
    let kept = client.call(TightenLock, &[&id], &[], &LockTightening { until })?;
    Ok(shown(&id, &kept))
}

/// `point hold`.
pub(crate) fn hold(client: &Client, id: &str, matter: &str) -> Result<Outcome, Error> {
    let id = whole(client, id)?;
    let request = HoldRequest { matter: matter.to_owned() };
    let kept = client.call(HoldPoint, &[&id], &[], &request)?;
    Ok(shown(&id, &kept))
}

/// `point delete --preview`: succeeds whatever the answer is.
pub(crate) fn preview(client: &Client, id: &str) -> Result<Outcome, Error> {
    let id = whole(client, id)?;
    let preview = client.ask(PreviewDeletion, &[&id])?;
    let verdict = match &preview.reason {
        None => "may be deleted now".to_owned(),
        Some(reason) => format!("is kept: {}", clean(reason)),
    };
    let (segments, bytes) = (preview.segments, size(preview.bytes));
    let text =
        format!("recovery point {id} {verdict}\nits deletion frees {segments} segments, {bytes}\n");
    Ok(Outcome::new(text, &preview))
}

fn shown(id: &str, kept: &Protection) -> Outcome {
    let mut text = format!("recovery point {id}: {}", lock(Some(&kept.lock)));
    if !kept.holds.is_empty() {
        text.push_str(&format!("; held for {}", clean(&kept.holds.join(", "))));
    }
    text.push('\n');
    Outcome::new(text, kept)
}
