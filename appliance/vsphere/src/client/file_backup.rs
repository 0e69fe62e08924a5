//! vCenter's own file-based backup, which it writes to a server that it can reach by itself.
//!
//! By the REST interface of 6.7 and later. Not verified against a real vCenter: the lab answers as
//! the documentation says.

use super::Client;
use super::tags::{odd, text};
use crate::error::VsphereError;
use crate::secret::Secret;
use hyper::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const JOBS: &str = "/appliance/recovery/backup/job";
/// Pauses between looks at a job; the last one again and again.
const PAUSES_SECONDS: [u64; 4] = [1, 2, 5, 10];

/// Where a vCenter writes its backup.
#[derive(Clone, Debug)]
pub struct FileBackup {
    /// `sftp://host/folder`, or `ftps`, `https`, `scp`, `nfs`, `smb`, `ftp`, `http`.
    pub location: String,
    /// The account there.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Optional parts: `common` is the inventory and the configuration, `seat` statistics, events
    /// and tasks.
    pub parts: Vec<String>,
}

impl Client {
    /// Starts a backup and waits for its end. Gives what the vCenter says about it, as JSON; as
    /// `state` it says whether it succeeded.
    pub async fn file_backup(&self, order: &FileBackup) -> Result<Value, VsphereError> {
        let scheme = order.location.split_once("://").map(|(scheme, _)| scheme.to_uppercase());
        let piece = json!({
            "location_type": scheme.unwrap_or_default(),
            "location": order.location,
            "location_user": order.user,
            "location_password": order.password.reveal(),
            "parts": order.parts,
            "comment": "started by Holdfast",
        });
        let body = json!({ "piece": piece });
        let session = self.rest_login().await?;
        let ended = self.file_backup_in(&session, &body).await;
        self.rest_logout(&session).await;
        ended
    }

    async fn file_backup_in(&self, session: &str, body: &Value) -> Result<Value, VsphereError> {
        let mut answer = self.rest(Method::POST, JOBS, Some(session), Some(body)).await?;
        let id = text(&answer["value"]["id"], "the id of a backup job")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !id.chars().all(fits) {
            return Err(odd("the id of a backup job"));
        }
        let (path, began) = (format!("{JOBS}/{id}"), Instant::now());
        let mut pauses = PAUSES_SECONDS.iter().copied();
        while answer["value"]["state"] == "INPROGRESS" {
            if began.elapsed() > self.shared.task_timeout {
                let (method, after) = ("file-based backup (REST)", self.shared.task_timeout);
                return Err(VsphereError::Timeout { method, after });
            }
            tokio::time::sleep(Duration::from_secs(pauses.next().unwrap_or(10))).await;
            answer = self.rest(Method::GET, &path, Some(session), None).await?;
        }
        Ok(answer["value"].take())
    }
}
