//! Every secret, read once and first: before the process gives up the right to read them.

use crate::config::{Config, ConfigError};
use crate::secret_file;
use anyhow::bail;
use repository::KeyEncryptionKey;
use std::path::{Path, PathBuf};

/// What comes from files that only their owner can read.
pub(crate) struct Secrets {
    pub(crate) token: console::Secret,
    pub(crate) password: String,
    pub(crate) file_backup: Option<String>,
    pub(crate) chap: Option<(String, String)>,
    pub(crate) encryption: Option<KeyEncryptionKey>,
}

impl Secrets {
    /// Reads them. Those that are ours to make are made when they are missing.
    pub(crate) fn read(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            token: console_token(config)?,
            password: config.password()?,
            file_backup: config.file_backup_password()?,
            chap: config.chap()?,
            encryption: encryption_key(config)?,
        })
    }
}

fn console_token(config: &Config) -> anyhow::Result<console::Secret> {
    let fresh = hex::encode(crate::engine::random::<32>()?);
    let token = secret_file::read_or_create(&config.console.token_file, &fresh)
        .map_err(|source| ConfigError::Secret { key: "console.token_file", source })?;
    Ok(console::Secret::new(&token).map_err(|error| ConfigError::Value {
        key: "console.token_file",
        value: config.console.token_file.display().to_string(),
        reason: error.to_string(),
    })?)
}

/// Made only together with the repository: a new key opens no old one.
fn encryption_key(config: &Config) -> anyhow::Result<Option<KeyEncryptionKey>> {
    const KEY: &str = "repository.encryption_key_file";
    let Some(path) = &config.repository.encryption_key_file else { return Ok(None) };
    let make = config.repository.warden.is_none() && !crate::start::has_repository(config);
    let text = if make {
        let fresh = KeyEncryptionKey::new(&crate::engine::random::<32>()?).to_text();
        secret_file::read_or_create(path, &fresh)
    } else {
        secret_file::read(path)
    };
    let text = text.map_err(|source| ConfigError::Secret { key: KEY, source })?;
    match KeyEncryptionKey::from_text(&text) {
        Some(key) => Ok(Some(key)),
        None => bail!("{KEY} = {}: there is no key in it, or it is mistyped", path.display()),
    }
}

/// Where the recovery key of a repository is written when it is made.
pub(crate) fn recovery_file(key_file: &Path) -> PathBuf {
    let mut name = key_file.as_os_str().to_owned();
    name.push(".recovery");
    name.into()
}
