//! The one configuration file, and what is wrong with it, by key.
//!
//! `holdfastd --example` prints `holdfastd.toml`, which documents every key and its default; a
//! test holds that text against these types.

use crate::keep::Keep;
use crate::secret_file::{self, SecretFileError};
use jobs::SnapshotLimits;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The documented example, printed by `holdfastd --example`.
pub(crate) const EXAMPLE: &str = include_str!("../holdfastd.toml");

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) user: Option<String>,
    pub(crate) state_dir: PathBuf,
    pub(crate) console: Console,
    pub(crate) vcenter: Vcenter,
    pub(crate) san: San,
    #[serde(default)]
    pub(crate) backup: Backup,
    pub(crate) repository: Repository,
    pub(crate) lock: Lock,
    pub(crate) keep: Option<Keep>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Console {
    #[serde(default = "default_listen")]
    pub(crate) listen: SocketAddr,
    pub(crate) token_file: PathBuf,
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vcenter {
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) password_file: PathBuf,
    pub(crate) thumbprint: String,
    #[serde(default = "default_call_timeout")]
    pub(crate) call_timeout_seconds: u64,
    #[serde(default = "default_task_timeout")]
    pub(crate) task_timeout_seconds: u64,
    pub(crate) file_backup: Option<FileBackup>,
}

/// Where the vCenter writes its own file-based backup.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileBackup {
    pub(crate) location: String,
    pub(crate) user: String,
    pub(crate) password_file: PathBuf,
    #[serde(default = "default_parts")]
    pub(crate) parts: Vec<String>,
}

/// How its location may begin.
const FILE_BACKUP_SCHEMES: [&str; 8] =
    ["sftp", "ftps", "https", "scp", "nfs", "smb", "ftp", "http"];

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct San {
    pub(crate) initiator: String,
    #[serde(default)]
    pub(crate) kernel: bool,
    #[serde(default, rename = "portal")]
    pub(crate) portals: Vec<Portal>,
    pub(crate) chap_user: Option<String>,
    pub(crate) chap_secret_file: Option<PathBuf>,
    #[serde(default = "default_algorithms")]
    pub(crate) chap_algorithms: Vec<String>,
    #[serde(default = "yes")]
    pub(crate) header_digest: bool,
    #[serde(default = "yes")]
    pub(crate) data_digest: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Portal {
    pub(crate) portal: String,
    pub(crate) target: String,
    #[serde(default = "default_sessions")]
    pub(crate) sessions: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Backup {
    pub(crate) cross_check_percent: u8,
    pub(crate) min_free_percent: u8,
    pub(crate) quiesce: api::Quiesce,
    pub(crate) exclude: api::Exclude,
    pub(crate) transport: api::TransportPolicy,
    pub(crate) compare_with_network: bool,
    pub(crate) consolidate: bool,
    pub(crate) snapshot_max_hours: u32,
    pub(crate) snapshot_max_delta_percent: u8,
    pub(crate) snapshot_over_limit: OverLimit,
}

/// What becomes of a run whose snapshot is over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OverLimit {
    End,
    Warn,
}

impl Backup {
    /// What a snapshot may be and take.
    pub(crate) fn limits(&self) -> SnapshotLimits {
        SnapshotLimits {
            max_age: Duration::from_secs(u64::from(self.snapshot_max_hours) * 3600),
            max_delta_percent: self.snapshot_max_delta_percent,
            ends_run: self.snapshot_over_limit == OverLimit::End,
            ..SnapshotLimits::default()
        }
    }
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            cross_check_percent: jobs::crosscheck::DEFAULT_PERCENT,
            min_free_percent: jobs::backup::MIN_FREE_PERCENT,
            quiesce: api::Quiesce::default(),
            consolidate: true,
            snapshot_max_hours: 24,
            snapshot_max_delta_percent: 20,
            snapshot_over_limit: OverLimit::End,
            transport: api::TransportPolicy::default(),
            compare_with_network: false,
            exclude: api::Exclude::default(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repository {
    pub(crate) path: PathBuf,
    #[serde(default = "default_segment")]
    pub(crate) segment_mib: u64,
    #[serde(default = "default_level")]
    pub(crate) zstd_level: i32,
    #[serde(default = "default_reserve")]
    pub(crate) reserve_mib: u64,
    #[serde(default = "yes")]
    pub(crate) immutable: bool,
    pub(crate) warden: Option<PathBuf>,
    pub(crate) encryption_key_file: Option<PathBuf>,
    #[serde(default = "default_scrub_days")]
    pub(crate) scrub_days: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    #[serde(default = "default_mode")]
    pub(crate) mode: model::LockMode,
    pub(crate) days: u32,
    #[serde(default = "default_min_days")]
    pub(crate) min_days: u32,
    #[serde(default = "default_max_days")]
    pub(crate) max_days: u32,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}
fn default_call_timeout() -> u64 {
    60
}
fn default_task_timeout() -> u64 {
    3600
}
fn default_algorithms() -> Vec<String> {
    ["sha3-256", "sha256", "sha1", "md5"].map(String::from).to_vec()
}
fn default_parts() -> Vec<String> {
    vec!["common".into()]
}
fn yes() -> bool {
    true
}
fn default_sessions() -> u16 {
    1
}
fn default_segment() -> u64 {
    512
}
fn default_level() -> i32 {
    1
}
fn default_scrub_days() -> u32 {
    30
}
fn default_reserve() -> u64 {
    1024
}
fn default_min_days() -> u32 {
    1
}
fn default_max_days() -> u32 {
    3660
}
fn default_mode() -> model::LockMode {
    model::LockMode::Governance
}

/// The file cannot be used. The text names the file and the key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("reading the configuration {path}")]
    Read { path: PathBuf, source: std::io::Error },
    /// Without the line itself, which may hold a secret that somebody put there by mistake.
    #[error("{path}, line {line}: {problem}")]
    Parse { path: PathBuf, line: usize, problem: String },
    #[error("{key} = {value}: {reason}")]
    Value { key: &'static str, value: String, reason: String },
    #[error("{key}")]
    Secret { key: &'static str, source: SecretFileError },
}

impl Config {
    /// Reads, parses and checks the file.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.into(),
            line: error.span().map_or(0, |span| text[..span.start].lines().count().max(1)),
            problem: error.message().into(),
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let value = |key, value: &dyn std::fmt::Display, reason: &str| {
            Err(ConfigError::Value { key, value: value.to_string(), reason: reason.into() })
        };
        if !self.console.listen.ip().is_loopback() {
            return value(
                "console.listen",
                &self.console.listen,
                "without TLS the console answers on loopback only; use 127.0.0.1 or [::1]",
            );
        }
        if self.san.portals.is_empty() && !self.san.kernel {
            let reason = "at least one [[san.portal]] is needed, or san.kernel";
            return value("san.portal", &"[]", reason);
        }
        if let Some(portal) = self.san.portals.iter().find(|p| !(1..=8).contains(&p.sessions)) {
            let reason = "must lie between 1 and 8";
            return value("san.portal.sessions", &portal.sessions, reason);
        }
        if self.san.chap_user.is_some() != self.san.chap_secret_file.is_some() {
            return value(
                "san.chap_user",
                &self.san.chap_user.as_deref().unwrap_or("(none)"),
                "chap_user and chap_secret_file go together: give both or neither",
            );
        }
        if let Some(order) = &self.vcenter.file_backup {
            let scheme = order.location.split_once("://").map(|(scheme, _)| scheme);
            if !scheme.is_some_and(|scheme| FILE_BACKUP_SCHEMES.contains(&scheme)) {
                let reason = "must be a URL such as sftp://host/folder";
                return value("vcenter.file_backup.location", &order.location, reason);
            }
        }
        if self.backup.cross_check_percent > 100 {
            let percent = &self.backup.cross_check_percent;
            return value("backup.cross_check_percent", percent, "must lie between 0 and 100");
        }
        if self.backup.min_free_percent > 90 {
            let percent = &self.backup.min_free_percent;
            return value("backup.min_free_percent", percent, "must lie between 0 and 90");
        }
        if !(1..=720).contains(&self.backup.snapshot_max_hours) {
            let hours = &self.backup.snapshot_max_hours;
            return value("backup.snapshot_max_hours", hours, "must lie between 1 and 720");
        }
        if self.backup.snapshot_max_delta_percent > 100 {
            let percent = &self.backup.snapshot_max_delta_percent;
            let reason = "must lie between 0 and 100";
            return value("backup.snapshot_max_delta_percent", percent, reason);
        }
        if !(16..=4096).contains(&self.repository.segment_mib) {
            return value(
                "repository.segment_mib",
                &self.repository.segment_mib,
                "must lie between 16 and 4096",
            );
        }
        if !(1..=19).contains(&self.repository.zstd_level) {
            return value(
                "repository.zstd_level",
                &self.repository.zstd_level,
                "must lie between 1 and 19",
            );
        }
        if !(1..=365).contains(&self.repository.scrub_days) {
            let days = &self.repository.scrub_days;
            return value("repository.scrub_days", days, "must lie between 1 and 365");
        }
        if let Some((key, wrong, reason)) = self.keep.and_then(|keep| keep.wrong()) {
            return value(key, &wrong, reason);
        }
        self.check_lock()?;
        if self.user.is_some() && self.repository.warden.is_none() {
            return value(
                "user",
                &self.user.as_deref().unwrap_or_default(),
                "a user of its own needs a warden of its own: give repository.warden too",
            );
        }
        if let (Some(_), Some(file)) = (&self.repository.warden, &self.console.ready_file)
            && file.parent().is_some_and(|folder| self.repository.path.starts_with(folder))
        {
            return value(
                "console.ready_file",
                &file.display(),
                "the daemon may write to its folder, so the repository must not lie below it",
            );
        }
        Ok(())
    }

    fn check_lock(&self) -> Result<(), ConfigError> {
        let Lock { days, min_days, max_days, .. } = self.lock;
        let value = |key, value: u32, reason: String| {
            Err(ConfigError::Value { key, value: value.to_string(), reason })
        };
        if !(1..=36_500).contains(&max_days) {
            return value("lock.max_days", max_days, "must lie between 1 and 36500".into());
        }
        if !(1..=max_days).contains(&min_days) {
            return value("lock.min_days", min_days, format!("must lie between 1 and {max_days}"));
        }
        if !(min_days..=max_days).contains(&days) {
            let reason = format!("must lie between {min_days} and {max_days}");
            return value("lock.days", days, reason);
        }
        Ok(())
    }

    /// The vCenter password.
    pub(crate) fn password(&self) -> Result<String, ConfigError> {
        read_secret("vcenter.password_file", &self.vcenter.password_file)
    }

    /// The password of the place of vCenter's own backup, where there is one.
    pub(crate) fn file_backup_password(&self) -> Result<Option<String>, ConfigError> {
        let order = self.vcenter.file_backup.as_ref();
        let read = |order: &FileBackup| {
            read_secret("vcenter.file_backup.password_file", &order.password_file)
        };
        order.map(read).transpose()
    }

    /// The CHAP user and secret, when there are any.
    pub(crate) fn chap(&self) -> Result<Option<(String, String)>, ConfigError> {
        match (&self.san.chap_user, &self.san.chap_secret_file) {
            (Some(user), Some(file)) => {
                Ok(Some((user.clone(), read_secret("san.chap_secret_file", file)?)))
            }
            _ => Ok(None),
        }
    }
}

fn read_secret(key: &'static str, path: &Path) -> Result<String, ConfigError> {
    secret_file::read(path).map_err(|source| ConfigError::Secret { key, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("holdfastd.toml")).map_err(|error| model::chain(&error))
    }

    #[test]
    fn the_example_is_valid_and_states_the_defaults() {
        let example = parse(EXAMPLE).unwrap();
        let required_only: String = EXAMPLE
            .lines()
            .filter(|line| !line.contains("# default"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_ne!(required_only, EXAMPLE);
        let defaults = parse(&required_only).unwrap();
        assert_eq!(format!("{example:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        let text = EXAMPLE.replace("[vcenter]\n", "[vcenter]\npassword = \"hunter2\"\n");
        assert_ne!(text, EXAMPLE);
        let error = parse(&text).unwrap_err();
        assert!(error.contains("password") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn errors_name_the_key() {
        let wrong = [
            ("listen = \"127.0.0.1:8080\"", "listen = \"0.0.0.0:8080\"", "console.listen"),
            ("\ndays = 30", "\ndays = 0", "lock.days"),
            ("\ndays = 30", "\ndays = 3661", "lock.days"),
            ("min_days = 1 ", "min_days = 0 ", "lock.min_days"),
            ("min_days = 1 ", "min_days = 31 ", "lock.days"),
            ("max_days = 3660", "max_days = 40000", "lock.max_days"),
            ("# user = \"holdfast\"", "user = \"holdfast\"", "user"),
            ("\ndays = 30", "\ndayz = 30", "dayz"),
            ("sessions = 1 ", "sessions = 9 ", "san.portal.sessions"),
            ("check_percent = 5", "check_percent = 101", "backup.cross_check_percent"),
            ("free_percent = 5", "free_percent = 91", "backup.min_free_percent"),
            (
                "\n[san]",
                "\n[vcenter.file_backup]\nlocation = \"tape\"\nuser = \"u\"\n\
                 password_file = \"f\"\n[san]",
                "vcenter.file_backup.location",
            ),
            ("max_hours = 24", "max_hours = 0", "backup.snapshot_max_hours"),
            ("delta_percent = 20", "delta_percent = 101", "backup.snapshot_max_delta_percent"),
            ("over_limit = \"end\"", "over_limit = \"stop\"", "stop"),
            ("quiesce = \"or-crash\"", "quiesce = \"maybe\"", "maybe"),
            ("exclude = [\"swap\"]", "exclude = [\"swamp\"]", "swamp"),
            ("scrub_days = 30", "scrub_days = 0", "repository.scrub_days"),
            ("scrub_days = 30", "scrub_days = 366", "repository.scrub_days"),
            ("# [keep]", "[keep]", "keep"),
            ("# [keep]", "[keep]\ndaily = 7\nutc_offset_minutes = 900", "keep.utc_offset_minutes"),
            ("# [keep]", "[keep]\ndayly = 7", "dayly"),
            ("zstd_level = 1", "zstd_level = 77", "repository.zstd_level"),
            ("mode = \"governance\"", "mode = \"forever\"", "forever"),
            ("user = \"backup@vsphere.local\"", "", "user"),
        ];
        for (from, to, key) in wrong {
            let text = EXAMPLE.replace(from, to);
            assert_ne!(text, EXAMPLE, "{from}");
            let error = parse(&text).unwrap_err();
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}
